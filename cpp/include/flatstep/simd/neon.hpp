// The neon target: 16-byte vectors for 64-bit ARM. What each operation means is written in
// emulated.hpp. ARM's own minimum and maximum treat NaN and signed zeros differently from x86's, so
// min and max are a comparison and a selection here.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace flatstep::neon {

template <class T>
struct Vector;

template <>
struct Vector<float> {
  using value_type = float;
  static constexpr std::size_t lanes = 4;
  /// Whether passes over codes are worth kernels of their own.
  static constexpr bool has_stored_passes = true;

  struct Mask {
    uint32x4_t bits;
  };

  struct Bits {
    uint32x4_t v;

    static Bits broadcast(std::uint32_t x) { return {vdupq_n_u32(x)}; }
    static Bits load(const std::uint32_t* p) { return {vld1q_u32(p)}; }
    static Bits load(const std::uint16_t* p) { return {vmovl_u16(vld1_u16(p))}; }
    static Bits load(const std::uint8_t* p) {
      return {vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(load_four(p)))))};
    }
    static Bits load(const std::int16_t* p) {
      return {vreinterpretq_u32_s32(vmovl_s16(vld1_s16(p)))};
    }
    static Bits load(const std::int8_t* p) {
      return {vreinterpretq_u32_s32(
          vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(load_four(p))))))};
    }
    static Bits load_upper(const std::uint16_t* p) { return {vshll_n_u16(vld1_u16(p), 16)}; }
    void store(std::uint16_t* p) const { vst1_u16(p, vmovn_u32(v)); }
    void store(std::uint8_t* p) const {
      const uint16x4_t half = vmovn_u32(v);
      const uint8x8_t packed = vmovn_u16(vcombine_u16(half, half));
      const std::uint32_t four = vget_lane_u32(vreinterpret_u32_u8(packed), 0);
      __builtin_memcpy(p, &four, sizeof(four));
    }
    void store_upper(std::uint16_t* p) const { vst1_u16(p, vshrn_n_u32(v, 16)); }

    friend Bits operator+(Bits a, Bits b) { return {vaddq_u32(a.v, b.v)}; }
    friend Bits operator-(Bits a, Bits b) { return {vsubq_u32(a.v, b.v)}; }
    friend Bits operator&(Bits a, Bits b) { return {vandq_u32(a.v, b.v)}; }
    friend Bits operator|(Bits a, Bits b) { return {vorrq_u32(a.v, b.v)}; }
    friend Bits operator^(Bits a, Bits b) { return {veorq_u32(a.v, b.v)}; }
    friend Bits merge(Bits mask, Bits a, Bits b) { return {vbslq_u32(mask.v, a.v, b.v)}; }
    template <int n>
    friend Bits shift_left(Bits a) {
      return {vshlq_n_u32(a.v, n)};
    }
    template <int n>
    friend Bits shift_right(Bits a) {
      return {vshrq_n_u32(a.v, n)};
    }
    friend Bits min(Bits a, Bits b) { return {vminq_u32(a.v, b.v)}; }
    friend Bits max(Bits a, Bits b) { return {vmaxq_u32(a.v, b.v)}; }
    friend Bits or_where(Mask mask, Bits a, Bits b) {
      return {vorrq_u32(a.v, vandq_u32(mask.bits, b.v))};
    }
    friend std::uint32_t largest(Bits a) { return vmaxvq_u32(a.v); }

   private:
    static uint32x2_t load_four(const void* p) {
      std::uint32_t four = 0;
      __builtin_memcpy(&four, p, sizeof(four));
      return vdup_n_u32(four);
    }
  };

  struct Halves {
    uint16x8_t v;

    static Halves broadcast(std::uint16_t x) { return {vdupq_n_u16(x)}; }
    static Halves load(const std::uint16_t* p) { return {vld1q_u16(p)}; }
    void store(std::uint16_t* p) const { vst1q_u16(p, v); }
    void store(std::uint8_t* p) const { vst1_u8(p, vmovn_u16(v)); }
    static Halves upper_of(Bits a, Bits b) {
      return {vuzp2q_u16(vreinterpretq_u16_u32(a.v), vreinterpretq_u16_u32(b.v))};
    }
    static Halves lower_of(Bits a, Bits b) {
      return {vuzp1q_u16(vreinterpretq_u16_u32(a.v), vreinterpretq_u16_u32(b.v))};
    }
    static void join(Halves upper, Halves lower, Bits& a, Bits& b) {
      a.v = vreinterpretq_u32_u16(vzip1q_u16(lower.v, upper.v));
      b.v = vreinterpretq_u32_u16(vzip2q_u16(lower.v, upper.v));
    }

    friend Halves operator+(Halves a, Halves b) { return {vaddq_u16(a.v, b.v)}; }
    friend Halves operator-(Halves a, Halves b) { return {vsubq_u16(a.v, b.v)}; }
    friend Halves merge(Halves mask, Halves a, Halves b) { return {vbslq_u16(mask.v, a.v, b.v)}; }
    template <int n>
    friend Halves shift_right(Halves a) {
      return {vshrq_n_u16(a.v, n)};
    }
  };

  float32x4_t v;

  static Vector zero() { return broadcast(0.0f); }
  static Vector broadcast(float x) { return {vdupq_n_f32(x)}; }
  static Vector load(const float* p) { return {vld1q_f32(p)}; }
  static Vector load_partial(const float* p, std::size_t n) {
    const float32x4_t none = zero().v;
    switch (n) {
      case 0:
        return {none};
      case 1:
        return {vld1q_lane_f32(p, none, 0)};
      case 2:
        return {vcombine_f32(vld1_f32(p), vget_low_f32(none))};
      default:
        return {vld1q_lane_f32(p + 2, vcombine_f32(vld1_f32(p), vget_low_f32(none)), 2)};
    }
  }
  void store(float* p) const { vst1q_f32(p, v); }
  void store_partial(float* p, std::size_t n) const {
    switch (n) {
      case 0:
        return;
      case 1:
        return vst1q_lane_f32(p, v, 0);
      case 2:
        return vst1_f32(p, vget_low_f32(v));
      default:
        vst1_f32(p, vget_low_f32(v));
        vst1q_lane_f32(p + 2, v, 2);
    }
  }

  static Mask first(std::size_t n) {
    const uint32x4_t index = {0, 1, 2, 3};
    return {vcltq_u32(index, vdupq_n_u32(static_cast<unsigned>(n)))};
  }
  static Mask all(bool set) { return {vdupq_n_u32(set ? ~0u : 0u)}; }

  friend Vector operator+(Vector a, Vector b) { return {vaddq_f32(a.v, b.v)}; }
  friend Vector operator-(Vector a, Vector b) { return {vsubq_f32(a.v, b.v)}; }
  friend Vector operator*(Vector a, Vector b) { return {vmulq_f32(a.v, b.v)}; }
  friend Vector operator/(Vector a, Vector b) { return {vdivq_f32(a.v, b.v)}; }
  friend Vector sqrt(Vector a) { return {vsqrtq_f32(a.v)}; }
  friend Vector fma(Vector a, Vector b, Vector c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
  friend Vector min(Vector a, Vector b) {
    return flushed(vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v));
  }
  friend Vector max(Vector a, Vector b) {
    return flushed(vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v));
  }
  friend Vector abs(Vector a) { return {vabsq_f32(a.v)}; }
  friend Vector copysign(Vector magnitude, Vector sign) {
    return {vbslq_f32(sign_bits(), sign.v, magnitude.v)};
  }
  friend Mask not_equal(Vector a, Vector b) { return {vmvnq_u32(vceqq_f32(a.v, b.v))}; }
  friend Vector keep(Mask mask, Vector a) {
    return {vreinterpretq_f32_u32(vandq_u32(mask.bits, vreinterpretq_u32_f32(a.v)))};
  }

  static Vector of_bits(Bits a) { return {vreinterpretq_f32_u32(a.v)}; }
  friend Bits bits(Vector a) { return {vreinterpretq_u32_f32(a.v)}; }
  static Vector of_integers(Bits a) { return {vcvtq_f32_s32(vreinterpretq_s32_u32(a.v))}; }

 private:
  static uint32x4_t sign_bits() { return vdupq_n_u32(0x80000000u); }

  // A selection moves a subnormal as it is, x86's minps and maxps make it zero in the flushing
  // mode: what compares equal to zero keeps its sign alone.
  static Vector flushed(float32x4_t x) {
    const uint32x4_t dropped = vbicq_u32(vceqzq_f32(x), sign_bits());
    return {vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), dropped))};
  }
};

