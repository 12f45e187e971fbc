// Sgd: u = lr·g.
//
// State: none. Rounding: one.
// Source: DL4J's Sgd; Robbins and Monro 1951, https://doi.org/10.1214/aoms/1177729586.
#pragma once

#include <flatstep/updaters/updater.hpp>

namespace flatstep {

struct Sgd {
  static constexpr std::string_view name = "Sgd";
  static constexpr HyperParameter hyper_parameters[] = {learning_rate(1e-3)};
  static constexpr StateNames<0> state_names{};
  struct Values {
    double learning_rate;
  };
  template <class X>
  struct Constants {
    X learning_rate;
  };

  static Constants<double> constants(const Values& h, const StepContext&) {
    return {h.learning_rate};
  }

  template <class V>
  static V apply(V g, V*, const Constants<V>& c) {
    return c.learning_rate * g;
  }
};

}  // namespace flatstep
