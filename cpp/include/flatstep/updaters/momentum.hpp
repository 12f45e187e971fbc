// Momentum: b = g in the first step, then b = μ·b + (1−τ)·g; u = lr·b, with `nesterov` lr·(g + μ·b).
//
// The heavy ball with the rate outside of the velocity: a rate that changes acts at once on all of
// it. With `rate_in_velocity` b = μ·b + (1−τ)·lr·g, u = b (nesterov: lr·g + μ·b): an old gradient
// keeps the rate that it came with, as in Keras and, with another sign, in Nesterovs.
// State: b, from 0. Rounding: b two, u two. τ is the dampening.
// Where nothing looks ahead a gradient that is not finite makes NaN of u; b is not finite either.
// Source: PyTorch's SGD; Polyak 1964, https://doi.org/10.1016/0041-5553(64)90137-5.
#pragma once

#include <flatstep/updaters/updater.hpp>

namespace flatstep {

/// How a velocity b takes a step x in, b = μ·b + in·x, and what of both the update is.
struct Velocity {
  double in;
  double of_velocity;
  double of_step;

  Velocity(double learning_rate, double momentum, bool nesterov, bool rate_inside)
      : in(rate_inside ? learning_rate : 1.0),
        of_velocity((rate_inside ? 1.0 : learning_rate) * (nesterov ? momentum : 1.0)),
        of_step(nesterov ? learning_rate : 0.0) {}
};

struct Momentum {
  static constexpr std::string_view name = "Momentum";
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(0.1),
      momentum(0.9),
      {"dampening", 0.0, 0.0, 1.0, true, true, Role::plain},
      flag("nesterov", false),
      flag("rate_in_velocity", false)};
  static constexpr StateNames<1> state_names{{"b"}};
  struct Values {
    double learning_rate;
    double momentum;
    double dampening;
    double nesterov;
    double rate_in_velocity;
  };
  template <class X>
  struct Constants {
    X momentum;
    X in;
    X of_velocity;
    X of_gradient;
  };

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const Velocity velocity(h.learning_rate, h.momentum, h.nesterov != 0.0,
                            h.rate_in_velocity != 0.0);
    const double taken = step.t() == 1 || h.momentum == 0.0 ? 1.0 : 1.0 - h.dampening;
    return {h.momentum, velocity.in * taken, velocity.of_velocity, velocity.of_step};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = fma(c.momentum, state[0], c.in * g);
    return fma(c.of_gradient, g, c.of_velocity * state[0]);
  }
};

}  // namespace flatstep
