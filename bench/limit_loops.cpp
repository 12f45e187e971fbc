// The loops behind the limits, compiled for all that the machine that builds them has.
#include "limit_loops.hpp"

#include <array>
#include <cmath>
#include <cstring>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace flatstep_bench {
namespace {

// Reads g, reads and writes the others. One function for each number of them: of pointers, only
// parameters are taken at their word about __restrict.
void touch(std::size_t n, const Word* __restrict g, Word* __restrict a) {
  for (std::size_t i = 0; i < n; ++i) a[i] ^= g[i];
}
void touch(std::size_t n, const Word* __restrict g, Word* __restrict a, Word* __restrict b) {
  for (std::size_t i = 0; i < n; ++i) {
    const Word x = g[i];
    a[i] ^= x;
    b[i] ^= x;
  }
}
void touch(std::size_t n, const Word* __restrict g, Word* __restrict a, Word* __restrict b,
           Word* __restrict c) {
  for (std::size_t i = 0; i < n; ++i) {
    const Word x = g[i];
    a[i] ^= x;
    b[i] ^= x;
    c[i] ^= x;
  }
}
void touch(std::size_t n, const Word* __restrict g, Word* __restrict a, Word* __restrict b,
           Word* __restrict c, Word* __restrict d) {
  for (std::size_t i = 0; i < n; ++i) {
    const Word x = g[i];
    a[i] ^= x;
    b[i] ^= x;
    c[i] ^= x;
    d[i] ^= x;
  }
}

// A line at a time, whatever the arrays may share: it is loaded, and then it is stored.
using Line [[gnu::vector_size(64), gnu::aligned(sizeof(Word)), gnu::may_alias]] = Word;

// ---- codes

// The compiler's own vectors: from plain loops it makes a chain of unpackings for every code.
constexpr std::size_t lanes = code_lanes;
using Floats [[gnu::vector_size(64)]] = float;
using Bits [[gnu::vector_size(64)]] = std::uint32_t;

template <class Vector>
Vector loaded(const void* from) {
  Vector to;
  std::memcpy(&to, from, sizeof to);
  return to;
}
template <class Vector>
void store(void* to, Vector from) {
  std::memcpy(to, &from, sizeof from);
}

// GCC takes small elements apart, were it asked to convert them. The masks are all ones: what has none
// begins with a register of which GCC 12 says that it is not initialised.
#ifdef __AVX512F__
Bits widened(const std::uint16_t* from) {
  return reinterpret_cast<Bits>(_mm512_maskz_cvtepu16_epi32(0xffff, loaded<__m256i>(from)));
}
Bits widened(const std::uint8_t* from) {
  return reinterpret_cast<Bits>(_mm512_maskz_cvtepu8_epi32(0xffff, loaded<__m128i>(from)));
}
void narrow(std::uint16_t* to, Bits from) {
  store(to, _mm512_maskz_cvtepi32_epi16(0xffff, reinterpret_cast<__m512i>(from)));
}
void narrow(std::uint8_t* to, Bits from) {
  store(to, _mm512_maskz_cvtepi32_epi8(0xffff, reinterpret_cast<__m512i>(from)));
}
#else
using Codes16 [[gnu::vector_size(32)]] = std::uint16_t;
using Codes8 [[gnu::vector_size(16)]] = std::uint8_t;

Bits widened(const std::uint16_t* from) {
  return __builtin_convertvector(loaded<Codes16>(from), Bits);
}
Bits widened(const std::uint8_t* from) {
  return __builtin_convertvector(__builtin_convertvector(loaded<Codes8>(from), Codes16), Bits);
}
void narrow(std::uint16_t* to, Bits from) { store(to, __builtin_convertvector(from, Codes16)); }
void narrow(std::uint8_t* to, Bits from) {
  store(to, __builtin_convertvector(__builtin_convertvector(from, Codes16), Codes8));
}
#endif

// bfloat16 is the upper half of a float. A code of 8 bits has five of an exponent, and three of a
// fraction; the scales bring it near 2⁻¹⁰⁰ and back. They come at run time, as a block's would.
template <class Code>
constexpr int shift_of = sizeof(Code) == 2 ? 16 : 20;

template <class Code>
Floats decoded(const Code* code, float scale) {
  return reinterpret_cast<Floats>(widened(code) << shift_of<Code>) * scale;
}

template <class Code>
void encode(Code* code, Floats value, const CodeScale& scale) {
  const auto bits = reinterpret_cast<Bits>(value * scale.encode);
  const Bits least = Bits{} + scale.least;
  const Bits half = Bits{} + (std::uint32_t{1} << (shift_of<Code> - 1));
  narrow(code, ((bits > least ? bits : least) + half) >> shift_of<Code>);
}

Floats root(Floats x) {
  Floats roots{};
  for (std::size_t i = 0; i < lanes; ++i) roots[i] = std::sqrt(x[i]);
  return roots;
}

template <class State>
Floats advance(State* state, Floats g, const CodeScale& scale) {
  const Floats next = decoded(state, scale.decode) + g;
  encode(state, next, scale);
  return next;
}
Floats advance(float* state, Floats g, const CodeScale&) {
  const Floats next = loaded<Floats>(state) + g;
  store(state, next);
  return next;
}

/// The update: the first state over the root of the last, or less, as the numbers say.
template <unsigned arrays, unsigned roots, unsigned divisions>
Floats combined(Floats g, const Floats (&next)[3]) {
  if constexpr (arrays == 0) {
    return g;
  } else {
    const Floats first = arrays == 1 && divisions > 0 ? g : next[0];
    Floats above = arrays == 3 ? first + next[1] : first;
    if constexpr (roots > 1) above = g * root(above);
    const Floats& last = next[arrays - 1];
    if constexpr (divisions == 0) return above;
    return above / (roots > 0 ? root(last) : last);
  }
}

template <class Code, unsigned coded, unsigned plain, unsigned roots, unsigned divisions,
          bool split>
void work(std::size_t n, const Arrays& arrays, const CodeScale& scale_of_caller) {
  const CodeScale scale = scale_of_caller;
  void* const states[3] = {arrays.state[0], arrays.state[1], arrays.state[2]};
  for (std::size_t i = 0; i < n; i += lanes) {
    Floats g;
    if constexpr (split) {
      const auto* const gradient = static_cast<const std::uint16_t*>(arrays.gradient);
      g = reinterpret_cast<Floats>(widened(gradient + i) << 16);
    } else {
      g = loaded<Floats>(static_cast<const float*>(arrays.gradient) + i);
    }
    Floats next[3]{};
#pragma GCC unroll 3
    for (unsigned a = 0; a < coded + plain; ++a) {
      if (a < coded) {
        next[a] = advance(static_cast<Code*>(states[a]) + i, g, scale);
      } else {
        next[a] = advance(static_cast<float*>(states[a]) + i, g, scale);
      }
    }
    const Floats change = combined<coded + plain, roots, divisions>(g, next);
    if constexpr (split) {
      std::uint16_t* const upper = static_cast<std::uint16_t*>(arrays.parameter) + i;
      std::uint16_t* const lower = arrays.lower + i;
      // The upper half is rounded: the lower one counts from -2¹⁵, as one of 16 bits with a sign.
      const Bits low = widened(lower);
      const Bits before = ((widened(upper) - (low >> 15)) << 16) | low;
      const auto after = reinterpret_cast<Bits>(reinterpret_cast<Floats>(before) - change);
      narrow(upper, (after + 0x8000) >> 16);
      narrow(lower, after & 0xffff);
    } else {
      float* const parameter = static_cast<float*>(arrays.parameter) + i;
      store(parameter, loaded<Floats>(parameter) - change);
    }
  }
}

struct Entry {
  Work work;
  WorkLoop loop;
};

/// One kind of updater in all storages.
template <unsigned coded, unsigned plain, unsigned roots, unsigned divisions>
constexpr std::array<Entry, 5> entries() {
  const auto of = [](unsigned bytes, bool split) -> Work {
    return bytes == 4 ? Work{4, 0, coded + plain, roots, divisions, split}
                      : Work{bytes, coded, plain, roots, divisions, split};
  };
  return {{{of(4, false), &work<float, 0, coded + plain, roots, divisions, false>},
           {of(2, false), &work<std::uint16_t, coded, plain, roots, divisions, false>},
           {of(1, false), &work<std::uint8_t, coded, plain, roots, divisions, false>},
           {of(2, true), &work<std::uint16_t, coded, plain, roots, divisions, true>},
           {of(1, true), &work<std::uint8_t, coded, plain, roots, divisions, true>}}};
}

constexpr std::array all_entries{
    entries<0, 0, 0, 0>(), entries<1, 0, 0, 0>(), entries<1, 0, 1, 1>(), entries<2, 0, 0, 1>(),
    entries<2, 0, 1, 1>(), entries<2, 0, 2, 1>(), entries<1, 1, 1, 1>(), entries<3, 0, 1, 1>()};

}  // namespace

