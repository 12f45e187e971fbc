// Yogi: m as Adam; v = v − (1−β2)·sign(v − g²)·g²; u = lr·m̂/(√(v̂ + ε_root) + ε).
//
// m̂ = m/(1−β1ᵗ), v̂ = v/(1−β2ᵗ); in the loop the corrections are in the constants, as in RootAdam.
// State: m, v, both from `initial_accumulator`. Rounding: m two, v three, u five.
// Source: optax's yogi; Zaheer et al. 2018,
// https://papers.nips.cc/paper/8186-adaptive-methods-for-nonconvex-optimization.
#pragma once

#include <flatstep/updaters/adam.hpp>

namespace flatstep {

struct Yogi {
  static constexpr std::string_view name = "Yogi";
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(1e-2), moving_decay("beta1", 0.9),  decay("beta2", 0.999),
      epsilon(1e-3),       amount("epsilon_root", 0.0), amount("initial_accumulator", 1e-6)};
  static constexpr StateNames<2> state_names{{"m", "v"}};
  static constexpr bool never_negative(std::size_t array) { return array == 1; }
  struct Values : AdamValues {
    double epsilon_root;
    double initial_accumulator;
  };
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X one_minus_beta2;
    X alpha;
    X root;
    X epsilon;
  };

  static double initial_state(std::size_t, const Values& h, const OrderRules&) {
    return h.initial_accumulator;
  }

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const double bias = bias_of(h.beta2, step.t());
    const double root = __builtin_sqrt(bias);
    const double alpha = h.learning_rate * root / bias_of(h.beta1, step.t());
    return {h.beta1, 1.0 - h.beta1, 1.0 - h.beta2, alpha, h.epsilon_root * bias, h.epsilon * root};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    const V square = g * g;
    const V change = c.one_minus_beta2 * square;
    const V above = state[1] - square;
    state[1] = state[1] - keep(not_equal(above, V::zero()), copysign(change, above));
    return (c.alpha * state[0]) / (sqrt(state[1] + c.root) + c.epsilon);
  }
};

}  // namespace flatstep
