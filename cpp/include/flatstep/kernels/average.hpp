// average: a = d·a + (1−d)·p, the moving average of parameters that a step has just written.
//
// Inputs: p, d. Output: a, in place. Rounding: two (a product, a fused multiply-add).
// Source: Polyak and Juditsky 1992, https://doi.org/10.1137/0330046.
#pragma once

#include <flatstep/kernels/transform.hpp>
#include <flatstep/updaters/updater.hpp>

namespace flatstep {

template <class V>
inline void average(typename V::value_type* a, const typename V::value_type* p, std::size_t size,
                    typename V::value_type decay, typename V::value_type one_minus_decay) {
  const V d = V::broadcast(decay);
  const V rest = V::broadcast(one_minus_decay);
  transform<V>(size, [&](auto lanes, std::size_t i) {
    lanes.store(moving_average(d, rest, lanes.load(a + i), lanes.load(p + i)), a + i);
  });
}

}  // namespace flatstep
