// The avx2 target: 32-byte vectors for x86-64 with AVX2 and FMA (compile with -mavx2 -mfma).
// What each operation means is written in emulated.hpp.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace flatstep::avx2 {

template <class T>
struct Vector;

template <>
struct Vector<float> {
  using value_type = float;
  static constexpr std::size_t lanes = 8;

  struct Mask {
    __m256 bits;
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
