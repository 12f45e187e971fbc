// AdaDelta: s = ρs + (1−ρ)g²; u = g·√(d+ε)/√(s+ε); d = ρd + (1−ρ)u².
//
// State: s, d, from 0. It has no learning rate.
// Rounding: s and d three each, u six (two sums, two roots, product, quotient).
// Source: DL4J's AdaDelta; Zeiler 2012, https://arxiv.org/abs/1212.5701.
#pragma once

#include <flatstep/updaters/updater.hpp>

namespace flatstep {

struct AdaDelta {
  static constexpr std::string_view name = "AdaDelta";
  static constexpr HyperParameter hyper_parameters[] = {decay("rho", 0.95), epsilon(1e-6)};
  static constexpr StateNames<2> state_names{{"s", "d"}};
  static constexpr bool never_negative(std::size_t) { return true; }
  struct Values {
    double rho;
    double epsilon;
  };
  template <class X>
  struct Constants {
    X rho;
    X one_minus_rho;
    X epsilon;
  };

  static Constants<double> constants(const Values& h, const StepContext&) {
    return {h.rho, 1.0 - h.rho, h.epsilon};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average_of_squares(c.rho, c.one_minus_rho, state[0], g);
    const V u = (g * sqrt(state[1] + c.epsilon)) / sqrt(state[0] + c.epsilon);
    state[1] = moving_average_of_squares(c.rho, c.one_minus_rho, state[1], u);
    return u;
  }
};

}  // namespace flatstep
