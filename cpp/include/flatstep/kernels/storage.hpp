// storage: numbers in fewer bits, and back. A pass decodes a stretch into the cache, computes in
// float, and encodes what it leaves.
//
//   split               a float x as upper = ⌊(bits(x) + 2¹⁵)/2¹⁶⌋, the bfloat16 nearest to it, and
//                       lower = bits(x) mod 2¹⁶: bits(x) = 2¹⁶·upper + lower, lower taken as signed
//   signed_16           bfloat16
//   non_negative_16     ─┐ of x in a block with the largest |x| = top·s:  y = x/s as a small floating
//   signed_8             ├ point number of 5 + 11 bits of exponent and mantissa, a sign and 4 + 3, and
//   non_negative_8      ─┘ 5 + 3; s is a float beside the block
//
// Inputs and outputs: storage_kernels.hpp. Rounding: split none. Codes of state round
// stochastically: what is cut off is first added to a number that is even in [0, 1) of the last
// place kept, so that the code's mean over many steps is the number: a moving average goes on by
// less than a last place a step. Within a block these numbers are a Weyl sequence (Weyl 1916,
// https://doi.org/10.1007/BF01475864), whose beginning is a hash of seed, iteration, slot, array and
// block (Dither). Zero is a code of its own. The largest of a block is kept as it is, but for
// its last bit, so that a block which decays as a whole does so in its scale. What is beyond 2¹²⁶ in a
// block with a scale counts as that; a NaN in it makes the block NaN.
#pragma once

#include <flatstep/kernels/elements.hpp>
#include <flatstep/kernels/storage_kernels.hpp>
#include <flatstep/kernels/transform.hpp>

namespace flatstep {

namespace detail {

inline constexpr std::uint32_t infinity_bits = 0x7f800000u;
inline constexpr std::uint32_t magnitude_bits = 0x7fffffffu;

template <auto value>
struct Constant {};

/// Numbers that are even in [0, 2^kept), one for each element of a block. Their last `guard` bits are
/// those of the middle: what is a code's number but for its own last bits stays that number.
template <class V, int kept, int guard>
class Numbers {
 public:
  using Bits = typename V::Bits;

  /// What all of a block have in common.
  static Bits start_of(std::uint32_t hash) {
    return Bits::broadcast((hash >> (32 - kept) & ~guarded) | (guard == 0 ? 0 : middle));
  }

  /// Of a vector's elements, from the i-th of the block on.
  static Bits at(Bits start, std::size_t i) { return Bits::load(weyl.of_element + i) ^ start; }

 private:
  static constexpr std::uint32_t guarded = (1u << guard) - 1;
  static constexpr std::uint32_t middle = 1u << guard >> 1;
  struct Weyl {
    alignas(64) std::uint32_t of_element[code_block];
    constexpr Weyl() : of_element{} {
      for (std::uint32_t i = 0; i < code_block; ++i) {
        of_element[i] = 0x9e3779b9u * i >> (32 - kept) & ~guarded;  // 2³² over the golden ratio
      }
    }
  };
  static constexpr Weyl weyl{};
};

/// body(begin, size, block) for each block.
template <class Body>
inline void by_block(std::size_t size, Body&& body) {
  for (std::size_t at = 0, block = 0; at < size; at += code_block, ++block) {
    body(at, size - at < code_block ? size - at : code_block, block);
  }
}

/// first(begin, size, block), which returns a Found, for some blocks, then second(begin, size, block,
/// found) for these: what first() waits for, blocks wait for together.
template <class Found, class First, class Second>
inline void by_block(std::size_t size, First&& first, Second&& second) {
  constexpr std::size_t some = 4;
  for (std::size_t at = 0, block = 0; at < size; at += some * code_block, block += some) {
    const std::size_t here = size - at < some * code_block ? size - at : some * code_block;
    Found found[some];
    by_block(here, [&](std::size_t begin, std::size_t n, std::size_t k) {
      found[k] = first(at + begin, n, block + k);
    });
    by_block(here, [&](std::size_t begin, std::size_t n, std::size_t k) {
      second(at + begin, n, block + k, found[k]);
    });
  }
}

/// bfloat16 as a code of state.
struct BFloat16Code {
  static constexpr int scale_arguments = 0;
  template <class V>
  using Numbers = detail::Numbers<V, 16, 0>;

