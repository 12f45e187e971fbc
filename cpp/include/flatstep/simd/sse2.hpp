// The sse2 target: 16-byte vectors, the least that every x86-64 has. What each operation means is
// written in emulated.hpp; there is no fused multiply-add here, fma rounds twice.
#pragma once

#include <emmintrin.h>

#include <cstddef>
#include <cstdint>

namespace flatstep::sse2 {

template <class T>
struct Vector;

template <>
struct Vector<float> {
  using value_type = float;
  static constexpr std::size_t lanes = 4;
  /// Whether passes over codes are worth kernels of their own.
  static constexpr bool has_stored_passes = false;

  struct Mask {
    __m128 bits;
  };

  struct Bits {
    __m128i v;

    static Bits broadcast(std::uint32_t x) { return {_mm_set1_epi32(static_cast<int>(x))}; }
    static Bits load(const std::uint32_t* p) {
      return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))};
    }
    static Bits load(const std::uint16_t* p) {
      return {_mm_unpacklo_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)),
                                 _mm_setzero_si128())};
    }
    static Bits load(const std::uint8_t* p) {
      const __m128i none = _mm_setzero_si128();
      return {_mm_unpacklo_epi16(_mm_unpacklo_epi8(load_four(p), none), none)};
    }
    static Bits load(const std::int16_t* p) {
      const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
      return {_mm_srai_epi32(_mm_unpacklo_epi16(x, x), 16)};
    }
    static Bits load(const std::int8_t* p) {
      const __m128i x = load_four(p);
      const __m128i twice = _mm_unpacklo_epi8(x, x);
      return {_mm_srai_epi32(_mm_unpacklo_epi16(twice, twice), 24)};
    }
    static Bits load_upper(const std::uint16_t* p) {
      return {_mm_unpacklo_epi16(_mm_setzero_si128(),
                                 _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
    }
    void store(std::uint16_t* p) const {
      // SSE2 packs signed numbers only.
      const __m128i low = _mm_srai_epi32(_mm_slli_epi32(v, 16), 16);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi32(low, low));
    }
    void store(std::uint8_t* p) const {
      const __m128i low = _mm_and_si128(v, _mm_set1_epi32(0xff));
      const __m128i half = _mm_packs_epi32(low, low);
      const int four = _mm_cvtsi128_si32(_mm_packus_epi16(half, half));
      __builtin_memcpy(p, &four, sizeof(four));
    }
    void store_upper(std::uint16_t* p) const {
      const __m128i halves = _mm_srai_epi32(v, 16);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi32(halves, halves));
    }

    friend Bits operator+(Bits a, Bits b) { return {_mm_add_epi32(a.v, b.v)}; }
    friend Bits operator-(Bits a, Bits b) { return {_mm_sub_epi32(a.v, b.v)}; }
    friend Bits operator&(Bits a, Bits b) { return {_mm_and_si128(a.v, b.v)}; }
    friend Bits operator|(Bits a, Bits b) { return {_mm_or_si128(a.v, b.v)}; }
    friend Bits operator^(Bits a, Bits b) { return {_mm_xor_si128(a.v, b.v)}; }
    friend Bits merge(Bits mask, Bits a, Bits b) { return select(mask.v, a, b); }
    template <int n>
    friend Bits shift_left(Bits a) {
      return {_mm_slli_epi32(a.v, n)};
    }
    template <int n>
    friend Bits shift_right(Bits a) {
      return {_mm_srli_epi32(a.v, n)};
    }
    friend Bits min(Bits a, Bits b) { return select(greater(b, a), a, b); }
    friend Bits max(Bits a, Bits b) { return select(greater(a, b), a, b); }
    friend Bits or_where(Mask mask, Bits a, Bits b) {
      return {_mm_or_si128(a.v, _mm_and_si128(_mm_castps_si128(mask.bits), b.v))};
    }
    friend std::uint32_t largest(Bits a) {
      a = max(a, Bits{_mm_shuffle_epi32(a.v, _MM_SHUFFLE(1, 0, 3, 2))});
      a = max(a, Bits{_mm_shuffle_epi32(a.v, _MM_SHUFFLE(2, 3, 0, 1))});
      return static_cast<std::uint32_t>(_mm_cvtsi128_si32(a.v));
    }

   private:
    static __m128i load_four(const void* p) {
      int four = 0;
      __builtin_memcpy(&four, p, sizeof(four));
      return _mm_cvtsi32_si128(four);
    }
    // SSE2 compares signed numbers only.
    static __m128i greater(Bits a, Bits b) {
      const __m128i top = _mm_set1_epi32(static_cast<int>(0x80000000u));
      return _mm_cmpgt_epi32(_mm_xor_si128(a.v, top), _mm_xor_si128(b.v, top));
    }
    static Bits select(__m128i mask, Bits a, Bits b) {
      return {_mm_or_si128(_mm_and_si128(mask, a.v), _mm_andnot_si128(mask, b.v))};
    }
  };

  struct Halves {
    __m128i v;

    static Halves broadcast(std::uint16_t x) { return {_mm_set1_epi16(static_cast<short>(x))}; }
    static Halves load(const std::uint16_t* p) {
      return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))};
    }
    void store(std::uint16_t* p) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
    void store(std::uint8_t* p) const {
      const __m128i low = _mm_and_si128(v, _mm_set1_epi16(0xff));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(low, low));
    }
    // SSE2 packs signed numbers only.
    static Halves upper_of(Bits a, Bits b) {
      return {_mm_packs_epi32(_mm_srai_epi32(a.v, 16), _mm_srai_epi32(b.v, 16))};
    }
    static Halves lower_of(Bits a, Bits b) {
      return upper_of(shift_left<16>(a), shift_left<16>(b));
    }
    static void join(Halves upper, Halves lower, Bits& a, Bits& b) {
      a.v = _mm_unpacklo_epi16(lower.v, upper.v);
      b.v = _mm_unpackhi_epi16(lower.v, upper.v);
    }

    friend Halves operator+(Halves a, Halves b) { return {_mm_add_epi16(a.v, b.v)}; }
    friend Halves operator-(Halves a, Halves b) { return {_mm_sub_epi16(a.v, b.v)}; }
    friend Halves merge(Halves mask, Halves a, Halves b) {
      return {_mm_or_si128(_mm_and_si128(mask.v, a.v), _mm_andnot_si128(mask.v, b.v))};
    }
    template <int n>
    friend Halves shift_right(Halves a) {
      return {_mm_srli_epi16(a.v, n)};
    }
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

  static Vector of_bits(Bits a) { return {_mm_castsi128_ps(a.v)}; }
  friend Bits bits(Vector a) { return {_mm_castps_si128(a.v)}; }
  static Vector of_integers(Bits a) { return {_mm_cvtepi32_ps(a.v)}; }

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
