// sum_of_squares: of one chunk, in double, in 32 fixed lanes.
//
// Formula: lane j sums x[j]², x[j+32]², …, each by one fused multiply-add; then lane j += lane
// j+16, +8, +4, +2, +1. The same bits for every vector width, because the lanes are numbered by
// element and not by register. Inputs: x, float or double. Output: ScaledSum: for double, a sum
// that overflows, or is so small that squares may have vanished, is redone with x scaled by a power
// of two. Infinities and NaN come out as such. Rounding: one per element, five to combine. Error
// below 2⁻⁵³·(size/32 + 5), relative. Source: after the scaled sums of LAPACK's dnrm2 (Anderson
// 2017, https://doi.org/10.1145/3061665).
#pragma once

#include <flatstep/kernels/kernel_table.hpp>

namespace flatstep {

inline constexpr std::size_t norm_lanes = 32;
/// Doubles are scaled by 2^±600: their squares then stay in range whatever the chunk holds.
inline constexpr int norm_exponent = 600;

namespace detail {

template <class D>
inline D load_as_double(const double* p) {
  return D::load(p);
}
template <class D>
inline D load_as_double(const float* p) {
  return D::load_widened(p);
}
template <class D>
inline D load_as_double(const double* p, std::size_t size) {
  return D::load_partial(p, size);
}
template <class D>
inline D load_as_double(const float* p, std::size_t size) {
  return D::load_widened_partial(p, size);
}

/// The lanes' sum, by halving.
template <class D>
inline double combine_lanes(D (&sums)[norm_lanes / D::lanes]) {
#pragma GCC unroll 16
  for (std::size_t half = norm_lanes / D::lanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 16
    for (std::size_t k = 0; k < half; ++k) sums[k] = sums[k] + sums[k + half];
  }
  double lanes[D::lanes];
  sums[0].store(lanes);
  for (std::size_t half = D::lanes / 2; half > 0; half /= 2) {
    for (std::size_t k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  }
  return lanes[0];
}

struct AsItIs {
  template <class D>
  D operator()(D x) const {
    return x;
  }
};

template <class D>
struct Multiplied {
  D factor;
  D operator()(D x) const { return factor * x; }
};

/// The sums under way.
template <class D>
class Lanes {
 public:
  Lanes() {
#pragma GCC unroll 16
    for (D& sum : sums_) sum = D::zero();
  }

  /// Adds the squares of `size` more; not the last ones are multiples of norm_lanes.
  template <class T, class Scale>
  void add(const T* x, std::size_t size, Scale scale) {
    std::size_t i = 0;
    for (; size - i >= norm_lanes; i += norm_lanes) {
#pragma GCC unroll 16
      for (std::size_t k = 0; k < registers; ++k) {
        const D v = scale(load_as_double<D>(x + i + k * D::lanes));
        sums_[k] = fma(v, v, sums_[k]);
      }
    }
#pragma GCC unroll 16
    for (std::size_t k = 0; k < registers; ++k) {
      if (size - i < D::lanes) {
        const D v = scale(load_as_double<D>(x + i, size - i));
        sums_[k] = fma(v, v, sums_[k]);
        break;
      }
      const D v = scale(load_as_double<D>(x + i));
      sums_[k] = fma(v, v, sums_[k]);
      i += D::lanes;
    }
  }

  double combine() { return combine_lanes<D>(sums_); }

 private:
  static constexpr std::size_t registers = norm_lanes / D::lanes;
  D sums_[registers];
};

template <class D, class T, class Scale>
inline double sum_in_lanes(const T* x, std::size_t size, Scale scale) {
  Lanes<D> lanes;
  lanes.add(x, size, scale);
  return lanes.combine();
}

}  // namespace detail

template <class D>
inline ScaledSum sum_of_squares(const float* x, std::size_t size) {
  return {detail::sum_in_lanes<D>(x, size, detail::AsItIs{}), 0};
}

template <class D>
inline ScaledSum sum_of_squares(const double* x, std::size_t size) {
  const double sum = detail::sum_in_lanes<D>(x, size, detail::AsItIs{});
  if (!(sum <= 0x1p1000)) {
    return {detail::sum_in_lanes<D>(x, size, detail::Multiplied<D>{D::broadcast(0x1p-600)}),
            norm_exponent};
  }
  if (sum < 0x1p-900) {
    return {detail::sum_in_lanes<D>(x, size, detail::Multiplied<D>{D::broadcast(0x1p600)}),
            -norm_exponent};
  }
  return {sum, 0};
}

}  // namespace flatstep
