// RootAdam: m, v as Adam; u = lr·m̂/(√(v̂ + ε_root) + ε).
//
// m̂ = m/(1−β1ᵗ), with `nesterov` β1·m/(1−β1ᵗ⁺¹) + (1−β1)·g/(1−β1ᵗ); v̂ = v/(1−β2ᵗ). In the loop the
// corrections are in the constants: u = (a·m + b·g)/(√(v + ε_root·(1−β2ᵗ)) + ε·√(1−β2ᵗ)).
// State: m, v, from 0. Rounding: m two, v three, u six (product, fused, two sums, root, quotient).
// Where b is 0 a gradient that is not finite makes NaN; the state is not finite then either.
// Source: optax's adam; Kingma and Ba 2015, https://arxiv.org/abs/1412.6980.
#pragma once

#include <flatstep/updaters/adam.hpp>

namespace flatstep {

struct RootAdam {
  static constexpr std::string_view name = "RootAdam";
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(1e-3),          moving_decay("beta1", 0.9),
      decay("beta2", 0.999),        epsilon(1e-8),
      amount("epsilon_root", 0.0),  flag("nesterov", false),
      flag("bias_correction", true)};
  static constexpr StateNames<2> state_names{{"m", "v"}};
  static constexpr bool never_negative(std::size_t array) { return array == 1; }
  struct Values : AdamValues {
    double epsilon_root;
    double nesterov;
    double bias_correction;
  };
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X beta2;
    X one_minus_beta2;
    X of_moment;
    X of_gradient;
    X root;
    X epsilon;
  };

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const LookAhead ahead(h.learning_rate, h.beta1, step.t(), h.nesterov, h.bias_correction);
    const double bias = bias_of(h.beta2, step.t(), h.bias_correction);
    return divided(h, h.epsilon_root, ahead.of_moment, ahead.of_gradient, bias);
  }

  /// The constants of (of_moment·m + of_gradient·g)/(√(v/bias + ε_root) + ε).
  static Constants<double> divided(const AdamValues& h, double epsilon_root, double of_moment,
                                   double of_gradient, double bias) {
    const double root = __builtin_sqrt(bias);
    return {h.beta1,
            1.0 - h.beta1,
            h.beta2,
            1.0 - h.beta2,
            of_moment * root,
            of_gradient * root,
            epsilon_root * bias,
            h.epsilon * root};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[1] = moving_average_of_squares(c.beta2, c.one_minus_beta2, state[1], g);
    return fma(c.of_gradient, g, c.of_moment * state[0]) / (sqrt(state[1] + c.root) + c.epsilon);
  }
};

}  // namespace flatstep