template <>
struct Vector<double> {
  using value_type = double;
  static constexpr std::size_t lanes = 2;

  struct Mask {
    uint64x2_t bits;
  };

  float64x2_t v;

  static Vector zero() { return broadcast(0.0); }
  static Vector broadcast(double x) { return {vdupq_n_f64(x)}; }
  static Vector load(const double* p) { return {vld1q_f64(p)}; }
  static Vector load_partial(const double* p, std::size_t n) {
    return n == 0 ? zero() : Vector{vld1q_lane_f64(p, zero().v, 0)};
  }
  static Vector load_widened(const float* p) { return {vcvt_f64_f32(vld1_f32(p))}; }
  static Vector load_widened_partial(const float* p, std::size_t n) {
    return n == 0 ? zero() : Vector{vcvt_f64_f32(vld1_lane_f32(p, vdup_n_f32(0.0f), 0))};
  }
  void store(double* p) const { vst1q_f64(p, v); }
  void store_partial(double* p, std::size_t n) const {
    if (n != 0) vst1q_lane_f64(p, v, 0);
  }

  static Mask first(std::size_t n) {
    const uint64x2_t index = {0, 1};
    return {vcltq_u64(index, vdupq_n_u64(n))};
  }
  static Mask all(bool set) { return first(set ? lanes : 0); }