  /// The code is the upper half.
  template <class V>
  static typename V::Bits rounded(V x, typename V::Bits numbers) {
    return or_nan(bits(x) + numbers, x);
  }

  template <class V>
  static void decode(const void* codes, const float*, float* to, std::size_t size) {
    widen_bfloat16<V>(static_cast<const std::uint16_t*>(codes), to, size);
  }
  template <class V>
  [[gnu::noinline]] static void encode(const float* from, void* codes, float*, std::size_t size,
                                       const Dither& dither, std::size_t first) {
    by_block(size, [&](std::size_t begin, std::size_t n, std::size_t block) {
      auto* const to = static_cast<std::uint16_t*>(codes) + begin;
      const auto start = Numbers<V>::start_of(dither.of_block(first + block));
      transform<V>(n, [=](auto lanes, std::size_t i) {
        const V x = lanes.load(from + begin + i);
        lanes.store_upper(rounded(x, Numbers<V>::at(start, i)), to + i);
      });
    });
  }
};

/// What a block's largest magnitude makes of it: its scale, 1 over it, or 0 where it is 0, and whether
/// that is out of the ordinary.
struct BlockScale {
  float scale;
  float inverse;
  bool is_far;
};

/// What codes with a scale have in common. Of a block with the largest |x|, the scale is that over
/// `top`, what the largest code stands for; NaN where a NaN is in the block.
template <class V>
class Scaled {
 public:
  static constexpr float least_scale = 0x1p-126f;
  static constexpr float most = 0x1p126f;

  /// @param far from where on is_far is set
  static BlockScale scale_of(const float* from, std::size_t size, float top, float far) {
    return scale_of(largest_of(from, size), top, far);
  }
  /// @param largest the bits of the largest |x|
  static BlockScale scale_of(std::uint32_t largest, float top, float far) {
    if (largest > infinity_bits) return {__builtin_bit_cast(float, quiet_nan_bits), 0.0f, true};
    const auto magnitude = __builtin_bit_cast(float, largest);
    if (!(magnitude >= least_scale)) return {0.0f, 0.0f, false};  // nothing, or subnormal
    const float quotient = (magnitude < most ? magnitude : most) / top;
    const float scale = quotient > least_scale ? quotient : least_scale;
    return {scale, 1.0f / scale, magnitude > far};
  }

 private:
  static std::uint32_t largest_of(const float* from, std::size_t size) {
    using Bits = typename V::Bits;
    constexpr std::size_t chains = 4;
    Bits greatest[chains];
    for (Bits& chain : greatest) chain = Bits::broadcast(0);
    std::size_t i = 0;
    for (; size - i >= chains * V::lanes; i += chains * V::lanes) {
      for (std::size_t k = 0; k < chains; ++k) {
        greatest[k] = max(greatest[k], bits(abs(V::load(from + i + k * V::lanes))));
      }
    }
    transform<V>(size - i, [&](auto lanes, std::size_t j) {
      greatest[0] = max(greatest[0], bits(abs(lanes.load(from + i + j))));
    });
    return largest(max(max(greatest[0], greatest[1]), max(greatest[2], greatest[3])));
  }
};

/// Scales from here on are far: what follows is not in range for them.
inline constexpr float far_scale = 0x1p29f;
inline constexpr float up = 0x1p96f;
inline constexpr float down = 0x1p-96f;

/// Numbers that are not negative, as N: the exponents 1 to 31, the last one for 2⁰, and 0. What is less
/// than the least is the least: a second moment of 0 would make an update infinite.
///
/// y is carried as y·2⁻⁹⁶, whose exponent is the code's own.
template <class N, int own_mantissa_bits>
struct NonNegativeCode {
  static constexpr int shift = mantissa_bits - own_mantissa_bits;
  static constexpr int guard = 3;
  static constexpr float top = 2.0f - 1.0f / static_cast<float>(1 << own_mantissa_bits);
  static constexpr float far = far_scale;
  static constexpr std::uint32_t least_bits = 1u << mantissa_bits;
  template <class V>
  using Numbers = detail::Numbers<V, shift, guard>;
  static constexpr std::uint32_t largest_code = (1u << (5 + own_mantissa_bits)) - 1;
  static_assert(sizeof(N) * 8 == 5 + own_mantissa_bits);
  using Stored = N;
  static constexpr int scale_arguments = 1;

