// AdaBelief: m as Adam; s = β2s + (1−β2)(g−m)² + ε; m̂ = m/(1−β1ᵗ), ŝ = s/(1−β2ᵗ);
//            u = lr·m̂/(√ŝ + ε).
//
// State: m, s, from 0. `epsilon_root` is what s takes in each step in ε's place (optax's); with
// `nesterov` m̂ looks ahead (optax's): β1·m/(1−β1ᵗ⁺¹) + (1−β1)·g/(1−β1ᵗ).
// Rounding: m two, s five, u six (two products, a fused one, root, sum, quotient).
// Source: DL4J's AdaBelief (which release 1.0.0-M2.1 cannot create); Zhuang et al. 2020,
// https://arxiv.org/abs/2010.07468.
#pragma once

#include <flatstep/updaters/adam.hpp>

namespace flatstep {

struct AdaBelief {
  static constexpr std::string_view name = "AdaBelief";
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(1e-3), moving_decay("beta1", 0.9),      decay("beta2", 0.999),
      epsilon(1e-14),      optional_amount("epsilon_root"), flag("nesterov", false)};
  static constexpr StateNames<2> state_names{{"m", "s"}};
  static constexpr bool never_negative(std::size_t array) { return array == 1; }
  struct Values : AdamValues {
    double epsilon_root;
    double nesterov;
  };
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X beta2;
    X one_minus_beta2;
    X of_moment;    // lr/(1−β1ᵗ), of m
    X of_gradient;  // 0 without nesterov
    X correction;   // 1/(1−β2ᵗ)
    X added;        // to s
    X epsilon;
  };

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const LookAhead ahead(h.learning_rate, h.beta1, step.t(), h.nesterov);
    const double correction = 1.0 / (1.0 - power(h.beta2, step.t()));
    const double added = h.epsilon_root == not_given ? h.epsilon : h.epsilon_root;
    return {h.beta1,           1.0 - h.beta1, h.beta2, 1.0 - h.beta2, ahead.of_moment,
            ahead.of_gradient, correction,    added,   h.epsilon};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[1] =
        moving_average_of_squares(c.beta2, c.one_minus_beta2, state[1], g - state[0]) + c.added;
    return fma(c.of_gradient, g, c.of_moment * state[0]) /
           (sqrt(c.correction * state[1]) + c.epsilon);
  }
};

}  // namespace flatstep
