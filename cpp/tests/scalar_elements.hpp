// bfloat16 and IEEE 754's binary16 one by one, by their definitions: what kernels are held to.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace flatstep::tests {

/// A sign, 8 bits of exponent and 7 of mantissa: the upper half of a float.
inline float of_bfloat16(std::uint16_t code) {
  return std::bit_cast<float>(std::uint32_t{code} << 16);
}

/// A sign, 5 bits of exponent and 10 of mantissa.
inline float of_float16(std::uint16_t code) {
  const int exponent = code >> 10 & 31;
  const int mantissa = code & 1023;
  if (exponent == 31 && mantissa != 0) {  // a NaN keeps what it says
    const std::uint32_t sign = std::uint32_t{code} >> 15 << 31;
    return std::bit_cast<float>(sign | 0x7f800000u | static_cast<std::uint32_t>(mantissa) << 13);
  }
  const double magnitude = exponent == 31  ? std::numeric_limits<double>::infinity()
                           : exponent == 0 ? std::ldexp(mantissa, -24)
                                           : std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>((code & 0x8000) != 0 ? -magnitude : magnitude);
}

/// The nearest of such numbers, to the even one where two are as near, found in double: with
/// `mantissa` bits, the least one 2^least, and what would be 2^beyond or more is infinite.
inline double rounded_to(double x, int mantissa, int least, int beyond) {
  if (x == 0.0 || std::isinf(x)) return x;
  const int place = std::max(std::ilogb(x) - mantissa, least);  // of the last place
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(x, -place)), place);
  return std::fabs(rounded) < std::ldexp(1.0, beyond)
             ? rounded
             : std::copysign(std::numeric_limits<double>::infinity(), x);
}

/// The nearest bfloat16; some NaN where it is one.
inline std::uint16_t to_bfloat16(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  if (x != x) return static_cast<std::uint16_t>(bits >> 16 | 0x7fc0);
  const auto rounded = static_cast<float>(rounded_to(static_cast<double>(x), 7, -133, 128));
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(rounded) >> 16);
}

/// The nearest binary16; a NaN is 0x7e00 with its sign.
inline std::uint16_t to_float16(float x) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(x) ? 0x8000 : 0);
  if (x != x) return static_cast<std::uint16_t>(sign | 0x7e00);
  const double rounded = std::fabs(rounded_to(static_cast<double>(x), 10, -24, 16));
  if (std::isinf(rounded)) return static_cast<std::uint16_t>(sign | 0x7c00);
  if (rounded < 0x1p-14) {
    return static_cast<std::uint16_t>(sign | static_cast<std::uint16_t>(rounded * 0x1p24));
  }
  const int exponent = std::ilogb(rounded);
  const auto mantissa = static_cast<int>(std::ldexp(rounded, 10 - exponent)) - 1024;
  return static_cast<std::uint16_t>(sign | (exponent + 15) << 10 | mantissa);
}

}  // namespace flatstep::tests
