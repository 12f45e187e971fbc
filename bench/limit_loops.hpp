// The loops behind the limits: the bytes of a step, or its bytes, roots and divisions, and nothing
// else. For the Python module (limit.cpp) and for the microbenchmarks (kernels.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

namespace flatstep_bench {

using Word = std::uint64_t;

/// Reads g, reads and writes the first `targets` of four arrays; 1 to 4.
void touch(std::size_t n, const Word* g, Word* const* arrays, std::size_t targets);

/// Reads only.
Word read(std::size_t n, const Word* x);

/// An array that is read and written: for every 64 parameters so many lines of 64 bytes, which is as
/// many bytes for each parameter.
struct Stream {
  Word* data;
  std::size_t bytes;
};

/// How many parameters a line of the narrowest array holds.
inline constexpr std::size_t line_parameters = 64;

/// Reads g, which has `bytes` for each parameter, reads and writes the streams: `touch` for arrays
/// that are not of one width. The first stream is as wide as g at least, and all widths are powers of
/// two.
void touch(std::size_t lines, const Word* g, std::size_t bytes, const Stream* streams,
           std::size_t count);

/// An Adam step's bytes, root and division. The additions keep g in the work and, g being positive,
/// all values finite and normal.
void roots_and_divisions(std::size_t n, float* p, const float* g, float* m, float* v);

/// What a block of codes is multiplied by, and the least bits of a float that there is a code for.
struct CodeScale {
  float decode;
  float encode;
  std::uint32_t least = 0x00800000;  // those of the least normal number
};

/// What the step of an updater works with and has to do, beside additions and multiplications.
struct Work {
  unsigned state_bytes;  ///< of the state that is in codes, 1 or 2; 4 where it all is as it is
  unsigned coded;        ///< state arrays that are in codes
  unsigned plain;        ///< … and that are as they are
  unsigned roots;
  unsigned divisions;
  bool split;  ///< whether parameters are in two halves, and gradients bfloat16

  friend bool operator==(const Work&, const Work&) = default;
};

/// What it works on: as wide as that says.
struct Arrays {
  void* parameter;       ///< split: the upper halves
  std::uint16_t* lower;  ///< null where parameters are as they are
  const void* gradient;
  void* state[3];  ///< those in codes first
};

/// The roots and divisions of a step, and what codes cost at least. To decode: zero-extend, shift,
/// multiply by a scale. To encode: multiply, take a maximum, round by an addition, shift, pack. n is a
/// multiple of `code_lanes`.
inline constexpr std::size_t code_lanes = 16;
using WorkLoop = void (*)(std::size_t n, const Arrays& arrays, const CodeScale& scale);

/// Null for work that no updater has.
WorkLoop find_loop(const Work& work);

/// Scales with which each step halves the state, so that it stays about as large as a g of 1, and the
/// code of 1.
template <class Code>
constexpr CodeScale code_scale() {
  if constexpr (sizeof(Code) == 2) return {1.0f, 0.5f};
  return {0x1p100f, 0x1p-101f};
}
template <class Code>
constexpr Code code_of_one() {
  return sizeof(Code) == 2 ? 0x3f80 : 27 * 8;
}

}  // namespace flatstep_bench
