// RootAdaGrad: h += g²; u = lr·g/(√(h + ε_root) + ε).
//
// State: h, from `initial_accumulator`. Rounding: h one, u five (product, two sums, root, quotient).
// Source: optax's and Keras' adagrad, whose ε is under the root; Duchi, Hazan and Singer 2011,
// https://jmlr.org/papers/v12/duchi11a.html.
#pragma once

#include <flatstep/updaters/updater.hpp>

namespace flatstep {

struct RootAdaGrad {
  static constexpr std::string_view name = "RootAdaGrad";
  static constexpr HyperParameter hyper_parameters[] = {learning_rate(0.1), epsilon(0.0),
                                                        amount("epsilon_root", 1e-7),
                                                        amount("initial_accumulator", 0.1)};
  static constexpr StateNames<1> state_names{{"h"}};
  static constexpr bool never_negative(std::size_t) { return true; }
  struct Values {
    double learning_rate;
    double epsilon;
    double epsilon_root;
    double initial_accumulator;
  };
  template <class X>
  struct Constants {
    X learning_rate;
    X root;
    X epsilon;
  };

  static double initial_state(std::size_t, const Values& h, const OrderRules&) {
    return h.initial_accumulator;
  }

  static Constants<double> constants(const Values& h, const StepContext&) {
    return {h.learning_rate, h.epsilon_root, h.epsilon};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = fma(g, g, state[0]);
    return (c.learning_rate * g) / (sqrt(state[0] + c.root) + c.epsilon);
  }
};

}  // namespace flatstep
