// RAdam: m, v as Adam; ρ∞ = 2/(1−β2) − 1, ρₜ = ρ∞ − 2t·β2ᵗ/(1−β2ᵗ);
//        ρₜ > threshold: u = lr·r·m̂·√(1−β2ᵗ)/(√v + ε), r = √((ρₜ−4)(ρₜ−2)ρ∞/((ρ∞−4)(ρ∞−2)ρₜ));
//        else            u = lr·m̂.
//
// m̂ = m/(1−β1ᵗ); with `nesterov` it looks ahead, as in RootAdam. With `corrected_epsilon` the
// divisor is √(v/(1−β2ᵗ) + ε_root) + ε, as in optax. Which of the two it is depends on t alone, so it
// is a matter of constants: u = (a·m + b·g)/(κ·√(v + root) + ε), κ = 0 and ε = 1 at first.
// State: m, v, from 0. Rounding: m two, v three, u six.
// Source: PyTorch's RAdam; Liu et al. 2019, https://arxiv.org/abs/1908.03265.
#pragma once

#include <flatstep/updaters/adam.hpp>

namespace flatstep {

struct RAdam {
  static constexpr std::string_view name = "RAdam";
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(1e-3),     moving_decay("beta1", 0.9),      decay("beta2", 0.999),
      epsilon(1e-8),           amount("epsilon_root", 0.0),     amount("threshold", 5.0),
      flag("nesterov", false), flag("corrected_epsilon", false)};
  static constexpr StateNames<2> state_names{{"m", "v"}};
  static constexpr bool never_negative(std::size_t array) { return array == 1; }
  struct Values : AdamValues {
    double epsilon_root;
    double threshold;
    double nesterov;
    double corrected_epsilon;
  };
  template <class X>
  struct Constants {
    X beta1;
    X one_minus_beta1;
    X beta2;
    X one_minus_beta2;
    X of_moment;
    X of_gradient;
    X root;
    X of_root;
    X epsilon;
  };

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const LookAhead ahead(h.learning_rate, h.beta1, step.t(), h.nesterov);
    const double decayed = power(h.beta2, step.t());
    const double bias = 1.0 - decayed;
    const double longest = 2.0 / (1.0 - h.beta2) - 1.0;
    const double length = longest - 2.0 * static_cast<double>(step.t()) * decayed / bias;
    Constants<double> c{
        h.beta1, 1.0 - h.beta1, h.beta2, 1.0 - h.beta2, ahead.of_moment, ahead.of_gradient,
        0.0,     0.0,           1.0};
    if (!(length > h.threshold)) return c;
    const double rectified = __builtin_sqrt((length - 4.0) * (length - 2.0) * longest /
                                            ((longest - 4.0) * (longest - 2.0) * length) * bias);
    c.of_moment *= rectified;
    c.of_gradient *= rectified;
    c.of_root = 1.0;
    const bool corrected = h.corrected_epsilon != 0.0;
    c.root = corrected ? h.epsilon_root * bias : h.epsilon_root;
    c.epsilon = corrected ? h.epsilon * __builtin_sqrt(bias) : h.epsilon;
    return c;
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[1] = moving_average_of_squares(c.beta2, c.one_minus_beta2, state[1], g);
    return fma(c.of_gradient, g, c.of_moment * state[0]) /
           fma(c.of_root, sqrt(state[1] + c.root), c.epsilon);
  }
};

}  // namespace flatstep
