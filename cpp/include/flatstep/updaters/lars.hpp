// Lars: b = μ·b + lr·r·g; u = b, with `nesterov` lr·r·g + μ·b.
//
// The trust ratio r = c·‖p‖/(‖g‖ + ε), 1 where either norm is 0, is that of the gradient as the
// updater gets it, so that the configuration's L2 is in it: both norms are over a whole parameter
// (step/split_step.hpp), and r is a step scalar.
// State: b, from 0. Rounding: Momentum's.
// Source: You, Gitman and Ginsburg 2017, https://arxiv.org/abs/1708.03888, as optax has it.
#pragma once

#include <flatstep/updaters/momentum.hpp>

namespace flatstep {

struct Lars {
  static constexpr std::string_view name = "Lars";
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(0.1), momentum(0.9), amount("trust_coefficient", 1e-3),
      amount("trust_epsilon", 0.0), flag("nesterov", false)};
  static constexpr StateNames<1> state_names{{"b"}};
  struct Values {
    double learning_rate;
    double momentum;
    double trust_coefficient;
    double trust_epsilon;
    double nesterov;
  };
  template <class X>
  using Constants = Momentum::Constants<X>;

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const Velocity velocity(h.learning_rate * step.trust_ratio, h.momentum, h.nesterov != 0.0,
                            true);
    return {h.momentum, velocity.in, velocity.of_velocity, velocity.of_step};
  }

  static Trusted trusts(const Values&) { return Trusted::gradient; }
  static double trust_ratio(const Values& h, double, double parameter_norm, double norm) {
    return norm_ratio(parameter_norm, norm, h.trust_coefficient, h.trust_epsilon);
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    return Momentum::apply(g, state, c);
  }
};

}  // namespace flatstep
