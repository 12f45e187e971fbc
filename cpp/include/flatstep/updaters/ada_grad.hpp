// AdaGrad: h += g²; u = lr·g/(√h + ε).
//
// State: h, from `initial_accumulator`; where that is not given, from ε under dl4j-0.8, from 1e-6
// whatever ε under dl4j-1.0.
// Rounding: h one, u four (product, root, sum, quotient).
// Source: DL4J's AdaGrad; Duchi, Hazan and Singer 2011, https://jmlr.org/papers/v12/duchi11a.html.
#pragma once

#include <flatstep/updaters/updater.hpp>

namespace flatstep {

struct AdaGrad {
  static constexpr std::string_view name = "AdaGrad";
  static constexpr HyperParameter hyper_parameters[] = {learning_rate(0.1), epsilon(1e-6),
                                                        optional_amount("initial_accumulator")};
  static constexpr StateNames<1> state_names{{"h"}};
  static constexpr bool never_negative(std::size_t) { return true; }
  struct Values {
    double learning_rate;
    double epsilon;
    double initial_accumulator;
  };
  template <class X>
  struct Constants {
    X learning_rate;
    X epsilon;
  };

  static double initial_state(std::size_t, const Values& h, const OrderRules& rules) {
    if (h.initial_accumulator != not_given) return h.initial_accumulator;
    return rules.history_starts_at_epsilon ? h.epsilon : 1e-6;
  }

  static Constants<double> constants(const Values& h, const StepContext&) {
    return {h.learning_rate, h.epsilon};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = fma(g, g, state[0]);
    return (c.learning_rate * g) / (sqrt(state[0]) + c.epsilon);
  }
};

}  // namespace flatstep
