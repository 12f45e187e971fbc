// AdaMax: m as Adam; n = max(β2·n, |g|); u = lr/(1−β1ᵗ)·m/(n + 1e-32).
//
// State: m, n, from 0. ε is accepted as DL4J accepts it, and unused as there.
// Rounding: m two, n one, u three (product, sum, quotient).
// Source: DL4J's AdaMax; Kingma and Ba 2015, section 7.1, https://arxiv.org/abs/1412.6980.
#pragma once

#include <flatstep/updaters/adam.hpp>

namespace flatstep {

struct AdaMax {
  static constexpr std::string_view name = "AdaMax";
  static constexpr const auto& hyper_parameters = Adam::hyper_parameters;
  static constexpr StateNames<2> state_names{{"m", "n"}};
  using Values = AdamValues;
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X beta2;
    X rate;
    X tiny;
  };

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const double rate = h.learning_rate / (1.0 - power(h.beta1, step.t()));
    return {h.beta1, 1.0 - h.beta1, h.beta2, rate, 1e-32};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[1] = max(c.beta2 * state[1], abs(g));
    return (c.rate * state[0]) / (state[1] + c.tiny);
  }
};

}  // namespace flatstep
