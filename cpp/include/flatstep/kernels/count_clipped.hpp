// count_clipped: how many elements of a gradient the strategy ClipElementWiseAbsoluteValue clips.
//
// Formula: #{i : |g_i·pre| > threshold}, g·pre rounded as the pass rounds it. NaN is not clipped.
// Inputs: g, at most chunk_size elements of it; pre, two factors; threshold ≥ 0. Output: the count.
// Rounding: none; a lane's count is a whole number far below 2^24.
#pragma once

#include <flatstep/kernels/scale.hpp>
#include <flatstep/kernels/transform.hpp>

#include <cstddef>

namespace flatstep {

template <class V>
inline std::size_t count_clipped(const typename V::value_type* gradient, std::size_t size,
                                 const typename V::value_type (&pre)[2],
                                 typename V::value_type threshold) {
  const V first = V::broadcast(pre[0]);
  const V second = V::broadcast(pre[1]);
  const V limit = V::broadcast(threshold);
  const V one = V::broadcast(1);
  V counts = V::zero();
  transform<V>(size, [&](auto lanes, std::size_t i) {
    const V x = abs(scale(lanes.load(gradient + i), first, second));
    // max returns its second argument where one is NaN. Lanes beyond the end hold 0.
    counts = counts + keep(not_equal(max(x, limit), limit), one);
  });
  typename V::value_type lanes[V::lanes];
  counts.store(lanes);
  typename V::value_type sum = 0;
  for (const auto lane : lanes) sum += lane;
  return static_cast<std::size_t>(sum);
}

}  // namespace flatstep
