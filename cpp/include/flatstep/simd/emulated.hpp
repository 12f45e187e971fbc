// The emulated target: vectors of any width in plain C++, for machines without a target of their
// own and for tests of wide code on narrow machines.
//
// It is also the plainest statement of what a Vector means on every target:
//   lanes            values per vector; loads and stores need no alignment
//   load_partial     the first n < lanes values, +0 in the other lanes; touches nothing behind them
//   store_partial    likewise
//   + - * / sqrt     rounded once, to nearest
//   fma(a, b, c)     a * b + c, rounded once (sse2 alone rounds twice)
//   min, max         a < b ? a : b and a > b ? a : b: b if they are equal or one is NaN
//   abs, copysign    change the sign bit only, also of NaN and subnormals
//   not_equal        true where either is NaN
//   keep(mask, x)    x where the mask is set, +0 elsewhere
// and, of vectors of float, Bits, as many unsigned numbers of 32 bits:
//   load             of 8 or 16 bits, too, of signed ones with copies of their sign
//   load_upper       of 16 bits, as the upper halves of numbers whose lower ones are 0
//   store            the low 8 or 16 bits; store_upper: the upper 16
//   + - & | ^        modulo 2^32; shift_left<n>, shift_right<n>: zeros come in
//   merge(mask, a, b) a's bits where the mask's are set, b's elsewhere
//   min, max         as above; largest: the greatest of all
//   or_where(mask, a, b)  a | b where the mask is set, a elsewhere
//   bits, of_bits    a vector's bits, and the vector of bits: nothing is moved
//   of_integers      each number, taken as signed and below 2^24, as a float
// and Halves, twice as many unsigned numbers of 16 bits, of two Bits' elements in their order:
//   upper_of, lower_of  the upper or lower half of each
//   join             the Bits that have these upper and lower halves
//   store            all 16 bits, or the low 8
//   + - merge shift_right<n>  as above, modulo 2^16
// Under FlushSubnormals arithmetic, comparisons, min, max and widening take and give zeros for
// subnormals, with their sign; what moves bits (load, store, abs, copysign, keep) moves them as
// they are. All targets but sse2 agree in every bit, NaN's sign and payload left aside. (Here fma
// is the processor's, or else the C library's, which flushing disturbs near the subnormals.)
//
// Target headers call no function of the standard library: they are compiled once per target, and a
// linker may keep any one copy of a shared function, the one for a newer machine included.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flatstep::emulated {

template <class T, std::size_t Bytes = 64>
struct Vector {
  using value_type = T;
  static constexpr std::size_t lanes = Bytes / sizeof(T);
  /// Whether passes over codes are worth kernels of their own.
  static constexpr bool has_stored_passes = false;
  static_assert(lanes > 0 && lanes * sizeof(T) == Bytes, "a vector holds whole values");

  struct Mask {
    bool lane[lanes];
  };

  struct Bits {
    std::uint32_t v[lanes];

    static Bits broadcast(std::uint32_t x) {
      return each([&](std::size_t) { return x; });
    }
    static Bits load(const std::uint32_t* p) { return widened(p); }
    static Bits load(const std::uint16_t* p) { return widened(p); }
    static Bits load(const std::uint8_t* p) { return widened(p); }
    static Bits load(const std::int16_t* p) { return widened(p); }
    static Bits load(const std::int8_t* p) { return widened(p); }
    static Bits load_upper(const std::uint16_t* p) {
      return each([&](std::size_t i) { return std::uint32_t{p[i]} << 16; });
    }
    void store(std::uint16_t* p) const {
      for (std::size_t i = 0; i < lanes; ++i) p[i] = static_cast<std::uint16_t>(v[i]);
    }
    void store(std::uint8_t* p) const {
      for (std::size_t i = 0; i < lanes; ++i) p[i] = static_cast<std::uint8_t>(v[i]);
    }
    void store_upper(std::uint16_t* p) const {
      for (std::size_t i = 0; i < lanes; ++i) p[i] = static_cast<std::uint16_t>(v[i] >> 16);
    }

