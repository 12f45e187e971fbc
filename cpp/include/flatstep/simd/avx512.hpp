// The avx512 target: 64-byte vectors for x86-64 with AVX-512 F, DQ, BW and VL (compile with
// -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma). What each operation means is written in
// emulated.hpp.
//
// Some operations are spelled in their masked form with every lane set: the same instruction, but
// the plain form reads an undefined register in GCC's headers, which GCC itself warns of.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace flatstep::avx512 {

/// Where 32 halves come from, in pairs: of two vectors the first one's have the numbers 0 to 31, the
/// second one's 32 to 63.
struct HalfOrder {
  alignas(64) std::uint16_t from[32];

  constexpr HalfOrder(unsigned first, unsigned next_pair, unsigned within_pair) : from{} {
    for (unsigned i = 0; i < 32; ++i) {
      from[i] = static_cast<std::uint16_t>(first + i / 2 * next_pair + i % 2 * within_pair);
    }
  }
};
inline constexpr HalfOrder lower_halves{0, 4, 2};
inline constexpr HalfOrder upper_halves{1, 4, 2};
inline constexpr HalfOrder first_pairs{0, 1, 32};  ///< of both vectors one after the other
inline constexpr HalfOrder last_pairs{16, 1, 32};

template <class T>
struct Vector;

template <>
struct Vector<float> {
  using value_type = float;
  static constexpr std::size_t lanes = 16;
  /// Whether passes over codes are worth kernels of their own.
  static constexpr bool has_stored_passes = true;

  struct Mask {
    __mmask16 bits;
  };

  struct Bits {
    __m512i v;

    static Bits broadcast(std::uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
    static Bits load(const std::uint32_t* p) { return {_mm512_loadu_si512(p)}; }
    static Bits load(const std::uint16_t* p) {
      return {_mm512_maskz_cvtepu16_epi32(all(true).bits,
                                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
    }
    static Bits load(const std::uint8_t* p) {
      return {_mm512_maskz_cvtepu8_epi32(all(true).bits,
                                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
    }
    static Bits load(const std::int16_t* p) {
      return {_mm512_maskz_cvtepi16_epi32(all(true).bits,
                                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
    }
    static Bits load(const std::int8_t* p) {
      return {_mm512_maskz_cvtepi8_epi32(all(true).bits,
                                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
    }
    static Bits load_upper(const std::uint16_t* p) {
      const __m512i halves =
          _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
      return {_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, to_upper(), halves)};
    }
    void store(std::uint16_t* p) const {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                          _mm512_maskz_cvtepi32_epi16(all(true).bits, v));
    }
    void store(std::uint8_t* p) const {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                       _mm512_maskz_cvtepi32_epi8(all(true).bits, v));
    }
    void store_upper(std::uint16_t* p) const {
      const __m512i halves = _mm512_maskz_permutexvar_epi16(0xffff, from_upper(), v);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                          _mm512_maskz_extracti32x8_epi32(0xff, halves, 0));
    }

    friend Bits operator+(Bits a, Bits b) { return {_mm512_add_epi32(a.v, b.v)}; }
    friend Bits operator-(Bits a, Bits b) { return {_mm512_sub_epi32(a.v, b.v)}; }
    friend Bits operator&(Bits a, Bits b) { return {_mm512_and_si512(a.v, b.v)}; }
    friend Bits operator|(Bits a, Bits b) { return {_mm512_or_si512(a.v, b.v)}; }
    friend Bits operator^(Bits a, Bits b) { return {_mm512_xor_si512(a.v, b.v)}; }
    friend Bits merge(Bits mask, Bits a, Bits b) {
      // a first, as the first is where the result goes, and masks are constants.
      return {_mm512_ternarylogic_epi32(a.v, mask.v, b.v, 0xe2)};
    }
    template <int n>
    friend Bits shift_left(Bits a) {
      return {_mm512_maskz_slli_epi32(all(true).bits, a.v, n)};
    }
    template <int n>
    friend Bits shift_right(Bits a) {
      return {_mm512_maskz_srli_epi32(all(true).bits, a.v, n)};
    }
    friend Bits min(Bits a, Bits b) { return {_mm512_maskz_min_epu32(all(true).bits, a.v, b.v)}; }
    friend Bits max(Bits a, Bits b) { return {_mm512_maskz_max_epu32(all(true).bits, a.v, b.v)}; }
    friend Bits or_where(Mask mask, Bits a, Bits b) {
      return {_mm512_mask_or_epi32(a.v, mask.bits, a.v, b.v)};
    }
    friend std::uint32_t largest(Bits a) {
      const __m256i half = _mm256_max_epu32(_mm512_maskz_extracti32x8_epi32(0xff, a.v, 0),
                                            _mm512_maskz_extracti32x8_epi32(0xff, a.v, 1));
      __m128i four = _mm_max_epu32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
      four = _mm_max_epu32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(1, 0, 3, 2)));
      four = _mm_max_epu32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(2, 3, 0, 1)));
      return static_cast<std::uint32_t>(_mm_cvtsi128_si32(four));
    }

   private:
    /// Half i to the upper half of element i, and back: one instruction, where widening and a shift are
    /// two.
    static __m512i to_upper() {
      return _mm512_set_epi32(15 << 16, 14 << 16, 13 << 16, 12 << 16, 11 << 16, 10 << 16, 9 << 16,
                              8 << 16, 7 << 16, 6 << 16, 5 << 16, 4 << 16, 3 << 16, 2 << 16,
                              1 << 16, 0);
    }
    static __m512i from_upper() {
      return _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 31 << 16 | 29, 27 << 16 | 25, 23 << 16 | 21,
                              19 << 16 | 17, 15 << 16 | 13, 11 << 16 | 9, 7 << 16 | 5, 3 << 16 | 1);
    }
  };

