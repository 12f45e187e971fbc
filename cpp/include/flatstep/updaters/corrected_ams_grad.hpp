// CorrectedAMSGrad: m, v as Adam; v̂ = max(v̂, v/(1−β2ᵗ)); u = lr·m/(1−β1ᵗ)/(√(v̂ + ε_root) + ε).
//
// The maximum is over the corrected second moments; AMSGrad's is over those that are not.
// State: m, v, v_hat, from 0. Rounding: m two, v three, v̂ one, u five (product, two sums, root,
// quotient). Source: optax's amsgrad; Reddi, Kale and Kumar 2018, https://arxiv.org/abs/1904.09237.
#pragma once

#include <flatstep/updaters/adam.hpp>

namespace flatstep {

struct CorrectedAMSGrad {
  static constexpr std::string_view name = "CorrectedAMSGrad";
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(1e-3), moving_decay("beta1", 0.9), decay("beta2", 0.999), epsilon(1e-8),
      amount("epsilon_root", 0.0)};
  static constexpr StateNames<3> state_names{{"m", "v", "v_hat"}};
  static constexpr bool keeps_maximum(std::size_t array) { return array == 2; }
  static constexpr bool never_negative(std::size_t array) { return array >= 1; }
  struct Values : AdamValues {
    double epsilon_root;
  };
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X beta2;
    X one_minus_beta2;
    X rate;        // lr/(1−β1ᵗ)
    X correction;  // 1/(1−β2ᵗ)
    X root;
    X epsilon;
  };

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const double rate = h.learning_rate / bias_of(h.beta1, step.t());
    const double correction = 1.0 / bias_of(h.beta2, step.t());
    return {h.beta1, 1.0 - h.beta1, h.beta2,        1.0 - h.beta2,
            rate,    correction,    h.epsilon_root, h.epsilon};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[1] = moving_average_of_squares(c.beta2, c.one_minus_beta2, state[1], g);
    state[2] = max(state[2], c.correction * state[1]);
    return (c.rate * state[0]) / (sqrt(state[2] + c.root) + c.epsilon);
  }
};

}  // namespace flatstep
