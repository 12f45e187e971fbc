// Nadam: m, v as Adam; u = lr·(β1m + (1−β1)g)/(1−β1ᵗ)/(√v + ε).
//
// State: m, v, from 0. v is not bias-corrected, as in DL4J.
// Rounding: m two, v three, u six (the look ahead two, product, root, sum, quotient).
// Source: DL4J's Nadam; Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ.
#pragma once

#include <flatstep/updaters/adam.hpp>

namespace flatstep {

struct Nadam {
  static constexpr std::string_view name = "Nadam";
  static constexpr const auto& hyper_parameters = adam_hyper_parameters;
  static constexpr StateNames<2> state_names{{"m", "v"}};
  static constexpr bool never_negative(std::size_t array) { return array == 1; }
  using Values = AdamValues;
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X beta2;
    X one_minus_beta2;
    X rate;
    X epsilon;
  };

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const double rate = h.learning_rate / (1.0 - power(h.beta1, step.t()));
    return {h.beta1, 1.0 - h.beta1, h.beta2, 1.0 - h.beta2, rate, h.epsilon};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[1] = moving_average_of_squares(c.beta2, c.one_minus_beta2, state[1], g);
    const V ahead = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    return (c.rate * ahead) / (sqrt(state[1]) + c.epsilon);
  }
};

}  // namespace flatstep
