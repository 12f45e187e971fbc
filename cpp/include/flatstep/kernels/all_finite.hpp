// all_finite: whether a stretch of memory holds neither infinities nor NaN.
//
// Formula: Σ 0·x is 0 for finite x and NaN otherwise.
// Inputs: x. Output: bool. Rounding: none.
#pragma once

#include <flatstep/kernels/transform.hpp>

#include <cstdint>

namespace flatstep {

template <class V>
inline bool all_finite(const typename V::value_type* x, std::size_t size) {
  // Four chains hide the latency of the addition.
  constexpr std::size_t chains = 4;
  V sums[chains];
  for (V& sum : sums) sum = V::zero();
  std::size_t i = 0;
  for (; size - i >= chains * V::lanes; i += chains * V::lanes) {
    for (std::size_t k = 0; k < chains; ++k) {
      sums[k] = fma(V::load(x + i + k * V::lanes), V::zero(), sums[k]);
    }
  }
  transform<V>(size - i, [&](auto lanes, std::size_t j) {
    sums[0] = fma(lanes.load(x + i + j), V::zero(), sums[0]);
  });
  // Each lane is +0 or NaN. Their bits are combined, as a sum would wait for one lane after
  // another.
  const V sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  std::uint64_t words[sizeof(V) / sizeof(std::uint64_t)];
  __builtin_memcpy(words, &sum, sizeof(V));
  std::uint64_t bits = 0;
  for (const std::uint64_t word : words) bits |= word;
  return bits == 0;
}

}  // namespace flatstep