    friend Bits operator+(Bits a, Bits b) {
      return each([&](std::size_t i) { return a.v[i] + b.v[i]; });
    }
    friend Bits operator-(Bits a, Bits b) {
      return each([&](std::size_t i) { return a.v[i] - b.v[i]; });
    }
    friend Bits operator&(Bits a, Bits b) {
      return each([&](std::size_t i) { return a.v[i] & b.v[i]; });
    }
    friend Bits operator|(Bits a, Bits b) {
      return each([&](std::size_t i) { return a.v[i] | b.v[i]; });
    }
    friend Bits operator^(Bits a, Bits b) {
      return each([&](std::size_t i) { return a.v[i] ^ b.v[i]; });
    }
    friend Bits merge(Bits mask, Bits a, Bits b) {
      return each([&](std::size_t i) { return (a.v[i] & mask.v[i]) | (b.v[i] & ~mask.v[i]); });
    }
    template <int n>
    friend Bits shift_left(Bits a) {
      return each([&](std::size_t i) { return a.v[i] << n; });
    }
    template <int n>
    friend Bits shift_right(Bits a) {
      return each([&](std::size_t i) { return a.v[i] >> n; });
    }
    friend Bits min(Bits a, Bits b) {
      return each([&](std::size_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
    }
    friend Bits max(Bits a, Bits b) {
      return each([&](std::size_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
    }
    friend Bits or_where(Mask mask, Bits a, Bits b) {
      return each([&](std::size_t i) { return mask.lane[i] ? a.v[i] | b.v[i] : a.v[i]; });
    }
    friend std::uint32_t largest(Bits a) {
      std::uint32_t most = 0;
      for (const std::uint32_t x : a.v) most = x > most ? x : most;
      return most;
    }

    template <class F>
    static Bits each(F&& lane) {
      Bits result{};
      for (std::size_t i = 0; i < lanes; ++i) result.v[i] = lane(i);
      return result;
    }
    /// Signed numbers with copies of their sign.
    template <class N>
    static Bits widened(const N* p) {
      return each([&](std::size_t i) {
        return static_cast<std::uint32_t>(static_cast<std::int32_t>(p[i]));
      });
    }
  };

  struct Halves {
    std::uint16_t v[2 * lanes];

    static Halves broadcast(std::uint16_t x) {
      return each([&](std::size_t) { return x; });
    }
    static Halves load(const std::uint16_t* p) {
      return each([&](std::size_t i) { return p[i]; });
    }
    void store(std::uint16_t* p) const {
      for (std::size_t i = 0; i < 2 * lanes; ++i) p[i] = v[i];
    }
    void store(std::uint8_t* p) const {
      for (std::size_t i = 0; i < 2 * lanes; ++i) p[i] = static_cast<std::uint8_t>(v[i]);
    }
    static Halves upper_of(Bits a, Bits b) {
      return each([&](std::size_t i) { return (i < lanes ? a.v[i] : b.v[i - lanes]) >> 16; });
    }
    static Halves lower_of(Bits a, Bits b) {
      return each([&](std::size_t i) { return i < lanes ? a.v[i] : b.v[i - lanes]; });
    }
    static void join(Halves upper, Halves lower, Bits& a, Bits& b) {
      const auto joined = [&](std::size_t i) {
        return std::uint32_t{upper.v[i]} << 16 | std::uint32_t{lower.v[i]};
      };
      a = Bits::each([&](std::size_t i) { return joined(i); });
      b = Bits::each([&](std::size_t i) { return joined(i + lanes); });
    }

    friend Halves operator+(Halves a, Halves b) {
      return each([&](std::size_t i) { return a.v[i] + b.v[i]; });
    }
    friend Halves operator-(Halves a, Halves b) {
      return each([&](std::size_t i) { return a.v[i] - b.v[i]; });
    }
    friend Halves merge(Halves mask, Halves a, Halves b) {
      return each([&](std::size_t i) { return (a.v[i] & mask.v[i]) | (b.v[i] & ~mask.v[i]); });
    }
    template <int n>
    friend Halves shift_right(Halves a) {
      return each([&](std::size_t i) { return a.v[i] >> n; });
    }

    template <class F>
    static Halves each(F&& lane) {
      Halves result{};
      for (std::size_t i = 0; i < 2 * lanes; ++i) {
        result.v[i] = static_cast<std::uint16_t>(lane(i));
      }
      return result;
    }
  };

  T v[lanes];

  static Vector zero() { return broadcast(T(0)); }

  static Vector broadcast(T x) {
    return each([&](std::size_t) { return x; });
  }

  static Vector load(const T* p) {
    return each([&](std::size_t i) { return p[i]; });
  }

  static Vector load_partial(const T* p, std::size_t n) {
    return each([&](std::size_t i) { return i < n ? p[i] : T(0); });
  }

  static Vector load_widened(const float* p)
    requires(sizeof(T) > sizeof(float))
  {
    return each([&](std::size_t i) { return T(p[i]); });
  }

  static Vector load_widened_partial(const float* p, std::size_t n)
    requires(sizeof(T) > sizeof(float))
  {
    return each([&](std::size_t i) { return i < n ? T(p[i]) : T(0); });
  }

  void store(T* p) const {
    for (std::size_t i = 0; i < lanes; ++i) p[i] = v[i];
  }

  void store_partial(T* p, std::size_t n) const {
    for (std::size_t i = 0; i < n; ++i) p[i] = v[i];
  }

  static Mask first(std::size_t n) {
    Mask mask{};
    for (std::size_t i = 0; i < lanes; ++i) mask.lane[i] = i < n;
    return mask;
  }

  static Mask all(bool set) { return first(set ? lanes : 0); }

  friend Vector operator+(Vector a, Vector b) {
    return each([&](std::size_t i) { return a.v[i] + b.v[i]; });
  }

  friend Vector operator-(Vector a, Vector b) {
    return each([&](std::size_t i) { return a.v[i] - b.v[i]; });
  }

  friend Vector operator*(Vector a, Vector b) {
    return each([&](std::size_t i) { return a.v[i] * b.v[i]; });
  }

  friend Vector operator/(Vector a, Vector b) {
    return each([&](std::size_t i) { return a.v[i] / b.v[i]; });
  }

  friend Vector sqrt(Vector a) {
    return each([&](std::size_t i) {
      if constexpr (is_float) {
        return __builtin_sqrtf(a.v[i]);
      } else {
        return __builtin_sqrt(a.v[i]);
      }
    });
  }

  friend Vector fma(Vector a, Vector b, Vector c) {
    return each([&](std::size_t i) {
      if constexpr (is_float) {
        return __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
      } else {
        return __builtin_fma(a.v[i], b.v[i], c.v[i]);
      }
    });
  }

  friend Vector min(Vector a, Vector b) {
    return each([&](std::size_t i) { return flushed(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); });
  }

  friend Vector max(Vector a, Vector b) {
    return each([&](std::size_t i) { return flushed(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); });
  }

  friend Vector abs(Vector a) {
    return each([&](std::size_t i) { return with_sign(a.v[i], T(0)); });
  }

  friend Vector copysign(Vector magnitude, Vector sign) {
    return each([&](std::size_t i) { return with_sign(magnitude.v[i], sign.v[i]); });
  }

  friend Mask not_equal(Vector a, Vector b) {
    Mask mask{};
    for (std::size_t i = 0; i < lanes; ++i) mask.lane[i] = a.v[i] != b.v[i];
    return mask;
  }

  friend Vector keep(Mask mask, Vector a) {
    return each([&](std::size_t i) { return mask.lane[i] ? a.v[i] : T(0); });
  }

  static Vector of_bits(Bits a) {
    return each([&](std::size_t i) { return __builtin_bit_cast(float, a.v[i]); });
  }
  friend Bits bits(Vector a) {
    return Bits::each([&](std::size_t i) { return __builtin_bit_cast(std::uint32_t, a.v[i]); });
  }
  static Vector of_integers(Bits a) {
    return each(
        [&](std::size_t i) { return static_cast<float>(static_cast<std::int32_t>(a.v[i])); });
  }

 private:
  static constexpr bool is_float = sizeof(T) == sizeof(float);

  template <class F>
  static Vector each(F&& lane) {
    Vector result{};
    for (std::size_t i = 0; i < lanes; ++i) result.v[i] = lane(i);
    return result;
  }

  static T with_sign(T magnitude, T sign) {
    if constexpr (is_float) {
      return __builtin_copysignf(magnitude, sign);
    } else {
      return __builtin_copysign(magnitude, sign);
    }
  }

  // A selection moves a subnormal as it is, x86's minps and maxps make it zero in the flushing
  // mode. A comparison knows the mode: there, and only there, a subnormal equals zero.
  static T flushed(T x) { return x != T(0) ? x : with_sign(T(0), x); }
};

struct Target {
  template <class T>
  using Vector = emulated::Vector<T>;
  static constexpr const char* name = "emulated";
};

}  // namespace flatstep::emulated