  /// @param scale_up scale·up
  template <class V>
  static V number_of(typename V::Bits code, V scale_up) {
    return V::of_bits(shift_left<shift>(code)) * scale_up;
  }

  template <class V>
  static void decode(const void* codes, const float* scales, float* to, std::size_t size) {
    by_block(size, [&](std::size_t begin, std::size_t n, std::size_t block) {
      const N* const from = static_cast<const N*>(codes) + begin;
      const float scale = scales[block];
      const bool is_near = scale <= far;
      const V first = V::broadcast(is_near ? scale * up : scale);
      const V second = V::broadcast(up);
      const auto decode_block = [=]<bool near>(Constant<near>) {
        transform<V>(n, [=](auto lanes, std::size_t i) {
          const auto code = lanes.load_bits(from + i);
          const V y = number_of<V>(code, near ? first : second);
          lanes.store(near ? y : y * first, to + begin + i);
        });
      };
      is_near ? decode_block(Constant<true>{}) : decode_block(Constant<false>{});
    });
  }

  /// The code's bits from bit `shift` on, and below them what is cut off.
  /// @param inverse_down down/scale, where the scale is not far
  template <class V>
  static typename V::Bits sum_of(V x, V inverse_down, typename V::Bits numbers) {
    using Bits = typename V::Bits;
    // Not less than the least; and of 0 it is 0.
    const Bits y = max(bits(x * inverse_down), min(bits(x), Bits::broadcast(least_bits)));
    return y + numbers;
  }
  /// @tparam dropped the bits that are gone from the sum's lower end
  template <int dropped = 0, class Sum>
  static Sum code_in(Sum sum) {
    return shift_right<shift - dropped>(sum);
  }

  /// Of state that is never negative.
  template <class V>
  static typename V::Bits magnitude_of(V x) {
    return bits(x);
  }

  template <class V>
  [[gnu::noinline]] static void encode(const float* from, void* codes, float* scales,
                                       std::size_t size, const Dither& dither, std::size_t first) {
    using Bits = typename V::Bits;
    const auto scale_of = [&](std::size_t begin, std::size_t n, std::size_t block) {
      const BlockScale found = Scaled<V>::scale_of(from + begin, n, top, far);
      scales[block] = found.scale;
      return found;
    };
    by_block<BlockScale>(
        size, scale_of,
        [&](std::size_t begin, std::size_t n, std::size_t block, const BlockScale& found) {
          N* const to = static_cast<N*>(codes) + begin;
          const float* const numbers_of = from + begin;
          const bool is_far = found.is_far;
          const float inverse = found.inverse;
          const V factor = V::broadcast(is_far ? inverse : inverse * down);
          const V second = V::broadcast(down);
          const V most = V::broadcast(Scaled<V>::most);
          const Bits last = Bits::broadcast(largest_code);
          const Bits start = Numbers<V>::start_of(dither.of_block(first + block));
          const auto encode_block = [=]<bool near>(Constant<near>) {
            transform<V>(n, [=](auto lanes, std::size_t i) {
              const V x = lanes.load(numbers_of + i);
              const Bits numbers = Numbers<V>::at(start, i);
              if constexpr (near) {
                lanes.store_bits(code_in(sum_of(x, factor, numbers)), to + i);
              } else {
                const V y = min(x, most) * factor;
                lanes.store_bits(min(code_in(sum_of(y, second, numbers)), last), to + i);
              }
            });
          };
          is_far ? encode_block(Constant<false>{}) : encode_block(Constant<true>{});
        });
  }
};

/// A sign, and |y| + 2⁻¹⁵ with the exponents 0 to 15, the last one for 2⁰: numbers go evenly down to 0,
/// which less than the least may become, as a first moment that stopped at the least would move its
/// parameter for ever.
struct Signed8Code {
  static constexpr int own_mantissa_bits = 3;
  static constexpr int shift = mantissa_bits - own_mantissa_bits;
  static constexpr int guard = 3;
  static constexpr std::uint32_t sign = 0x80;
  static constexpr std::uint32_t largest_code = 0x7f;
  static constexpr float offset = 0x1p-15f;  // its exponent's last four bits are 0, those of code 0
  static constexpr std::uint32_t offset_bits = __builtin_bit_cast(std::uint32_t, offset);
  static_assert((offset_bits >> shift & largest_code) == 0);
  static constexpr float top = 1.875f - offset;
  using Stored = std::int8_t;  ///< with copies of its sign
  static constexpr int scale_arguments = 2;
  static constexpr float far = 0x1p126f;
  template <class V>
  using Numbers = detail::Numbers<V, shift, guard>;

