// The avx2 target: 32-byte vectors for x86-64 with AVX2 and FMA (compile with -mavx2 -mfma).
// What each operation means is written in emulated.hpp.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace flatstep::avx2 {

template <class T>
struct Vector;

template <>
struct Vector<float> {
  using value_type = float;
  static constexpr std::size_t lanes = 8;
  /// Whether passes over codes are worth kernels of their own.
  static constexpr bool has_stored_passes = true;

  struct Mask {
    __m256 bits;
  };

  struct Bits {
    __m256i v;

    static Bits broadcast(std::uint32_t x) { return {_mm256_set1_epi32(static_cast<int>(x))}; }
    static Bits load(const std::uint32_t* p) {
      return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
    }
    static Bits load(const std::uint16_t* p) {
      return {_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
    }
    static Bits load(const std::uint8_t* p) {
      return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
    }
    static Bits load(const std::int16_t* p) {
      return {_mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
    }
    static Bits load(const std::int8_t* p) {
      return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
    }
    static Bits load_upper(const std::uint16_t* p) { return shift_left<16>(load(p)); }
    void store(std::uint16_t* p) const {
      const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
      const __m128i packed =
          _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
    }
    void store(std::uint8_t* p) const {
      const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xff));
      const __m128i packed =
          _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(packed, packed));
    }
    void store_upper(std::uint16_t* p) const {
      const __m256i halves = _mm256_srli_epi32(v, 16);
      const __m128i packed =
          _mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
    }

