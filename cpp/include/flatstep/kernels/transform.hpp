// transform: the one loop that every kernel goes through, a body of whole vectors and a masked
// tail.
//
// The kernel is a functor body(lanes, i) on the elements from i on. It loads and stores through
// `lanes`, which is AllLanes in the body and FirstLanes in the tail, so that a formula stands once
// and rounds alike in both. Results do not depend on where the loop starts: no peeling by
// alignment.
#pragma once

#include <cstddef>

namespace flatstep {

template <class V>
struct AllLanes {
  static V load(const typename V::value_type* p) { return V::load(p); }
  static void store(V v, typename V::value_type* p) { v.store(p); }
};

template <class V>
struct FirstLanes {
  std::size_t size;

  V load(const typename V::value_type* p) const { return V::load_partial(p, size); }
  void store(V v, typename V::value_type* p) const { v.store_partial(p, size); }
};

template <class V, class Body>
inline void transform(std::size_t size, Body&& body) {
  std::size_t i = 0;
  for (; size - i >= V::lanes; i += V::lanes) body(AllLanes<V>{}, i);
  if (i < size) body(FirstLanes<V>{size - i}, i);
}

}  // namespace flatstep
