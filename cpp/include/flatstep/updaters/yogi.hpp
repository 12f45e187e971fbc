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
    X beta2_minus_one;
    X alpha;
    X root;
    X epsilon;
    X one;
  };

  static double initial_state(std::size_t, const Values& h, const OrderRules&) {
    return h.initial_accumulator;
  }

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const double bias = bias_of(h.beta2, step.t());
    const double root = __builtin_sqrt(bias);
    const double alpha = h.learning_rate * root / bias_of(h.beta1, step.t());
    return {h.beta1, 1.0 - h.beta1, h.beta2 - 1.0, alpha, h.epsilon_root * bias, h.epsilon * root,
            1.0};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    const V square = g * g;
    // As one fma: of a difference some compilers leave v alone where the sign is 0, and a subnormal v
    // would stay.
    const V change = c.beta2_minus_one * square;
    state[1] = fma(sign(state[1] - square, c.one), change, state[1]);
    return (c.alpha * state[0]) / (sqrt(state[1] + c.root) + c.epsilon);
  }
};

}  // namespace flatstep
