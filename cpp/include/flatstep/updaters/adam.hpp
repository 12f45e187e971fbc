// Adam: m = β1m + (1−β1)g; v = β2v + (1−β2)g²; α = lr·√(1−β2ᵗ)/(1−β1ᵗ); u = α·m/(√v + ε).
//
// State: m, v, from 0. ε stands outside the bias correction, as in DL4J and in the paper's section
// 2; with `corrected_epsilon` it is added to the corrected √v̂, as in PyTorch, where it weighs less:
// it is ε·√(1−β2ᵗ) here. Without `bias_correction` α is lr. Under dl4j-0.8 α becomes ε where it is 0
// or NaN. Rounding: m two, v three, u four (product, root, sum, quotient). Source: DL4J's
// Adam; Kingma and Ba 2015, https://arxiv.org/abs/1412.6980.
#pragma once

#include <flatstep/updaters/updater.hpp>

namespace flatstep {

/// What Adam, Nadam and their kin are configured by.
struct AdamValues {
  double learning_rate;
  double beta1;
  double beta2;
  double epsilon;
};

/// What Adam and AMSGrad are configured by besides.
struct CorrectedAdamValues : AdamValues {
  double corrected_epsilon;
  double bias_correction;
};

/// The factors of m and g in lr·m̂, m̂ being the corrected first moment, which with `nesterov` looks a
/// step ahead: β1·m/(1−β1ᵗ⁺¹) + (1−β1)·g/(1−β1ᵗ), as optax has it.
struct LookAhead {
  double of_moment;
  double of_gradient;

  LookAhead(double learning_rate, double beta1, std::uint64_t t, double nesterov,
            double bias_correction = 1.0)
      : of_moment(learning_rate / bias_of(beta1, t, bias_correction)), of_gradient(0.0) {
    if (nesterov == 0.0) return;
    of_gradient = of_moment * (1.0 - beta1);
    of_moment = learning_rate * beta1 / bias_of(beta1, t + 1, bias_correction);
  }
};

/// Their hyper-parameters.
inline constexpr HyperParameter adam_hyper_parameters[] = {
    learning_rate(1e-3), moving_decay("beta1", 0.9), decay("beta2", 0.999), epsilon(1e-8)};

struct Adam {
  static constexpr std::string_view name = "Adam";
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(1e-3), moving_decay("beta1", 0.9),       decay("beta2", 0.999),
      epsilon(1e-8),       flag("corrected_epsilon", false), flag("bias_correction", true)};
  static constexpr StateNames<2> state_names{{"m", "v"}};
  static constexpr bool never_negative(std::size_t array) { return array == 1; }
  using Values = CorrectedAdamValues;
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X beta2;
    X one_minus_beta2;
    X alpha;
    X epsilon;
  };

  static Constants<double> corrected(const Values& h, const StepContext& step) {
    const double root = __builtin_sqrt(bias_of(h.beta2, step.t(), h.bias_correction));
    const double alpha = h.learning_rate * root / bias_of(h.beta1, step.t(), h.bias_correction);
    const double epsilon = h.corrected_epsilon == 0.0 ? h.epsilon : h.epsilon * root;
    return {h.beta1, 1.0 - h.beta1, h.beta2, 1.0 - h.beta2, alpha, epsilon};
  }

  static Constants<double> constants(const Values& h, const StepContext& step) {
    Constants<double> c = corrected(h, step);
    const bool vanished = c.alpha == 0.0 || __builtin_isnan(c.alpha);
    if (step.rules.alpha_falls_back && vanished) c.alpha = h.epsilon;
    return c;
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[1] = moving_average_of_squares(c.beta2, c.one_minus_beta2, state[1], g);
    return (c.alpha * state[0]) / (sqrt(state[1]) + c.epsilon);
  }
};

}  // namespace flatstep
