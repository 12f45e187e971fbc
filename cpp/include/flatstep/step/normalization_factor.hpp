// Gradient normalisation: from sums of squares to the factor of a normalisation group.
//
//   renormalise: f = 1/‖g‖            clip: f = threshold/(‖g‖ + ε) if ‖g‖ + ε > threshold, else 1
//
// ε is 0 but where the configuration says (PyTorch's clip_grad_norm_ has 1e-6).
// ‖g‖ is the norm of the gradient as the strategy sees it (under dl4j-1.0 already divided by the
// batch). A zero norm leaves the zero gradient alone: f = 1. All in double, with a binary exponent
// beside it, so that neither the norm nor the factor overflows or vanishes: no result on the way is
// subnormal, which inside a step would be 0. Source: DL4J's
// BaseMultiLayerUpdater.preApply; Pascanu, Mikolov and Bengio 2013,
// https://arxiv.org/abs/1211.5063.
#pragma once

#include <flatstep/configuration/choices.hpp>
#include <flatstep/kernels/kernel_table.hpp>
#include <flatstep/kernels/sum_of_squares.hpp>

#include <array>
#include <cmath>
#include <limits>
#include <span>

namespace flatstep {

/// value·2^exponent: a number beyond the range of double.
struct WideNumber {
  double value;
  int exponent;

  /// As one double: 0 or infinite where it lies outside its range.
  double get() const { return exponent == 0 ? value : std::ldexp(value, exponent); }
};

namespace detail {

/// Where a number becomes subnormal.
inline constexpr double least_normal = std::numeric_limits<double>::min();

}  // namespace detail

/// a·b. Both are 0 or normal; b, a step's scale over its batch size, lies between 2^-163 and 2^100,
/// and a below 2^900.
inline WideNumber times(const WideNumber& a, double b) {
  const double product = a.value * b;
  if (product >= detail::least_normal || !(a.value > 0)) return {product, a.exponent};
  return {(a.value * 0x1p200) * b, a.exponent - 200};
}

/// a + ε, ε being 0 or normal.
inline WideNumber plus(const WideNumber& a, double epsilon) {
  if (epsilon == 0 || a.exponent > 0) return a;
  return {a.get() + epsilon, 0};
}

/// Adds chunks' sums of squares in order, each at its own scale.
class SumOfSquares {
 public:
  void add(const ScaledSum& chunk) {
    (chunk.exponent == 0 ? middle_ : chunk.exponent > 0 ? large_ : small_) += chunk.sum;
  }
  /// Adds weight²·other.
  void add(const SumOfSquares& other, double weight) {
    const double square = weight * weight;
    large_ += square * other.large_;
    small_ += square * other.small_;
    const double middle = square * other.middle_;
    if ((middle >= least_middle && middle <= most_middle) || !(other.middle_ > 0)) [[likely]] {
      middle_ += middle;
    } else if (middle < least_middle) {
      small_ += square * std::ldexp(other.middle_, -down);
    } else {
      large_ += square * std::ldexp(other.middle_, down);
    }
  }

  /// At the scale of the largest part. Of two neighbouring parts each may be the larger one, where
  /// their chunks are near the border; what lies two scales below never shows.
  WideNumber root() const {
    if (large_ != 0) return {std::sqrt(large_ + std::ldexp(middle_, down)), norm_exponent};
    if (middle_ != 0) {
      // Mostly there is no small part, and a call of ldexp shows in the time of a small step.
      if (small_ == 0) [[likely]]
        return {std::sqrt(middle_), 0};
      return {std::sqrt(middle_ + std::ldexp(small_, down)), 0};
    }
    return {std::sqrt(small_), -norm_exponent};
  }

  /// The sum at each scale, largest scale first.
  std::array<double, 3> parts() const { return {large_, middle_, small_}; }
  static SumOfSquares of_parts(std::span<const double, 3> parts) {
    SumOfSquares sum;
    sum.large_ = parts[0];
    sum.middle_ = parts[1];
    sum.small_ = parts[2];
    return sum;
  }

 private:
  static constexpr int down = -2 * norm_exponent;
  /// Below it a sum stands at the small scale: a chunk's own does, too. Above the other a weighted
  /// one stands at the large scale.
  static constexpr double least_middle = 0x1p-900;
  static constexpr double most_middle = 0x1p900;

  double large_ = 0;
  double middle_ = 0;
  double small_ = 0;
};

/// The factor of a group whose gradient has that norm.
inline WideNumber normalization_factor(GradientNormalization strategy, double threshold,
                                       double epsilon, const WideNumber& length) {
  if (rules_of(strategy).effect == NormalizationEffect::renormalize) {
    if (length.value == 0) return {1.0, 0};
    return {1.0 / length.value, -length.exponent};
  }
  const WideNumber norm = plus(length, epsilon);
  if (!(norm.get() > threshold)) return {1.0, 0};
  if (norm.exponent == 0) {
    const double factor = threshold / norm.value;
    if (factor >= detail::least_normal || !std::isfinite(norm.value)) return {factor, 0};
    return {(threshold * 0x1p600) / norm.value, -600};
  }
  int exponent = 0;
  const double fraction = std::frexp(threshold, &exponent);
  return {fraction / norm.value, exponent - norm.exponent};
}

/// A factor as two numbers of type T, of which the second is 1 unless their product lies outside
/// (or near the end of) the normal range of T.
template <class T>
inline void split_factor(const WideNumber& factor, T (&parts)[2]) {
  parts[1] = 1;
  if (factor.exponent == 0 && factor.value > 0x1p-100 && factor.value < 0x1p100) {
    parts[0] = static_cast<T>(factor.value);
    return;
  }
  if (factor.value == 0 || !std::isfinite(factor.value)) {
    parts[0] = static_cast<T>(factor.value);
    return;
  }
  int exponent = 0;
  const double fraction = 2 * std::frexp(factor.value, &exponent);  // in [1, 2)
  exponent += factor.exponent - 1;
  constexpr int limit = std::numeric_limits<T>::max_exponent - 2;
  if (exponent > -limit && exponent < limit) {
    parts[0] = static_cast<T>(factor.get());
    return;
  }
  const int half = exponent / 2;
  parts[0] = static_cast<T>(std::ldexp(fraction, exponent - half));
  parts[1] = static_cast<T>(std::ldexp(1.0, half));
}

}  // namespace flatstep