  /// @param minus_offset −offset·scale
  template <class V>
  static V number_of(typename V::Bits code, V scale, V minus_offset) {
    using Bits = typename V::Bits;
    const V y = V::of_bits(merge(Bits::broadcast(largest_code << shift), shift_left<shift>(code),
                                 Bits::broadcast(offset_bits)));
    return V::of_bits(
        merge(Bits::broadcast(magnitude_bits), bits(fma(y, scale, minus_offset)), code));
  }

  template <class V>
  static void decode(const void* codes, const float* scales, float* to, std::size_t size) {
    by_block(size, [&](std::size_t begin, std::size_t n, std::size_t block) {
      const auto* const from = static_cast<const std::int8_t*>(codes) + begin;
      const V scale = V::broadcast(scales[block]);
      const V minus_offset = V::broadcast(-offset * scales[block]);
      transform<V>(n, [=](auto lanes, std::size_t i) {
        lanes.store(number_of<V>(lanes.load_bits(from + i), scale, minus_offset), to + begin + i);
      });
    });
  }

  /// The sign, the code's other bits from bit `shift` on, and below them what is cut off.
  template <class V>
  static typename V::Bits sum_of(V x, V inverse, typename V::Bits numbers) {
    return bits(fma(x, inverse, copysign(V::broadcast(offset), x))) + numbers;
  }
  /// @tparam dropped the bits that are gone from the sum's lower end
  template <int dropped = 0, class Sum>
  static Sum code_in(Sum sum) {
    return merge(Sum::broadcast(sign), shift_right<24 - dropped>(sum),
                 shift_right<shift - dropped>(sum));
  }

  template <class V>
  static typename V::Bits magnitude_of(V x) {
    return bits(x) & V::Bits::broadcast(magnitude_bits);
  }

