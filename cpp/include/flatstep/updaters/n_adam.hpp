// NAdam: m, v as Adam; μₜ = β1·(1 − ½·0.96^(t·ψ)), Πₜ = μ₁·μ₂·…·μₜ;
//        u = lr·(μₜ₊₁·m/(1−Πₜ₊₁) + (1−μₜ)·g/(1−Πₜ))/(√(v̂ + ε_root) + ε).
//
// v̂ = v/(1−β2ᵗ); ψ is `momentum_decay`, and Πₜ a function of t alone: Π (1 − ½qⁱ), q = 0.96^ψ, is
// summed as logarithms, each a power series in ½qⁱ whose terms are geometric sums over i.
// State: m, v, from 0. Rounding: as RootAdam.
// Source: PyTorch's NAdam, which Keras' Nadam is with ψ = 1; Dozat 2016,
// https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ.
#pragma once

#include <flatstep/updaters/root_adam.hpp>

namespace flatstep {

struct NAdam {
  static constexpr std::string_view name = "NAdam";
  static constexpr HyperParameter hyper_parameters[] = {learning_rate(2e-3),
                                                        decay("beta1", 0.9),
                                                        decay("beta2", 0.999),
                                                        epsilon(1e-8),
                                                        amount("momentum_decay", 4e-3),
                                                        amount("epsilon_root", 0.0)};
  static constexpr StateNames<2> state_names{{"m", "v"}};
  static constexpr bool never_negative(std::size_t array) { return array == 1; }
  struct Values : AdamValues {
    double momentum_decay;
    double epsilon_root;
  };
  template <class X>
  using Constants = RootAdam::Constants<X>;

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const std::uint64_t t = step.t();
    const double next = momentum_at(h, t + 1);
    const double product = power(h.beta1, t) * product_of_shares(h.momentum_decay, t);
    const double of_moment = h.learning_rate * next / (1.0 - product * next);
    const double of_gradient = h.learning_rate * (1.0 - momentum_at(h, t)) / (1.0 - product);
    return RootAdam::divided(h, h.epsilon_root, of_moment, of_gradient,
                             1.0 - power(h.beta2, step.t()));
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    return RootAdam::apply(g, state, c);
  }

 private:
  static constexpr double log_of_96 = -0.040821994520255166;  // log 0.96

  static double momentum_at(const Values& h, std::uint64_t t) {
    const double decayed = __builtin_exp(log_of_96 * h.momentum_decay * static_cast<double>(t));
    return h.beta1 * (1.0 - 0.5 * decayed);
  }

  /// Π (1 − ½qⁱ) for i = 1 to t: the exponential of −Σₖ (½ᵏ/k)·Σᵢ qⁱᵏ, of which 60 terms are more
  /// than a double holds.
  static double product_of_shares(double momentum_decay, std::uint64_t t) {
    const double log_q = log_of_96 * momentum_decay;
    const double count = static_cast<double>(t);
    double sum = 0.0;
    double half = 1.0;
    for (int k = 1; k <= 60; ++k) {
      half *= 0.5;
      const double log_qk = log_q * k;
      const double geometric =
          log_qk == 0.0
              ? count
              : __builtin_exp(log_qk) * (__builtin_expm1(log_qk * count) / __builtin_expm1(log_qk));
      sum += half / k * geometric;
    }
    return __builtin_exp(-sum);
  }
};

}  // namespace flatstep
