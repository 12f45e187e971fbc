// Lamb: u = r·x, x = lr·m̂/(√(v̂ + ε_root) + ε) and its decay lr·λ·p; m, v, m̂, v̂ as Adam.
//
// The trust ratio makes the update as long as lr·‖p‖: r = lr·‖p‖/‖x‖, 1 where either norm is 0. The
// norms are over a whole parameter, so the step is split (step/split_step.hpp). With `decay_first`
// the parameter is decayed before its norm is taken, and x has no decay: u = r·x + lr·λ·p,
// r = lr·|1 − lr·λ|·‖p‖/‖x‖. λ is the weight decay of the configuration.
// State: m, v, from 0. Rounding: RootAdam's, one more for r.
// Source: You et al. 2019, https://arxiv.org/abs/1904.00962; with `decay_first` Keras' Lamb.
#pragma once

#include <flatstep/updaters/root_adam.hpp>

namespace flatstep {

struct Lamb {
  static constexpr std::string_view name = "Lamb";
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(1e-3), moving_decay("beta1", 0.9),  decay("beta2", 0.999),
      epsilon(1e-6),       amount("epsilon_root", 0.0), flag("decay_first", false)};
  static constexpr StateNames<2> state_names{{"m", "v"}};
  static constexpr bool never_negative(std::size_t array) { return array == 1; }
  struct Values : AdamValues {
    double epsilon_root;
    double decay_first;
  };
  template <class X>
  using Constants = RootAdam::Constants<X>;

  static Constants<double> constants(const Values& h, const StepContext& step) {
    return RootAdam::divided(h, h.epsilon_root, h.learning_rate / bias_of(h.beta1, step.t()), 0.0,
                             bias_of(h.beta2, step.t()));
  }

  static Trusted trusts(const Values& h) {
    return h.decay_first != 0.0 ? Trusted::direction : Trusted::update;
  }
  /// @param decay what the step takes of the parameter besides
  static double trust_ratio(const Values& h, double decay, double parameter_norm, double norm) {
    const double left = h.decay_first != 0.0 ? __builtin_fabs(1.0 - decay) : 1.0;
    return norm_ratio(left * parameter_norm, norm, h.learning_rate);
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    return RootAdam::apply(g, state, c);
  }
};

}  // namespace flatstep