  struct Halves {
    __m512i v;

    static Halves broadcast(std::uint16_t x) { return {_mm512_set1_epi16(static_cast<short>(x))}; }
    static Halves load(const std::uint16_t* p) { return {_mm512_loadu_si512(p)}; }
    void store(std::uint16_t* p) const { _mm512_storeu_si512(p, v); }
    void store(std::uint8_t* p) const {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_maskz_cvtepi16_epi8(every, v));
    }
    static Halves upper_of(Bits a, Bits b) { return pick(a.v, upper_halves, b.v); }
    static Halves lower_of(Bits a, Bits b) { return pick(a.v, lower_halves, b.v); }
    static void join(Halves upper, Halves lower, Bits& a, Bits& b) {
      a.v = pick(lower.v, first_pairs, upper.v).v;
      b.v = pick(lower.v, last_pairs, upper.v).v;
    }

    friend Halves operator+(Halves a, Halves b) { return {_mm512_add_epi16(a.v, b.v)}; }
    friend Halves operator-(Halves a, Halves b) { return {_mm512_sub_epi16(a.v, b.v)}; }
    friend Halves merge(Halves mask, Halves a, Halves b) {
      return {_mm512_ternarylogic_epi32(a.v, mask.v, b.v, 0xe2)};
    }
    template <int n>
    friend Halves shift_right(Halves a) {
      return {_mm512_maskz_srli_epi16(every, a.v, n)};
    }

   private:
    static constexpr __mmask32 every = 0xffffffff;

