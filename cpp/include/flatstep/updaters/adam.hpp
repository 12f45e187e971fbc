// Adam: m = β1m + (1−β1)g; v = β2v + (1−β2)g²; α = lr·√(1−β2ᵗ)/(1−β1ᵗ); u = α·m/(√v + ε).
//
// State: m, v, from 0. ε stands outside the bias correction, as in DL4J and in the paper's section
// 2 (so the same ε weighs more than PyTorch's, by 1/√(1−β2ᵗ)). Under dl4j-0.8 α becomes ε where it
// is 0 or NaN. Rounding: m two, v three, u four (product, root, sum, quotient). Source: DL4J's
// Adam; Kingma and Ba 2015, https://arxiv.org/abs/1412.6980.
#pragma once

#include <flatstep/updaters/updater.hpp>

namespace flatstep {

/// What Adam, AMSGrad, AdaMax, Nadam and AdaBelief are configured by.
struct AdamValues {
  double learning_rate;
  double beta1;
  double beta2;
  double epsilon;
};

struct Adam {
  static constexpr std::string_view name = "Adam";
  static constexpr HyperParameter hyper_parameters[] = {learning_rate(1e-3), decay("beta1", 0.9),
                                                        decay("beta2", 0.999), epsilon(1e-8)};
  static constexpr StateNames<2> state_names{{"m", "v"}};
  using Values = AdamValues;
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X beta2;
    X one_minus_beta2;
    X alpha;
    X epsilon;
  };

  static Constants<double> corrected(const Values& h, const StepContext& step) {
    const double alpha = h.learning_rate * __builtin_sqrt(1.0 - power(h.beta2, step.t())) /
                         (1.0 - power(h.beta1, step.t()));
    return {h.beta1, 1.0 - h.beta1, h.beta2, 1.0 - h.beta2, alpha, h.epsilon};
  }

  static Constants<double> constants(const Values& h, const StepContext& step) {
    Constants<double> c = corrected(h, step);
    const bool vanished = c.alpha == 0.0 || __builtin_isnan(c.alpha);
    if (step.rules.alpha_falls_back && vanished) c.alpha = h.epsilon;
    return c;
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[1] = moving_average_of_squares(c.beta2, c.one_minus_beta2, state[1], g);
    return (c.alpha * state[0]) / (sqrt(state[1]) + c.epsilon);
  }
};

}  // namespace flatstep
