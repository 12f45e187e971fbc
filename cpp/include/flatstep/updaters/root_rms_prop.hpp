// RmsProp's other forms: s = ρs + (1−ρ)g²; x = g/(√(ŝ + ε_root) + ε); u from x.
//
//   RootRmsProp              ŝ = s
//   CenteredRmsProp          ŝ = s − a², the variance: a = ρa + (1−ρ)g
//   MomentumRmsProp          ŝ = s; u from a velocity b = μ·b + x: u = lr·b
//   CenteredMomentumRmsProp  both
//
// With `bias_correction` s and a are divided by 1 − ρᵗ. Without momentum u = lr·x. With it `nesterov`
// looks ahead, u = lr·(x + μ·b), and `rate_in_velocity` is as in Momentum. Which form it is is decided
// when the kernel is compiled. A variance that rounding takes below 0 counts as 0.
// State: s from `initial_accumulator`; a, b from 0. Rounding: s three, a two, x four to seven, b two.
// Source: PyTorch's, optax's and Keras' RMSprop; Graves 2013, https://arxiv.org/abs/1308.0850
// (centred, with momentum); Tieleman and Hinton 2012, lecture 6.5.
#pragma once

#include <flatstep/updaters/momentum.hpp>

namespace flatstep {

/// What all the forms have.
struct RootRmsPropValues {
  double learning_rate;
  double rms_decay;
  double epsilon;
  double epsilon_root;
  double initial_accumulator;
  double bias_correction;
};

struct MomentumRmsPropValues : RootRmsPropValues {
  double momentum;
  double nesterov;
  double rate_in_velocity;
};

template <bool centered>
struct RmsPropStep {
  template <class X>
  struct Constants {
    X rms_decay;
    X one_minus_rms_decay;
    X correction;
    X root;
    X epsilon;
  };

  static Constants<double> constants(const RootRmsPropValues& h, const StepContext& step) {
    const double correction = h.bias_correction == 0.0 ? 1.0 : 1.0 / bias_of(h.rms_decay, step.t());
    return {h.rms_decay, 1.0 - h.rms_decay, correction, h.epsilon_root, h.epsilon};
  }

  /// x; state: s, and a where it is centred.
  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average_of_squares(c.rms_decay, c.one_minus_rms_decay, state[0], g);
    V spread = c.correction * state[0];
    if constexpr (centered) {
      state[1] = moving_average(c.rms_decay, c.one_minus_rms_decay, state[1], g);
      const V mean = c.correction * state[1];
      spread = max(V::zero(), spread - mean * mean);
    }
    return g / (sqrt(spread + c.root) + c.epsilon);
  }
};

template <bool centered>
struct RmsPropForm {
  using Values = RootRmsPropValues;
  template <class X>
  struct Constants {
    typename RmsPropStep<centered>::template Constants<X> step;
    X learning_rate;
  };

  static constexpr bool never_negative(std::size_t array) { return array == 0; }
  static double initial_state(std::size_t array, const Values& h, const OrderRules&) {
    return array == 0 ? h.initial_accumulator : 0.0;
  }

  static Constants<double> constants(const Values& h, const StepContext& step) {
    return {RmsPropStep<centered>::constants(h, step), h.learning_rate};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    return c.learning_rate * RmsPropStep<centered>::apply(g, state, c.step);
  }
};

template <bool centered>
struct MomentumRmsPropForm {
  using Values = MomentumRmsPropValues;
  template <class X>
  struct Constants {
    typename RmsPropStep<centered>::template Constants<X> step;
    X momentum;
    X in;
    X of_velocity;
    X of_step;
  };

  static constexpr bool never_negative(std::size_t array) { return array == 0; }
  static double initial_state(std::size_t array, const Values& h, const OrderRules&) {
    return array == 0 ? h.initial_accumulator : 0.0;
  }

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const Velocity velocity(h.learning_rate, h.momentum, h.nesterov != 0.0,
                            h.rate_in_velocity != 0.0);
    return {RmsPropStep<centered>::constants(h, step), h.momentum, velocity.in,
            velocity.of_velocity, velocity.of_step};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    constexpr std::size_t place = centered ? 2 : 1;
    const V x = RmsPropStep<centered>::apply(g, state, c.step);
    state[place] = fma(c.momentum, state[place], c.in * x);
    return fma(c.of_step, x, c.of_velocity * state[place]);
  }
};

struct RootRmsProp : RmsPropForm<false> {
  static constexpr std::string_view name = "RootRmsProp";
  static constexpr HyperParameter hyper_parameters[] = {learning_rate(0.01),
                                                        decay("rms_decay", 0.9),
                                                        epsilon(0.0),
                                                        amount("epsilon_root", 1e-8),
                                                        amount("initial_accumulator", 0.0),
                                                        flag("bias_correction", false)};
  static constexpr StateNames<1> state_names{{"s"}};
};

struct CenteredRmsProp : RmsPropForm<true> {
  static constexpr std::string_view name = "CenteredRmsProp";
  static constexpr HyperParameter hyper_parameters[] = {learning_rate(0.01),
                                                        decay("rms_decay", 0.99),
                                                        epsilon(1e-8),
                                                        amount("epsilon_root", 0.0),
                                                        amount("initial_accumulator", 0.0),
                                                        flag("bias_correction", false)};
  static constexpr StateNames<2> state_names{{"s", "a"}};
};

struct MomentumRmsProp : MomentumRmsPropForm<false> {
  static constexpr std::string_view name = "MomentumRmsProp";
  static constexpr HyperParameter hyper_parameters[] = {learning_rate(0.01),
                                                        decay("rms_decay", 0.99),
                                                        epsilon(1e-8),
                                                        amount("epsilon_root", 0.0),
                                                        amount("initial_accumulator", 0.0),
                                                        flag("bias_correction", false),
                                                        momentum(0.9),
                                                        flag("nesterov", false),
                                                        flag("rate_in_velocity", false)};
  static constexpr StateNames<2> state_names{{"s", "b"}};
};

struct CenteredMomentumRmsProp : MomentumRmsPropForm<true> {
  static constexpr std::string_view name = "CenteredMomentumRmsProp";
  static constexpr const auto& hyper_parameters = MomentumRmsProp::hyper_parameters;
  static constexpr StateNames<3> state_names{{"s", "a", "b"}};
};

}  // namespace flatstep