    static Halves pick(__m512i a, const HalfOrder& order, __m512i b) {
      return {_mm512_permutex2var_epi16(a, _mm512_load_si512(order.from), b)};
    }
  };

  __m512 v;

  static Vector zero() { return {_mm512_setzero_ps()}; }
  static Vector broadcast(float x) { return {_mm512_set1_ps(x)}; }
  static Vector load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vector load_partial(const float* p, std::size_t n) {
    return {_mm512_maskz_loadu_ps(first(n).bits, p)};
  }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store_partial(float* p, std::size_t n) const { _mm512_mask_storeu_ps(p, first(n).bits, v); }

  static Mask first(std::size_t n) { return {static_cast<__mmask16>((1u << n) - 1u)}; }
  static Mask all(bool set) { return first(set ? lanes : 0); }

  friend Vector operator+(Vector a, Vector b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend Vector operator-(Vector a, Vector b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend Vector operator*(Vector a, Vector b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend Vector operator/(Vector a, Vector b) { return {_mm512_div_ps(a.v, b.v)}; }
  friend Vector sqrt(Vector a) { return {_mm512_maskz_sqrt_ps(all(true).bits, a.v)}; }
  friend Vector fma(Vector a, Vector b, Vector c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  friend Vector min(Vector a, Vector b) { return {_mm512_maskz_min_ps(all(true).bits, a.v, b.v)}; }
  friend Vector max(Vector a, Vector b) { return {_mm512_maskz_max_ps(all(true).bits, a.v, b.v)}; }
  friend Vector abs(Vector a) { return {_mm512_andnot_ps(sign_bits(), a.v)}; }
  friend Vector copysign(Vector magnitude, Vector sign) {
    return of_bits(merge(Bits::broadcast(0x7fffffff), bits(magnitude), bits(sign)));
  }
  friend Mask not_equal(Vector a, Vector b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ)}; }
  friend Vector keep(Mask mask, Vector a) { return {_mm512_maskz_mov_ps(mask.bits, a.v)}; }

  static Vector of_bits(Bits a) { return {_mm512_castsi512_ps(a.v)}; }
  friend Bits bits(Vector a) { return {_mm512_castps_si512(a.v)}; }
  static Vector of_integers(Bits a) { return {_mm512_maskz_cvtepi32_ps(all(true).bits, a.v)}; }

 private:
  static __m512 sign_bits() { return _mm512_set1_ps(-0.0f); }
};

template <>
struct Vector<double> {
  using value_type = double;
  static constexpr std::size_t lanes = 8;

  struct Mask {
    __mmask8 bits;
  };

  __m512d v;

  static Vector zero() { return {_mm512_setzero_pd()}; }
  static Vector broadcast(double x) { return {_mm512_set1_pd(x)}; }
  static Vector load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static Vector load_partial(const double* p, std::size_t n) {
    return {_mm512_maskz_loadu_pd(first(n).bits, p)};
  }
  static Vector load_widened(const float* p) {
    return {_mm512_maskz_cvtps_pd(all(true).bits, _mm256_loadu_ps(p))};
  }
  static Vector load_widened_partial(const float* p, std::size_t n) {
    return {_mm512_maskz_cvtps_pd(all(true).bits, _mm256_maskz_loadu_ps(first(n).bits, p))};
  }
  void store(double* p) const { _mm512_storeu_pd(p, v); }
  void store_partial(double* p, std::size_t n) const { _mm512_mask_storeu_pd(p, first(n).bits, v); }

  static Mask first(std::size_t n) { return {static_cast<__mmask8>((1u << n) - 1u)}; }
  static Mask all(bool set) { return first(set ? lanes : 0); }

  friend Vector operator+(Vector a, Vector b) { return {_mm512_add_pd(a.v, b.v)}; }
  friend Vector operator-(Vector a, Vector b) { return {_mm512_sub_pd(a.v, b.v)}; }
  friend Vector operator*(Vector a, Vector b) { return {_mm512_mul_pd(a.v, b.v)}; }
  friend Vector operator/(Vector a, Vector b) { return {_mm512_div_pd(a.v, b.v)}; }
  friend Vector sqrt(Vector a) { return {_mm512_maskz_sqrt_pd(all(true).bits, a.v)}; }
  friend Vector fma(Vector a, Vector b, Vector c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
  friend Vector min(Vector a, Vector b) { return {_mm512_maskz_min_pd(all(true).bits, a.v, b.v)}; }
  friend Vector max(Vector a, Vector b) { return {_mm512_maskz_max_pd(all(true).bits, a.v, b.v)}; }
  friend Vector abs(Vector a) { return {_mm512_andnot_pd(sign_bits(), a.v)}; }
  friend Vector copysign(Vector magnitude, Vector sign) {
    return {_mm512_or_pd(abs(magnitude).v, _mm512_and_pd(sign_bits(), sign.v))};
  }
  friend Mask not_equal(Vector a, Vector b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_NEQ_UQ)}; }
  friend Vector keep(Mask mask, Vector a) { return {_mm512_maskz_mov_pd(mask.bits, a.v)}; }

 private:
  static __m512d sign_bits() { return _mm512_set1_pd(-0.0); }
};

struct Target {
  template <class T>
  using Vector = avx512::Vector<T>;
  static constexpr const char* name = "avx512";
};

}  // namespace flatstep::avx512
