// accumulate: sum += x, for gradients gathered over several backward passes.
//
// Inputs: x. Output: sum, in place. Rounding: one.
#pragma once

#include <flatstep/kernels/transform.hpp>

namespace flatstep {

template <class V>
inline void accumulate(typename V::value_type* sum, const typename V::value_type* x,
                       std::size_t size) {
  transform<V>(size, [&](auto lanes, std::size_t i) {
    lanes.store(lanes.load(sum + i) + lanes.load(x + i), sum + i);
  });
}

}  // namespace flatstep