  template <class V>
  [[gnu::noinline]] static void encode(const float* from, void* codes, float* scales,
                                       std::size_t size, const Dither& dither, std::size_t first) {
    using Bits = typename V::Bits;
    const V most = V::broadcast(Scaled<V>::most);
    const Bits largest_sum = Bits::broadcast(offset_bits + (largest_code << shift));
    const Bits magnitudes = Bits::broadcast(magnitude_bits);
    const auto scale_of = [&](std::size_t begin, std::size_t n, std::size_t block) {
      const BlockScale found = Scaled<V>::scale_of(from + begin, n, top, far);
      scales[block] = found.scale;
      return found;
    };
    by_block<BlockScale>(
        size, scale_of,
        [&](std::size_t begin, std::size_t n, std::size_t block, const BlockScale& found) {
          auto* const to = static_cast<std::uint8_t*>(codes) + begin;
          const float* const numbers_of = from + begin;
          const bool is_far = found.is_far;
          const V inverse = V::broadcast(found.inverse);
          const Bits start = Numbers<V>::start_of(dither.of_block(first + block));
          const auto encode_block = [=]<bool near>(Constant<near>) {
            transform<V>(n, [=](auto lanes, std::size_t i) {
              const V x = lanes.load(numbers_of + i);
              const Bits numbers = Numbers<V>::at(start, i);
              if constexpr (near) {
                lanes.store_bits(code_in(sum_of(x, inverse, numbers)), to + i);
              } else {
                const Bits sum = min(sum_of(min(abs(x), most), inverse, numbers), largest_sum);
                lanes.store_bits(code_in(merge(magnitudes, sum, bits(x))), to + i);
              }
            });
          };
          is_far ? encode_block(Constant<false>{}) : encode_block(Constant<true>{});
        });
  }
};

using NonNegative8Code = NonNegativeCode<std::uint8_t, 3>;
using NonNegative16Code = NonNegativeCode<std::uint16_t, 11>;

/// Numbers as they are.
struct Uncoded {
  static constexpr int scale_arguments = 0;
};

/// What each StateCode stands for.
template <StateCode code>
struct CodeOf {
  using Type = Uncoded;
};
template <>
struct CodeOf<StateCode::signed_16> {
  using Type = BFloat16Code;
};
template <>
struct CodeOf<StateCode::non_negative_16> {
  using Type = NonNegative16Code;
};
template <>
struct CodeOf<StateCode::signed_8> {
  using Type = Signed8Code;
};
template <>
struct CodeOf<StateCode::non_negative_8> {
  using Type = NonNegative8Code;
};
template <StateCode code>
using CodeType = typename CodeOf<code>::Type;

template <class V, std::size_t code>
constexpr CodeKernels make_code_kernels() {
  using Code = CodeType<static_cast<StateCode>(code)>;
  if constexpr (__is_same(Code, Uncoded)) {
    return {nullptr, nullptr};
  } else {
    return {&Code::template decode<V>, &Code::template encode<V>};
  }
}

/// join() and split() of two vectors, the sum being carried from half to half.
template <class V>
inline void join_two(const std::uint16_t* upper, const std::uint16_t* lower, V (&to)[2]) {
  using Halves = typename V::Halves;
  const Halves low = Halves::load(lower);
  typename V::Bits first;
  typename V::Bits second;
  Halves::join(Halves::load(upper) - shift_right<15>(low), low, first, second);
  to[0] = V::of_bits(first);
  to[1] = V::of_bits(second);
}
template <class V>
inline void split_two(const V (&from)[2], std::uint16_t* upper, std::uint16_t* lower) {
  using Halves = typename V::Halves;
  const Halves low = Halves::lower_of(bits(from[0]), bits(from[1]));
  const Halves high = Halves::upper_of(bits(from[0]), bits(from[1]));
  (high + shift_right<15>(low)).store(upper);
  low.store(lower);
}

}  // namespace detail

template <class V>
inline void join(const std::uint16_t* upper, const std::uint16_t* lower, float* to,
                 std::size_t size) {
  const auto* const signed_lower = reinterpret_cast<const std::int16_t*>(lower);
  transform<V>(size, [=](auto lanes, std::size_t i) {
    lanes.store(V::of_bits(lanes.load_upper(upper + i) + lanes.load_bits(signed_lower + i)),
                to + i);
  });
}

template <class V>
inline void split(const float* from, std::uint16_t* upper, std::uint16_t* lower, std::size_t size) {
  transform<V>(size, [=](auto lanes, std::size_t i) {
    const auto b = bits(lanes.load(from + i));
    lanes.store_upper(b + V::Bits::broadcast(0x8000), upper + i);  // to the nearest
    lanes.store_bits(b, lower + i);
  });
}

/// The kernels of all codes, by StateCode.
template <class V>
inline constexpr CodeKernels code_kernels[state_codes] = {
    detail::make_code_kernels<V, 0>(), detail::make_code_kernels<V, 1>(),
    detail::make_code_kernels<V, 2>(), detail::make_code_kernels<V, 3>(),
    detail::make_code_kernels<V, 4>()};

}  // namespace flatstep
