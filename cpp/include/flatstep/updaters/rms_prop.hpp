// RmsProp: s = ρs + (1−ρ)g²; u = lr·g/(√s + ε).
//
// State: s, from `initial_accumulator`, which is ε where it is not given. Rounding: s three, u four (product, root, sum, quotient).
// Source: DL4J's RmsProp; Tieleman and Hinton 2012, lecture 6.5 of "Neural Networks for Machine
// Learning".
#pragma once

#include <flatstep/updaters/updater.hpp>

namespace flatstep {

struct RmsProp {
  static constexpr std::string_view name = "RmsProp";
  static constexpr HyperParameter hyper_parameters[] = {learning_rate(0.1),
                                                        decay("rms_decay", 0.95), epsilon(1e-8),
                                                        optional_amount("initial_accumulator")};
  static constexpr StateNames<1> state_names{{"s"}};
  static constexpr bool never_negative(std::size_t) { return true; }
  struct Values {
    double learning_rate;
    double rms_decay;
    double epsilon;
    double initial_accumulator;
  };
  template <class X>
  struct Constants {
    X learning_rate;
    X rms_decay;
    X one_minus_rms_decay;
    X epsilon;
  };

  static double initial_state(std::size_t, const Values& h, const OrderRules&) {
    return h.initial_accumulator == not_given ? h.epsilon : h.initial_accumulator;
  }

  static Constants<double> constants(const Values& h, const StepContext&) {
    return {h.learning_rate, h.rms_decay, 1.0 - h.rms_decay, h.epsilon};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average_of_squares(c.rms_decay, c.one_minus_rms_decay, state[0], g);
    return (c.learning_rate * g) / (sqrt(state[0]) + c.epsilon);
  }
};

}  // namespace flatstep