    friend Bits operator+(Bits a, Bits b) { return {_mm256_add_epi32(a.v, b.v)}; }
    friend Bits operator-(Bits a, Bits b) { return {_mm256_sub_epi32(a.v, b.v)}; }
    friend Bits operator&(Bits a, Bits b) { return {_mm256_and_si256(a.v, b.v)}; }
    friend Bits operator|(Bits a, Bits b) { return {_mm256_or_si256(a.v, b.v)}; }
    friend Bits operator^(Bits a, Bits b) { return {_mm256_xor_si256(a.v, b.v)}; }
    friend Bits merge(Bits mask, Bits a, Bits b) {
      return {_mm256_or_si256(_mm256_and_si256(mask.v, a.v), _mm256_andnot_si256(mask.v, b.v))};
    }
    template <int n>
    friend Bits shift_left(Bits a) {
      return {_mm256_slli_epi32(a.v, n)};
    }
    template <int n>
    friend Bits shift_right(Bits a) {
      return {_mm256_srli_epi32(a.v, n)};
    }
    friend Bits min(Bits a, Bits b) { return {_mm256_min_epu32(a.v, b.v)}; }
    friend Bits max(Bits a, Bits b) { return {_mm256_max_epu32(a.v, b.v)}; }
    friend Bits or_where(Mask mask, Bits a, Bits b) {
      return {_mm256_or_si256(a.v, _mm256_and_si256(_mm256_castps_si256(mask.bits), b.v))};
    }
    friend std::uint32_t largest(Bits a) {
      __m128i four = _mm_max_epu32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
      four = _mm_max_epu32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(1, 0, 3, 2)));
      four = _mm_max_epu32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(2, 3, 0, 1)));
      return static_cast<std::uint32_t>(_mm_cvtsi128_si32(four));
    }
  };

  struct Halves {
    __m256i v;

    static Halves broadcast(std::uint16_t x) { return {_mm256_set1_epi16(static_cast<short>(x))}; }
    static Halves load(const std::uint16_t* p) {
      return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
    }
    void store(std::uint16_t* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
    void store(std::uint8_t* p) const {
      const __m256i low = _mm256_and_si256(v, _mm256_set1_epi16(0xff));
      _mm_storeu_si128(
          reinterpret_cast<__m128i*>(p),
          _mm_packus_epi16(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
    }
    static Halves upper_of(Bits a, Bits b) {
      return packed(_mm256_srli_epi32(a.v, 16), _mm256_srli_epi32(b.v, 16));
    }
    static Halves lower_of(Bits a, Bits b) {
      const __m256i low = _mm256_set1_epi32(0xffff);
      return packed(_mm256_and_si256(a.v, low), _mm256_and_si256(b.v, low));
    }
    static void join(Halves upper, Halves lower, Bits& a, Bits& b) {
      const __m256i even = _mm256_unpacklo_epi16(lower.v, upper.v);  // the four 0 and 2
      const __m256i odd = _mm256_unpackhi_epi16(lower.v, upper.v);
      a.v = _mm256_permute2x128_si256(even, odd, 0x20);
      b.v = _mm256_permute2x128_si256(even, odd, 0x31);
    }

    friend Halves operator+(Halves a, Halves b) { return {_mm256_add_epi16(a.v, b.v)}; }
    friend Halves operator-(Halves a, Halves b) { return {_mm256_sub_epi16(a.v, b.v)}; }
    friend Halves merge(Halves mask, Halves a, Halves b) {
      return {_mm256_or_si256(_mm256_and_si256(mask.v, a.v), _mm256_andnot_si256(mask.v, b.v))};
    }
    template <int n>
    friend Halves shift_right(Halves a) {
      return {_mm256_srli_epi16(a.v, n)};
    }

   private:
    /// Of numbers below 2^16. They are packed by halves of a vector: the second and third quarter
    /// change places.
    static Halves packed(__m256i a, __m256i b) {
      return {_mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), _MM_SHUFFLE(3, 1, 2, 0))};
    }
  };

  __m256 v;

  static Vector zero() { return {_mm256_setzero_ps()}; }
  static Vector broadcast(float x) { return {_mm256_set1_ps(x)}; }
  static Vector load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Vector load_partial(const float* p, std::size_t n) {
    return {_mm256_maskload_ps(p, first_bits(n))};
  }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  // In pieces, as masked stores are slow on AMD's processors.
  void store_partial(float* p, std::size_t n) const {
    __m128 rest = _mm256_castps256_ps128(v);
    if (n & 4) {
      _mm_storeu_ps(p, rest);
      rest = _mm256_extractf128_ps(v, 1);
      p += 4;
    }
    if (n & 2) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_castps_si128(rest));
      rest = _mm_movehl_ps(rest, rest);
      p += 2;
    }
    if (n & 1) _mm_store_ss(p, rest);
  }

  static Mask first(std::size_t n) { return {_mm256_castsi256_ps(first_bits(n))}; }
  static Mask all(bool set) { return {_mm256_castsi256_ps(_mm256_set1_epi32(set ? -1 : 0))}; }

  friend Vector operator+(Vector a, Vector b) { return {_mm256_add_ps(a.v, b.v)}; }
  friend Vector operator-(Vector a, Vector b) { return {_mm256_sub_ps(a.v, b.v)}; }
  friend Vector operator*(Vector a, Vector b) { return {_mm256_mul_ps(a.v, b.v)}; }
  friend Vector operator/(Vector a, Vector b) { return {_mm256_div_ps(a.v, b.v)}; }
  friend Vector sqrt(Vector a) { return {_mm256_sqrt_ps(a.v)}; }
  friend Vector fma(Vector a, Vector b, Vector c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
  friend Vector min(Vector a, Vector b) { return {_mm256_min_ps(a.v, b.v)}; }
  friend Vector max(Vector a, Vector b) { return {_mm256_max_ps(a.v, b.v)}; }
  friend Vector abs(Vector a) { return {_mm256_andnot_ps(sign_bits(), a.v)}; }
  friend Vector copysign(Vector magnitude, Vector sign) {
    return {_mm256_or_ps(abs(magnitude).v, _mm256_and_ps(sign_bits(), sign.v))};
  }
  friend Mask not_equal(Vector a, Vector b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_NEQ_UQ)}; }
  friend Vector keep(Mask mask, Vector a) { return {_mm256_and_ps(mask.bits, a.v)}; }

  static Vector of_bits(Bits a) { return {_mm256_castsi256_ps(a.v)}; }
  friend Bits bits(Vector a) { return {_mm256_castps_si256(a.v)}; }
  static Vector of_integers(Bits a) { return {_mm256_cvtepi32_ps(a.v)}; }

 private:
  static __m256 sign_bits() { return _mm256_set1_ps(-0.0f); }
  static __m256i first_bits(std::size_t n) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), index);
  }
};

