// Lion: u = lr·sign(β1·m + (1−β1)·g); m = β2·m + (1−β2)·g.
//
// State: m, from 0. sign(0) = 0. Rounding: the sum under the sign two, m two, u none.
// Source: Chen et al. 2023, https://arxiv.org/abs/2302.06675; optax's lion.
#pragma once

#include <flatstep/updaters/updater.hpp>

namespace flatstep {

struct Lion {
  static constexpr std::string_view name = "Lion";
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(1e-4), moving_decay("beta1", 0.9), decay("beta2", 0.99)};
  static constexpr StateNames<1> state_names{{"m"}};
  struct Values {
    double learning_rate;
    double beta1;
    double beta2;
  };
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X beta2;
    X one_minus_beta2;
    X learning_rate;
  };

  static Constants<double> constants(const Values& h, const StepContext&) {
    return {h.beta1, 1.0 - h.beta1, h.beta2, 1.0 - h.beta2, h.learning_rate};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    const V direction = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[0] = moving_average(c.beta2, c.one_minus_beta2, state[0], g);
    return sign(direction, c.learning_rate);
  }
};

}  // namespace flatstep
