// AdaDeltaWithRate: AdaDelta, its step x multiplied by a rate: s = ρs + (1−ρ)g²;
//                   x = g·√(d+ε)/√(s+ε); d = ρd + (1−ρ)x²; u = lr·x.
//
// State: s, d, from 0. Rounding: as AdaDelta, and one for u.
// Source: PyTorch's Adadelta; Zeiler 2012, https://arxiv.org/abs/1212.5701.
#pragma once

#include <flatstep/updaters/ada_delta.hpp>

namespace flatstep {

struct AdaDeltaWithRate {
  static constexpr std::string_view name = "AdaDeltaWithRate";
  static constexpr HyperParameter hyper_parameters[] = {learning_rate(1.0), decay("rho", 0.95),
                                                        epsilon(1e-6)};
  static constexpr StateNames<2> state_names{{"s", "d"}};
  static constexpr bool never_negative(std::size_t) { return true; }
  struct Values {
    double learning_rate;
    double rho;
    double epsilon;
  };
  template <class X>
  struct Constants {
    AdaDelta::Constants<X> step;
    X learning_rate;
  };

  static Constants<double> constants(const Values& h, const StepContext& step) {
    return {AdaDelta::constants({h.rho, h.epsilon}, step), h.learning_rate};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    return c.learning_rate * AdaDelta::apply(g, state, c.step);
  }
};

}  // namespace flatstep
