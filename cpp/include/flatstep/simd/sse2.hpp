// The sse2 target: 16-byte vectors, the least that every x86-64 has. What each operation means is
// written in emulated.hpp; there is no fused multiply-add here, fma rounds twice.
#pragma once

#include <emmintrin.h>

#include <cstddef>

namespace flatstep::sse2 {

template <class T>
struct Vector;

template <>
struct Vector<float> {
  using value_type = float;
  static constexpr std::size_t lanes = 4;

  struct Mask {
    __m128 bits;
  };

  __m128 v;

  static Vector zero() { return {_mm_setzero_ps()}; }
  static Vector broadcast(float x) { return {_mm_set1_ps(x)}; }
  static Vector load(const float* p) { return {_mm_loadu_ps(p)}; }
  static Vector load_partial(const float* p, std::size_t n) {
    switch (n) {
      case 0:
        return zero();
      case 1:
        return {_mm_load_ss(p)};
      case 2:
        return {load_two(p)};
      default:
        return {_mm_movelh_ps(load_two(p), _mm_load_ss(p + 2))};
    }
  }
  void store(float* p) const { _mm_storeu_ps(p, v); }
  void store_partial(float* p, std::size_t n) const {
    switch (n) {
      case 0:
        return;
      case 1:
        return _mm_store_ss(p, v);
      case 2:
        return store_two(p);
      default:
        store_two(p);
        _mm_store_ss(p + 2, _mm_movehl_ps(v, v));
    }
  }

  static Mask first(std::size_t n) {
    const __m128i index = _mm_setr_epi32(0, 1, 2, 3);
    return {_mm_castsi128_ps(_mm_cmpgt_epi32(_mm_set1_epi32(static_cast<int>(n)), index))};
  }
  static Mask all(bool set) { return {_mm_castsi128_ps(_mm_set1_epi32(set ? -1 : 0))}; }

  friend Vector operator+(Vector a, Vector b) { return {_mm_add_ps(a.v, b.v)}; }
  friend Vector operator-(Vector a, Vector b) { return {_mm_sub_ps(a.v, b.v)}; }
  friend Vector operator*(Vector a, Vector b) { return {_mm_mul_ps(a.v, b.v)}; }
  friend Vector operator/(Vector a, Vector b) { return {_mm_div_ps(a.v, b.v)}; }
  friend Vector sqrt(Vector a) { return {_mm_sqrt_ps(a.v)}; }
  friend Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
  friend Vector min(Vector a, Vector b) { return {_mm_min_ps(a.v, b.v)}; }
  friend Vector max(Vector a, Vector b) { return {_mm_max_ps(a.v, b.v)}; }
  friend Vector abs(Vector a) { return {_mm_andnot_ps(sign_bits(), a.v)}; }
  friend Vector copysign(Vector magnitude, Vector sign) {
    return {_mm_or_ps(abs(magnitude).v, _mm_and_ps(sign_bits(), sign.v))};
  }
  friend Mask not_equal(Vector a, Vector b) { return {_mm_cmpneq_ps(a.v, b.v)}; }
  friend Vector keep(Mask mask, Vector a) { return {_mm_and_ps(mask.bits, a.v)}; }

 private:
  friend struct Vector<double>;

  // Eight bytes through the integer forms, which may alias any type.
  static __m128 load_two(const float* p) {
    return _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  void store_two(float* p) const {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_castps_si128(v));
  }
  static __m128 sign_bits() { return _mm_set1_ps(-0.0f); }
};

template <>
struct Vector<double> {
  using value_type = double;
  static constexpr std::size_t lanes = 2;

  struct Mask {
    __m128d bits;
  };

  __m128d v;

  static Vector zero() { return {_mm_setzero_pd()}; }
  static Vector broadcast(double x) { return {_mm_set1_pd(x)}; }
  static Vector load(const double* p) { return {_mm_loadu_pd(p)}; }
  static Vector load_partial(const double* p, std::size_t n) {
    return n == 0 ? zero() : Vector{_mm_load_sd(p)};
  }
  static Vector load_widened(const float* p) { return {_mm_cvtps_pd(Vector<float>::load_two(p))}; }
  static Vector load_widened_partial(const float* p, std::size_t n) {
    return n == 0 ? zero() : Vector{_mm_cvtps_pd(_mm_load_ss(p))};
  }
  void store(double* p) const { _mm_storeu_pd(p, v); }
  void store_partial(double* p, std::size_t n) const {
    if (n != 0) _mm_store_sd(p, v);
  }

  static Mask first(std::size_t n) {
    const __m128i index = _mm_setr_epi32(0, 0, 1, 1);  // SSE2 compares no 64-bit integers
    return {_mm_castsi128_pd(_mm_cmpgt_epi32(_mm_set1_epi32(static_cast<int>(n)), index))};
  }
  static Mask all(bool set) { return {_mm_castsi128_pd(_mm_set1_epi32(set ? -1 : 0))}; }

  friend Vector operator+(Vector a, Vector b) { return {_mm_add_pd(a.v, b.v)}; }
  friend Vector operator-(Vector a, Vector b) { return {_mm_sub_pd(a.v, b.v)}; }
  friend Vector operator*(Vector a, Vector b) { return {_mm_mul_pd(a.v, b.v)}; }
  friend Vector operator/(Vector a, Vector b) { return {_mm_div_pd(a.v, b.v)}; }
  friend Vector sqrt(Vector a) { return {_mm_sqrt_pd(a.v)}; }
  friend Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
  friend Vector min(Vector a, Vector b) { return {_mm_min_pd(a.v, b.v)}; }
  friend Vector max(Vector a, Vector b) { return {_mm_max_pd(a.v, b.v)}; }
  friend Vector abs(Vector a) { return {_mm_andnot_pd(sign_bits(), a.v)}; }
  friend Vector copysign(Vector magnitude, Vector sign) {
    return {_mm_or_pd(abs(magnitude).v, _mm_and_pd(sign_bits(), sign.v))};
  }
  friend Mask not_equal(Vector a, Vector b) { return {_mm_cmpneq_pd(a.v, b.v)}; }
  friend Vector keep(Mask mask, Vector a) { return {_mm_and_pd(mask.bits, a.v)}; }

 private:
  static __m128d sign_bits() { return _mm_set1_pd(-0.0); }
};

struct Target {
  template <class T>
  using Vector = sse2::Vector<T>;
  static constexpr const char* name = "sse2";
};

}  // namespace flatstep::sse2