template <>
struct Vector<double> {
  using value_type = double;
  static constexpr std::size_t lanes = 4;

  struct Mask {
    __m256d bits;
  };

  __m256d v;

  static Vector zero() { return {_mm256_setzero_pd()}; }
  static Vector broadcast(double x) { return {_mm256_set1_pd(x)}; }
  static Vector load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static Vector load_partial(const double* p, std::size_t n) {
    return {_mm256_maskload_pd(p, first_bits(n))};
  }
  static Vector load_widened(const float* p) { return {_mm256_cvtps_pd(_mm_loadu_ps(p))}; }
  static Vector load_widened_partial(const float* p, std::size_t n) {
    const __m128i index = _mm_setr_epi32(0, 1, 2, 3);
    const __m128i mask = _mm_cmpgt_epi32(_mm_set1_epi32(static_cast<int>(n)), index);
    return {_mm256_cvtps_pd(_mm_maskload_ps(p, mask))};
  }
  void store(double* p) const { _mm256_storeu_pd(p, v); }
  void store_partial(double* p, std::size_t n) const {
    __m128d rest = _mm256_castpd256_pd128(v);
    if (n & 2) {
      _mm_storeu_pd(p, rest);
      rest = _mm256_extractf128_pd(v, 1);
      p += 2;
    }
    if (n & 1) _mm_store_sd(p, rest);
  }

  static Mask first(std::size_t n) { return {_mm256_castsi256_pd(first_bits(n))}; }
  static Mask all(bool set) { return {_mm256_castsi256_pd(_mm256_set1_epi64x(set ? -1 : 0))}; }

  friend Vector operator+(Vector a, Vector b) { return {_mm256_add_pd(a.v, b.v)}; }
  friend Vector operator-(Vector a, Vector b) { return {_mm256_sub_pd(a.v, b.v)}; }
  friend Vector operator*(Vector a, Vector b) { return {_mm256_mul_pd(a.v, b.v)}; }
  friend Vector operator/(Vector a, Vector b) { return {_mm256_div_pd(a.v, b.v)}; }
  friend Vector sqrt(Vector a) { return {_mm256_sqrt_pd(a.v)}; }
  friend Vector fma(Vector a, Vector b, Vector c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
  friend Vector min(Vector a, Vector b) { return {_mm256_min_pd(a.v, b.v)}; }
  friend Vector max(Vector a, Vector b) { return {_mm256_max_pd(a.v, b.v)}; }
  friend Vector abs(Vector a) { return {_mm256_andnot_pd(sign_bits(), a.v)}; }
  friend Vector copysign(Vector magnitude, Vector sign) {
    return {_mm256_or_pd(abs(magnitude).v, _mm256_and_pd(sign_bits(), sign.v))};
  }
  friend Mask not_equal(Vector a, Vector b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_NEQ_UQ)}; }
  friend Vector keep(Mask mask, Vector a) { return {_mm256_and_pd(mask.bits, a.v)}; }

 private:
  static __m256d sign_bits() { return _mm256_set1_pd(-0.0); }
  static __m256i first_bits(std::size_t n) {
    const __m256i index = _mm256_setr_epi64x(0, 1, 2, 3);
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(static_cast<long long>(n)), index);
  }
};

struct Target {
  template <class T>
  using Vector = avx2::Vector<T>;
  static constexpr const char* name = "avx2";
};

}  // namespace flatstep::avx2
