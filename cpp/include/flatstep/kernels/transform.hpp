// transform: the one loop that every kernel goes through: groups of vectors, vectors, a masked
// tail.
//
// The kernel is a functor body(lanes, i) on the elements from i on. It loads and stores vector k of
// `lanes.vectors` through `lanes`, which is AllLanes in the body and FirstLanes in the tail, so
// that a formula stands once and rounds alike in both. Results do not depend on where the loop
// starts: no peeling by alignment.
//
// Kernels with many streams take groups: where two of them lie a large power of two apart, as the
// state arrays of a parameter of 2^26 elements do, some processors' caches serve them badly in
// turn, but well four vectors at a time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flatstep {

template <class V, std::size_t Vectors = 1>
struct AllLanes {
  static constexpr std::size_t vectors = Vectors;

  static V load(const typename V::value_type* p, std::size_t k = 0) {
    return V::load(p + k * V::lanes);
  }
  static void store(V v, typename V::value_type* p, std::size_t k = 0) {
    v.store(p + k * V::lanes);
  }
  /// float, for double's vectors.
  static V load_widened(const float* p) { return V::load_widened(p); }
  /// Numbers of 8, 16 or 32 bits, for float's vectors.
  template <class N>
  static auto load_bits(const N* p) {
    return V::Bits::load(p);
  }
  template <class N>
  static void store_bits(const auto& bits, N* p) {
    bits.store(p);
  }
  /// As the upper halves of such numbers.
  static auto load_upper(const std::uint16_t* p) { return V::Bits::load_upper(p); }
  static void store_upper(const auto& bits, std::uint16_t* p) { bits.store_upper(p); }
};

template <class V>
struct FirstLanes {
  static constexpr std::size_t vectors = 1;
  std::size_t size;

  V load(const typename V::value_type* p, std::size_t = 0) const {
    return V::load_partial(p, size);
  }
  void store(V v, typename V::value_type* p, std::size_t = 0) const { v.store_partial(p, size); }
  V load_widened(const float* p) const { return V::load_widened_partial(p, size); }
  template <class N>
  auto load_bits(const N* p) const {
    N lanes[V::lanes] = {};
    for (std::size_t i = 0; i < size; ++i) lanes[i] = p[i];
    return V::Bits::load(lanes);
  }
  auto load_upper(const std::uint16_t* p) const {
    std::uint16_t lanes[V::lanes] = {};
    for (std::size_t i = 0; i < size; ++i) lanes[i] = p[i];
    return V::Bits::load_upper(lanes);
  }
  void store_upper(const auto& bits, std::uint16_t* p) const {
    std::uint16_t lanes[V::lanes];
    bits.store_upper(lanes);
    for (std::size_t i = 0; i < size; ++i) p[i] = lanes[i];
  }
  template <class N>
  void store_bits(const auto& bits, N* p) const {
    N lanes[V::lanes];
    bits.store(lanes);
    for (std::size_t i = 0; i < size; ++i) p[i] = lanes[i];
  }
};

template <class V, std::size_t Group = 1, class Body>
inline void transform(std::size_t size, Body&& body) {
  std::size_t i = 0;
  if constexpr (Group > 1) {
    for (; size - i >= Group * V::lanes; i += Group * V::lanes) body(AllLanes<V, Group>{}, i);
  }
  for (; size - i >= V::lanes; i += V::lanes) body(AllLanes<V>{}, i);
  if (i < size) body(FirstLanes<V>{size - i}, i);
}

}  // namespace flatstep
