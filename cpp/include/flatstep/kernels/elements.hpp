// elements: float16, bfloat16 and float32 as the numbers that are computed in, and back; and what
// looks at such elements as they are.
//
// Inputs and outputs: storage_kernels.hpp. Rounding: widening none, narrowing to the nearest even.
// What is beyond the range of float16 becomes infinity; NaN becomes a quiet NaN. Source: IEEE 754-2019,
// binary16; bfloat16 is the upper half of a binary32.
#pragma once

#include <flatstep/kernels/all_finite.hpp>
#include <flatstep/kernels/storage_kernels.hpp>
#include <flatstep/kernels/sum_of_squares.hpp>
#include <flatstep/kernels/transform.hpp>

namespace flatstep {

namespace detail {

inline constexpr std::uint32_t quiet_nan_bits = 0x7fc00000u;
inline constexpr int mantissa_bits = 23;

/// NaN where x is, whatever has become of its bits.
template <class V>
inline typename V::Bits or_nan(typename V::Bits changed, V x) {
  return or_where(not_equal(x, x), changed, V::Bits::broadcast(quiet_nan_bits));
}

template <class V>
inline void widen_bfloat16(const std::uint16_t* from, float* to, std::size_t size) {
  transform<V>(size, [=](auto lanes, std::size_t i) {
    lanes.store(V::of_bits(lanes.load_upper(from + i)), to + i);
  });
}

template <class V>
inline void narrow_bfloat16(const float* from, std::uint16_t* to, std::size_t size) {
  using Bits = typename V::Bits;
  const Bits below_half = Bits::broadcast(0x7fff);
  const Bits one = Bits::broadcast(1);
  transform<V>(size, [=](auto lanes, std::size_t i) {
    const V x = lanes.load(from + i);
    const Bits b = bits(x);
    const Bits odd = shift_right<16>(b) & one;
    lanes.store_upper(or_nan(b + below_half + odd, x), to + i);
  });
}

/// 1 where a < b, else 0.
template <class Bits>
inline Bits less(Bits a, Bits b) {
  return min(b - min(a, b), Bits::broadcast(1));
}

/// a where `first` is 1, b where it is 0.
template <class Bits>
inline Bits choose(Bits first, Bits a, Bits b) {
  const Bits one = Bits::broadcast(1);
  return (a & (Bits::broadcast(0) - first)) | (b & (first - one));
}

/// float16: 5 bits of exponent, biased by 15, and 10 of mantissa; the least are multiples of 2⁻²⁴.
inline constexpr int half_shift = 13;
inline constexpr std::uint32_t half_magnitude_bits = 0x7fff;
inline constexpr std::uint32_t half_first_normal = 0x0400;
inline constexpr std::uint32_t half_infinity = 0x7c00;
inline constexpr std::uint32_t half_rebias = 112u << mantissa_bits;

template <class V>
inline void widen_float16(const std::uint16_t* from, float* to, std::size_t size) {
  using Bits = typename V::Bits;
  const Bits magnitudes = Bits::broadcast(half_magnitude_bits);
  const Bits first_normal = Bits::broadcast(half_first_normal);
  const Bits largest = Bits::broadcast(half_infinity - 1);
  const Bits rebias = Bits::broadcast(half_rebias);
  const Bits none = Bits::broadcast(0);
  const V least = V::broadcast(0x1p-24f);
  transform<V>(size, [=](auto lanes, std::size_t i) {
    const Bits b = lanes.load_bits(from + i);
    const Bits magnitude = b & magnitudes;
    const Bits is_special = less(largest, magnitude);
    const Bits normal =
        shift_left<half_shift>(magnitude) + rebias + choose(is_special, rebias, none);
    const Bits small = bits(V::of_integers(magnitude) * least);
    const Bits sign = shift_left<16>(b - magnitude);
    lanes.store(V::of_bits(choose(less(magnitude, first_normal), small, normal) | sign), to + i);
  });
}

template <class V>
inline void narrow_float16(const float* from, std::uint16_t* to, std::size_t size) {
  using Bits = typename V::Bits;
  const Bits below_half = Bits::broadcast((1u << (half_shift - 1)) - 1);
  const Bits one = Bits::broadcast(1);
  const Bits rebias = Bits::broadcast(half_rebias);
  const Bits first_normal = Bits::broadcast(half_rebias + (1u << mantissa_bits));
  const Bits beyond = Bits::broadcast(half_rebias + (half_infinity << half_shift));
  const Bits sign_bit = Bits::broadcast(0x8000);
  const Bits nan = Bits::broadcast(0x7e00);
  const V half = V::broadcast(0.5f);  // whose last place is float16's least number
  transform<V>(size, [=](auto lanes, std::size_t i) {
    const V x = lanes.load(from + i);
    const Bits sign = shift_right<16>(bits(x)) & sign_bit;
    const Bits magnitude = min(bits(abs(x)), beyond);
    const Bits odd = shift_right<half_shift>(magnitude) & one;
    const Bits normal = shift_right<half_shift>(magnitude + below_half + odd - rebias);
    const Bits small = bits(V::of_bits(magnitude) + half) - bits(half);
    const Bits chosen = choose(less(magnitude, first_normal), small, normal);
    lanes.store_bits(or_where(not_equal(x, x), chosen | sign, nan), to + i);
  });
}

}  // namespace detail

template <class V>
inline void widen(ElementType type, const void* from, float* to, std::size_t size) {
  const auto* const elements = static_cast<const std::uint16_t*>(from);
  if (type == ElementType::bfloat16) {
    detail::widen_bfloat16<V>(elements, to, size);
  } else {
    detail::widen_float16<V>(elements, to, size);
  }
}
template <class V>
inline void widen(ElementType, const void* from, double* to, std::size_t size) {
  const auto* const elements = static_cast<const float*>(from);
  transform<V>(size, [=](auto lanes, std::size_t i) {
    lanes.store(lanes.load_widened(elements + i), to + i);
  });
}

template <class V>
inline void narrow(ElementType type, const float* from, void* to, std::size_t size) {
  auto* const elements = static_cast<std::uint16_t*>(to);
  if (type == ElementType::bfloat16) {
    detail::narrow_bfloat16<V>(from, elements, size);
  } else {
    detail::narrow_float16<V>(from, elements, size);
  }
}
template <class V>
inline void narrow(ElementType, const double* from, void* to, std::size_t size) {
  auto* const elements = static_cast<float*>(to);
  for (std::size_t i = 0; i < size; ++i) elements[i] = static_cast<float>(from[i]);
}

/// What looks at elements of another type goes through pieces of this many.
inline constexpr std::size_t elements_per_piece = 512;

template <class V, class D>
inline ScaledSum sum_of_squares_of(ElementType type, const void* x, std::size_t size) {
  if constexpr (sizeof(typename V::value_type) == sizeof(double)) {
    return sum_of_squares<D>(static_cast<const float*>(x), size);
  } else {
    float piece[elements_per_piece];
    detail::Lanes<D> lanes;
    for (std::size_t at = 0; at < size; at += elements_per_piece) {
      const std::size_t n = size - at < elements_per_piece ? size - at : elements_per_piece;
      widen<V>(type, static_cast<const std::uint16_t*>(x) + at, piece, n);
      lanes.add(piece, n, detail::AsItIs{});
    }
    return {lanes.combine(), 0};
  }
}

template <class V>
inline bool all_finite_of(ElementType type, const void* x, std::size_t size) {
  using T = typename V::value_type;
  constexpr std::size_t bytes = sizeof(T) == sizeof(double) ? sizeof(float) : sizeof(std::uint16_t);
  T piece[elements_per_piece];
  bool finite = true;
  for (std::size_t at = 0; at < size && finite; at += elements_per_piece) {
    const std::size_t n = size - at < elements_per_piece ? size - at : elements_per_piece;
    widen<V>(type, static_cast<const char*>(x) + at * bytes, piece, n);
    finite = all_finite<V>(piece, n);
  }
  return finite;
}

}  // namespace flatstep
