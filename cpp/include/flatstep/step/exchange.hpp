// The exchange: how several engines that share one network learn of each other's sums.
//
// Each engine takes a part of the chunks (plan's Share), finds sums over these, and gives zeros for
// the others; the exchange adds up, element by element, what all of them give. As each number comes
// from one engine alone, no order of adding can change a bit of it. An engine by itself has none.
#pragma once

#include <flatstep/plan/plan.hpp>
#include <flatstep/simd/float_mode.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

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

/// Makes what is known of this engine's chunks known of all: write(chunk) gives its numbers,
/// read(chunk, numbers) takes them. False, with nothing read, where that fails.
template <std::size_t numbers, class Write, class Read>
bool exchange_chunks(const Plan& plan, const Exchange& exchange, const FlushSubnormals& mode,
                     const Write& write, const Read& read) {
  const Stage& own = plan.stages.front();
  std::vector<double> found(numbers * plan.chunks.size(), 0.0);
  for (std::size_t c = own.chunk_begin; c < own.chunk_end; ++c) {
    std::ranges::copy(std::array<double, numbers>(write(c)), &found[numbers * c]);
  }
  if (!exchanged(exchange, found, mode)) return false;
  for (std::size_t c = 0; c < plan.chunks.size(); ++c) {
    read(c, std::span<const double, numbers>(&found[numbers * c], numbers));
  }
  return true;
}

}  // namespace detail
}  // namespace flatstep
