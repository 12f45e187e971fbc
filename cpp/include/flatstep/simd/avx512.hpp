// The avx512 target: 64-byte vectors for x86-64 with AVX-512 F, DQ, BW and VL (compile with
// -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma). What each operation means is written in
// emulated.hpp.
//
// Some operations are spelled in their masked form with every lane set: the same instruction, but
// the plain form reads an undefined register in GCC's headers, which GCC itself warns of.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace flatstep::avx512 {

template <class T>
struct Vector;

template <>
struct Vector<float> {
  using value_type = float;
  static constexpr std::size_t lanes = 16;

  struct Mask {
    __mmask16 bits;
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
    return {_mm512_or_ps(abs(magnitude).v, _mm512_and_ps(sign_bits(), sign.v))};
  }
  friend Mask not_equal(Vector a, Vector b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ)}; }
  friend Vector keep(Mask mask, Vector a) { return {_mm512_maskz_mov_ps(mask.bits, a.v)}; }

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
