// AdEMAMix: m, v as Adam; m_slow = β3·m_slow + (1−β3)·g;
//           u = lr·(m/(1−β1ᵗ) + α·m_slow)/(√(v̂ + ε_root) + ε), v̂ = v/(1−β2ᵗ).
//
// The slow average is not corrected for its bias, so that it comes in slowly. β3 and α may follow
// schedules. In the loop the corrections are in the constants, as in RootAdam.
// State: m, m_slow, v, from 0. Rounding: m and m_slow two, v three, u six.
// Source: Pagliardini, Ablin and Grangier 2024, https://arxiv.org/abs/2409.03137; optax's ademamix.
#pragma once

#include <flatstep/updaters/adam.hpp>

namespace flatstep {

struct AdEMAMix {
  static constexpr std::string_view name = "AdEMAMix";
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(1e-3),           moving_decay("beta1", 0.9),
      decay("beta2", 0.999),         epsilon(1e-8),
      moving_decay("beta3", 0.9999), {"alpha", 5.0, 0.0, unbounded, true, false, Role::scheduled},
      amount("epsilon_root", 0.0)};
  static constexpr StateNames<3> state_names{{"m", "m_slow", "v"}};
  static constexpr bool never_negative(std::size_t array) { return array == 2; }
  struct Values : AdamValues {
    double beta3;
    double alpha;
    double epsilon_root;
  };
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X beta2;
    X one_minus_beta2;
    X beta3;
    X one_minus_beta3;
    X of_fast;
    X of_slow;
    X root;
    X epsilon;
  };

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const double bias = bias_of(h.beta2, step.t());
    const double root = __builtin_sqrt(bias);
    const double rate = h.learning_rate * root;
    return {h.beta1,
            1.0 - h.beta1,
            h.beta2,
            1.0 - h.beta2,
            h.beta3,
            1.0 - h.beta3,
            rate / bias_of(h.beta1, step.t()),
            rate * h.alpha,
            h.epsilon_root * bias,
            h.epsilon * root};
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[1] = moving_average(c.beta3, c.one_minus_beta3, state[1], g);
    state[2] = moving_average_of_squares(c.beta2, c.one_minus_beta2, state[2], g);
    return fma(c.of_slow, state[1], c.of_fast * state[0]) / (sqrt(state[2] + c.root) + c.epsilon);
  }
};

}  // namespace flatstep