  friend Vector operator+(Vector a, Vector b) { return {vaddq_f64(a.v, b.v)}; }
  friend Vector operator-(Vector a, Vector b) { return {vsubq_f64(a.v, b.v)}; }
  friend Vector operator*(Vector a, Vector b) { return {vmulq_f64(a.v, b.v)}; }
  friend Vector operator/(Vector a, Vector b) { return {vdivq_f64(a.v, b.v)}; }
  friend Vector sqrt(Vector a) { return {vsqrtq_f64(a.v)}; }
  friend Vector fma(Vector a, Vector b, Vector c) { return {vfmaq_f64(c.v, a.v, b.v)}; }
  friend Vector min(Vector a, Vector b) {
    return flushed(vbslq_f64(vcltq_f64(a.v, b.v), a.v, b.v));
  }
  friend Vector max(Vector a, Vector b) {
    return flushed(vbslq_f64(vcgtq_f64(a.v, b.v), a.v, b.v));
  }
  friend Vector abs(Vector a) { return {vabsq_f64(a.v)}; }
  friend Vector copysign(Vector magnitude, Vector sign) {
    return {vbslq_f64(sign_bits(), sign.v, magnitude.v)};
  }
  friend Mask not_equal(Vector a, Vector b) {
    const uint32x4_t equal = vreinterpretq_u32_u64(vceqq_f64(a.v, b.v));
    return {vreinterpretq_u64_u32(vmvnq_u32(equal))};
  }
  friend Vector keep(Mask mask, Vector a) {
    return {vreinterpretq_f64_u64(vandq_u64(mask.bits, vreinterpretq_u64_f64(a.v)))};
  }

 private:
  static uint64x2_t sign_bits() { return vdupq_n_u64(std::size_t{1} << 63); }

  // As for floats.
  static Vector flushed(float64x2_t x) {
    const uint64x2_t dropped = vbicq_u64(vceqzq_f64(x), sign_bits());
    return {vreinterpretq_f64_u64(vbicq_u64(vreinterpretq_u64_f64(x), dropped))};
  }
};

struct Target {
  template <class T>
  using Vector = neon::Vector<T>;
  static constexpr const char* name = "neon";
};

}  // namespace flatstep::neon
