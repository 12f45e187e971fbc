// Nesterovs: v' = μ·v − lr·g; u = μ·v − (1+μ)·v'.
//
// State: v, from 0. Rounding: v' two, u two (one product and one fused each).
// Source: DL4J's Nesterovs; Sutskever et al. 2013,
// https://proceedings.mlr.press/v28/sutskever13.html.
#pragma once

#include <flatstep/updaters/updater.hpp>

namespace flatstep {

struct Nesterovs {
  static constexpr std::string_view name = "Nesterovs";
  static constexpr HyperParameter hyper_parameters[] = {learning_rate(0.1), momentum(0.9)};
  static constexpr StateNames<1> state_names{{"v"}};
  struct Values {
    double learning_rate;
    double momentum;
  };
  template <class X>
  struct Constants {
    X minus_learning_rate;
    X momentum;
    X minus_one_minus_momentum;
  };

  static Constants<double> constants(const Values& h, const StepContext&) {
    return {-h.learning_rate, h.momentum, -(1.0 + h.momentum)};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    const V decayed = c.momentum * state[0];
    state[0] = fma(c.minus_learning_rate, g, decayed);
    return fma(c.minus_one_minus_momentum, state[0], decayed);
  }
};

}  // namespace flatstep
