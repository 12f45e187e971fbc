// The exchange: how several engines that share one network learn of each other's sums.
//
// Each engine takes a part of the chunks (plan's Share), finds sums over these, and gives zeros for
// the others; the exchange adds up, element by element, what all of them give. As each number comes
// from one engine alone, no order of adding can change a bit of it. An engine by itself has none.
#pragma once

#include <flatstep/simd/float_mode.hpp>

#include <functional>
#include <span>

namespace flatstep {

/// Replaces each number by its sum over all engines of the network. Every engine calls its own, in
/// the same order and on equally many numbers; false, or an exception, abandons the step.
using Exchange = std::function<bool(std::span<double>)>;

namespace detail {

inline bool exchanged(const Exchange& exchange, std::span<double> sums,
                      const FlushSubnormals& mode) noexcept {
  const FlushSubnormals::Suspended callers_mode(mode);
  try {
    return exchange(sums);
  } catch (...) {
    return false;
  }
}

}  // namespace detail
}  // namespace flatstep