void touch(std::size_t n, const Word* g, Word* const* arrays, std::size_t targets) {
  switch (targets) {
    case 1:
      return touch(n, g, arrays[0]);
    case 2:
      return touch(n, g, arrays[0], arrays[1]);
    case 3:
      return touch(n, g, arrays[0], arrays[1], arrays[2]);
    default:
      return touch(n, g, arrays[0], arrays[1], arrays[2], arrays[3]);
  }
}

void touch(std::size_t lines, const Word* g, std::size_t bytes, const Stream* streams,
           std::size_t count) {
  const Line* const source = reinterpret_cast<const Line*>(g);
  for (std::size_t i = 0; i < lines; ++i) {
    const Line* const from = source + i * bytes;
    for (std::size_t s = 0; s < count; ++s) {
      const std::size_t width = streams[s].bytes;
      Line* const to = reinterpret_cast<Line*>(streams[s].data) + i * width;
      for (std::size_t k = 0; k < width; ++k) to[k] ^= from[k & (bytes - 1)];
    }
  }
}

Word read(std::size_t n, const Word* __restrict x) {
  Word all = 0;
  for (std::size_t i = 0; i < n; ++i) all ^= x[i];
  return all;
}

void roots_and_divisions(std::size_t n, float* __restrict p, const float* __restrict g,
                         float* __restrict m, float* __restrict v) {
  for (std::size_t i = 0; i < n; ++i) {
    const float m_next = m[i] + g[i];
    const float v_next = v[i] + g[i];
    m[i] = m_next;
    v[i] = v_next;
    p[i] -= m_next / std::sqrt(v_next);
  }
}

WorkLoop find_loop(const Work& work) {
  for (const auto& of_kind : all_entries) {
    for (const Entry& entry : of_kind) {
      if (entry.work == work) return entry.loop;
    }
  }
  return nullptr;
}

}  // namespace flatstep_bench
