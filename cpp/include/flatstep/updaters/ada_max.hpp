// AdaMax: m as Adam; n = max(β2·n, |g|); u = lr/(1−β1ᵗ)·m/(n + 1e-32).
//
// State: m, n, from 0. `epsilon_placement` says where ε goes: nowhere ("none", DL4J's, which accepts
// it and does not use it), to the gradient (n = max(β2·n, |g| + ε): PyTorch's, optax's) or to the
// divisor (n + ε: Keras'). Rounding: m two, n two, u three (product, sum, quotient).
// Source: DL4J's AdaMax; Kingma and Ba 2015, section 7.1, https://arxiv.org/abs/1412.6980.
#pragma once

#include <flatstep/updaters/adam.hpp>

namespace flatstep {

struct AdaMax {
  static constexpr std::string_view name = "AdaMax";
  static constexpr std::string_view placements[] = {"none", "gradient", "divisor"};
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(1e-3), moving_decay("beta1", 0.9), decay("beta2", 0.999), epsilon(1e-8),
      choice("epsilon_placement", placements)};
  static constexpr StateNames<2> state_names{{"m", "n"}};
  static constexpr bool keeps_maximum(std::size_t array) { return array == 1; }
  static constexpr bool never_negative(std::size_t array) { return array == 1; }
  struct Values : AdamValues {
    double epsilon_placement;
  };
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X beta2;
    X rate;
    X in_gradient;
    X in_divisor;
  };

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const double rate = h.learning_rate / (1.0 - power(h.beta1, step.t()));
    const double in_gradient = h.epsilon_placement == 1.0 ? h.epsilon : 0.0;
    const double in_divisor = h.epsilon_placement == 2.0 ? h.epsilon : 1e-32;
    return {h.beta1, 1.0 - h.beta1, h.beta2, rate, in_gradient, in_divisor};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[1] = max(c.beta2 * state[1], abs(g) + c.in_gradient);
    return (c.rate * state[0]) / (state[1] + c.in_divisor);
  }
};

}  // namespace flatstep
