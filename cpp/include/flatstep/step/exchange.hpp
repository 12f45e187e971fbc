// The exchange: how several engines that share one network learn of each other's sums.
//
// Each engine has a part of the chunks (plan/shares.hpp), finds sums over these, and gives zeros for
// the others; the exchange adds up, element by element, what all of them give. As each number comes
// from one engine alone, no order of adding can change a bit of it. An engine by itself has none.
//
// Where gradients come in buckets, each is looked at as it comes, and where parameters go in buckets,
// each goes when its pass is done: what is under way meanwhile costs no time.
#pragma once

#include <flatstep/plan/plan.hpp>
#include <flatstep/plan/shares.hpp>
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

/// Whether all engines of the network say yes: asked where one may fail that the others know nothing
/// of, before anything is changed. Each asks in the same place.
using Agreement = std::function<bool(bool)>;

/// What an updater shares with the others of its network.
struct Shared {
  Share share{};
  Exchange exchange{};  ///< there where there are several parts
  Agreement agree{};    ///< there where callbacks make updates; asked also where there is one part

  /// The most elements of a bucket; 0: there is one bucket.
  std::size_t bucket_elements = 0;
  /// Called before a bucket's gradients are read; false, or an exception, abandons the step.
  std::function<bool(std::size_t bucket)> arrive{};
  /// Called when its parameters, or updates, are final. There is no way back then: what goes wrong is
  /// for the caller to keep.
  std::function<void(std::size_t bucket)> leave{};
};

namespace detail {

/// call(...) in the caller's floating-point mode; false where it throws.
template <class Call>
bool called(const FlushSubnormals& mode, const Call& call) noexcept {
  const FlushSubnormals::Suspended callers_mode(mode);
  try {
    return call();
  } catch (...) {
    return false;
  }
}

/// Makes what is known of this engine's chunks known of all: write(place) gives a chunk's numbers,
/// read(place, numbers) takes them. False, with nothing read, where that fails.
template <std::size_t numbers, class Write, class Read>
bool exchange_chunks(const Plan& plan, const Exchange& exchange, const FlushSubnormals& mode,
                     const Write& write, const Read& read) {
  std::vector<double> found(numbers * plan.places, 0.0);
  for (const Chunk& chunk : plan.chunks) {
    std::ranges::copy(std::array<double, numbers>(write(chunk.place)),
                      &found[numbers * chunk.place]);
  }
  if (!called(mode, [&] { return exchange(found); })) return false;
  for (std::size_t place = 0; place < plan.places; ++place) {
    read(place, std::span<const double, numbers>(&found[numbers * place], numbers));
  }
  return true;
}

}  // namespace detail
}  // namespace flatstep
