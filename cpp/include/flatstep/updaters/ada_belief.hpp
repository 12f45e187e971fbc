// AdaBelief: m as Adam; s = β2s + (1−β2)(g−m)² + ε; m̂ = m/(1−β1ᵗ), ŝ = s/(1−β2ᵗ);
//            u = lr·m̂/(√ŝ + ε).
//
// State: m, s, from 0. Rounding: m two, s five, u five (two products, root, sum, quotient).
// Source: DL4J's AdaBelief (which release 1.0.0-M2.1 cannot create); Zhuang et al. 2020,
// https://arxiv.org/abs/2010.07468.
#pragma once

#include <flatstep/updaters/adam.hpp>

namespace flatstep {

struct AdaBelief {
  static constexpr std::string_view name = "AdaBelief";
  static constexpr HyperParameter hyper_parameters[] = {learning_rate(1e-3), decay("beta1", 0.9),
                                                        decay("beta2", 0.999), epsilon(1e-14)};
  static constexpr StateNames<2> state_names{{"m", "s"}};
  using Values = AdamValues;
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X beta2;
    X one_minus_beta2;
    X rate;        // lr/(1−β1ᵗ)
    X correction;  // 1/(1−β2ᵗ)
    X epsilon;
  };

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const double rate = h.learning_rate / (1.0 - power(h.beta1, step.t()));
    const double correction = 1.0 / (1.0 - power(h.beta2, step.t()));
    return {h.beta1, 1.0 - h.beta1, h.beta2, 1.0 - h.beta2, rate, correction, h.epsilon};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[1] =
        moving_average_of_squares(c.beta2, c.one_minus_beta2, state[1], g - state[0]) + c.epsilon;
    return (c.rate * state[0]) / (sqrt(c.correction * state[1]) + c.epsilon);
  }
};

}  // namespace flatstep
