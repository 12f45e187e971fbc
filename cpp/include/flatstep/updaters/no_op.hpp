// NoOp (NONE in DL4J 0.8): u = g.
//
// State: none. Rounding: none. Regularisation and weight decay still apply around it.
// Source: DL4J's NoOp.
#pragma once

#include <flatstep/updaters/updater.hpp>

namespace flatstep {

struct NoOp {
  static constexpr std::string_view name = "NoOp";
  static constexpr NoHyperParameters hyper_parameters{};
  static constexpr StateNames<0> state_names{};
  struct Values {};
  template <class X>
  struct Constants {};

  static Constants<double> constants(const Values&, const StepContext&) { return {}; }

  template <class V>
  static V apply(V g, V*, const Constants<V>&) {
    return g;
  }
};

}  // namespace flatstep
