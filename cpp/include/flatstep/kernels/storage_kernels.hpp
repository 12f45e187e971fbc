// What narrow storage is made of, for the engine: types of elements, codes of state, and the kernels
// that go between them and the numbers that passes compute with. storage.hpp and elements.hpp have the formulas.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flatstep {

struct ScaledSum;

/// The type of a gradient's or a parameter's elements: the one that is computed in, or another.
enum class ElementType : unsigned char { same, float32, bfloat16, float16 };

/// Such elements: the upper half of a float, and IEEE 754's binary16.
struct bfloat16 {
  std::uint16_t bits;
};
struct float16 {
  std::uint16_t bits;
};

// What kernels call is always in line: otherwise each target's unit would have a copy, in its own
// instructions, of which a linker keeps one.

/// How many bytes an element has, `same` being one of so many.
constexpr std::size_t bytes_of(ElementType type, std::size_t same) {
  return type == ElementType::same ? same : type == ElementType::float32 ? 4 : 2;
}

/// How the elements of a state array are kept: as they are, or as codes of so many bits, for state
/// of any sign and for state that is never negative.
enum class StateCode : unsigned char { none, signed_16, non_negative_16, signed_8, non_negative_8 };
inline constexpr std::size_t state_codes = 5;

/// Codes share a scale by blocks of this many elements, counted from the start of each slot.
inline constexpr std::size_t code_block = 256;

[[gnu::always_inline]] constexpr std::size_t bytes_of(StateCode code) {
  return code == StateCode::none                                              ? 0
         : code == StateCode::signed_16 || code == StateCode::non_negative_16 ? 2
                                                                              : 1;
}
/// signed_16 is bfloat16, which has an exponent for each element.
[[gnu::always_inline]] constexpr bool has_scales(StateCode code) {
  return code != StateCode::none && code != StateCode::signed_16;
}
/// The code of a state array that is kept in 16 or 8 bits. A maximum keeps 16: rounding drives it up.
constexpr StateCode state_code(unsigned width, bool never_negative, bool keeps_maximum) {
  if (width == 16 || keeps_maximum) {
    return never_negative ? StateCode::non_negative_16 : StateCode::signed_16;
  }
  return never_negative ? StateCode::non_negative_8 : StateCode::signed_8;
}

constexpr std::size_t blocks_of(std::size_t size) { return (size + code_block - 1) / code_block; }

/// What is added to numbers before they are cut off: different in each block of each array in each
/// step, and otherwise a function of the configuration's seed alone.
class Dither {
 public:
  constexpr Dither() = default;
  constexpr Dither(std::uint64_t seed, std::uint64_t iteration, std::uint64_t slot,
                   std::uint64_t array)
      : key_(mix(mix(mix(seed) + iteration) + (slot << 8) + array)) {}

  /// A hash of all that and the block.
  [[gnu::always_inline]] constexpr std::uint32_t of_block(std::uint64_t block) const {
    return static_cast<std::uint32_t>(mix(key_ + block) >> 32);
  }

 private:
  // SplitMix64: Steele, Lea and Flood 2014, https://doi.org/10.1145/2660193.2660195.
  [[gnu::always_inline]] static constexpr std::uint64_t mix(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }

  std::uint64_t key_ = 0;
};

/// The kernels of one code, from the beginning of a block on.
struct CodeKernels {
  void (*decode)(const void* codes, const float* scales, float* to, std::size_t size);
  /// @param block the number of the first block among the array's
  void (*encode)(const float* from, void* codes, float* scales, std::size_t size,
                 const Dither& dither, std::size_t block);
};

/// Of elements of another type than T.
template <class T>
struct ElementKernels {
  /// Each as the same number.
  void (*widen)(ElementType type, const void* from, T* to, std::size_t size);
  /// Numbers as such elements, rounded to the nearest.
  void (*narrow)(ElementType type, const T* from, void* to, std::size_t size);
  /// Of at most chunk_size elements, with the bits that it has of the same numbers in T.
  ScaledSum (*sum_of_squares)(ElementType type, const void* x, std::size_t size);
  bool (*all_finite)(ElementType type, const void* x, std::size_t size);
};

/// Of state and parameters.
template <class T>
struct StorageKernels {};

template <>
struct StorageKernels<float> {
  /// Numbers out of their upper halves, which are rounded, and their lower ones; and back.
  void (*join)(const std::uint16_t* upper, const std::uint16_t* lower, float* to, std::size_t size);
  void (*split)(const float* from, std::uint16_t* upper, std::uint16_t* lower, std::size_t size);
  const CodeKernels* codes;  ///< by StateCode; those of `none` are null
};

}  // namespace flatstep
