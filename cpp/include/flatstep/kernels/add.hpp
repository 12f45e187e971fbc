// add: sum += x, for gradients gathered over several backward passes; and p −= u, for updates that
// were written down first because they are measured.
//
// Inputs: x, u. Outputs: sum, p, in place. Rounding: one.
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

template <class V>
inline void subtract(typename V::value_type* p, const typename V::value_type* u, std::size_t size) {
  transform<V>(size, [&](auto lanes, std::size_t i) {
    lanes.store(lanes.load(p + i) - lanes.load(u + i), p + i);
  });
}

}  // namespace flatstep
