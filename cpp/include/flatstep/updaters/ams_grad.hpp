// AMSGrad: m, v and α as Adam; v̂ = max(v̂, v); u = α·m/(√v̂ + ε).
//
// State: m, v, v_hat, from 0. Flags and rounding: as Adam; the maximum is exact.
// Source: DL4J's AMSGrad; Reddi, Kale and Kumar 2018, https://arxiv.org/abs/1904.09237 (with Adam's
// bias correction, which the paper leaves out).
#pragma once

#include <flatstep/updaters/adam.hpp>

namespace flatstep {

struct AMSGrad {
  static constexpr std::string_view name = "AMSGrad";
  static constexpr const auto& hyper_parameters = Adam::hyper_parameters;
  static constexpr StateNames<3> state_names{{"m", "v", "v_hat"}};
  static constexpr bool keeps_maximum(std::size_t array) { return array == 2; }
  static constexpr bool never_negative(std::size_t array) { return array >= 1; }
  using Values = CorrectedAdamValues;
  template <class X>
  using Constants = Adam::Constants<X>;

  static Constants<double> constants(const Values& h, const StepContext& step) {
    // Adam's rule for a vanished α belongs to Adam alone: DL4J 0.8 had no AMSGrad.
    return Adam::corrected(h, step);
  }

  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = moving_average(c.beta1, c.one_minus_beta1, state[0], g);
    state[1] = moving_average_of_squares(c.beta2, c.one_minus_beta2, state[1], g);
    state[2] = max(state[2], state[1]);
    return (c.alpha * state[0]) / (sqrt(state[2]) + c.epsilon);
  }
};

}  // namespace flatstep
