// ScheduleFreeAdamW: y = β1·x + (1−β1)·z is the parameter, x the average of all z.
//
//   v = β2·v + (1−β2)·g²;  d = rate·(g/(√(v/(1−β2ᵗ)) + ε) + λ·y);  z' = z − d;  x' = (1−c)·x + c·z'
//
// As x = (y − (1−β1)·z)/β1 is not stored, u = y − y' = c·(y − z) + (1 − β1·(1−c))·d. With `weights`
// "equal", Keras', c = 1/t, and y is decayed by lr·λ before all else, d without it. With "rate",
// optax', c = wₜ/(w₁ + … + wₜ), wₜ = warmₜ^weight_power: the weight of the rate so far, if no other
// rate than that of the warm-up changes. rate = lr·warm, warmₜ = min(1, t/n) over n warm-up steps; of
// step t−1 with "rate", whose weights look one step ahead.
// State: z, from the parameter; v, from 0. Rounding: v three, d four, u three.
// Source: Defazio et al. 2024, https://arxiv.org/abs/2405.15682, as optax and Keras have it.
#pragma once

#include <flatstep/updaters/updater.hpp>

namespace flatstep {

struct ScheduleFreeAdamW {
  static constexpr std::string_view name = "ScheduleFreeAdamW";
  static constexpr std::string_view weightings[] = {"rate", "equal"};
  static constexpr HyperParameter hyper_parameters[] = {
      learning_rate(2.5e-3),         decay("beta1", 0.9),
      decay("beta2", 0.999),         epsilon(1e-8),
      amount("weight_decay", 0.0),   amount("warmup_steps", 0.0),
      choice("weights", weightings), amount("weight_power", 2.0)};
  static constexpr StateNames<2> state_names{{"z", "v"}};
  static constexpr bool never_negative(std::size_t array) { return array == 1; }
  static constexpr bool reads_parameter = true;
  static constexpr bool starts_at_parameter(std::size_t array) { return array == 0; }
  struct Values {
    double learning_rate;
    double beta1;
    double beta2;
    double epsilon;
    double weight_decay;
    double warmup_steps;
    double weights;
    double weight_power;
  };
  template <class X>
  struct Constants {
    X beta2;
    X one_minus_beta2;
    X epsilon;
    X of_gradient;
    X of_decay;
    X of_parameter;
    X of_z;
    X of_step;
  };

  static Constants<double> constants(const Values& h, const StepContext& step) {
    const bool equal = h.weights != 0.0;
    const std::uint64_t t = step.t();
    const double rate = h.learning_rate * warm(h, static_cast<double>(equal ? t : t - 1));
    const double share = equal ? 1.0 / static_cast<double>(t) : share_of(h, t);
    const double root = __builtin_sqrt(bias_of(h.beta2, t));
    const double decayed = equal ? h.learning_rate * h.weight_decay : 0.0;
    return {h.beta2,
            1.0 - h.beta2,
            h.epsilon * root,
            rate * root,
            equal ? 0.0 : rate * h.weight_decay,
            share + (1.0 - share) * decayed,
            share,
            (1.0 - h.beta1) + h.beta1 * share};
  }

  /// x = (y − (1−β1)·z)/β1, which a β1 of 0 has lost.
  static EvaluationPoint evaluation_point(const Values& h) {
    if (h.beta1 == 0.0) return {1.0, 0.0};
    return {1.0 / h.beta1, (h.beta1 - 1.0) / h.beta1};
  }

  template <class V>
  static V apply(V g, V p, V* state, const Constants<V>& c) {
    state[1] = moving_average_of_squares(c.beta2, c.one_minus_beta2, state[1], g);
    const V d = fma(c.of_decay, p, (c.of_gradient * g) / (sqrt(state[1]) + c.epsilon));
    const V u = fma(c.of_step, d, fma(c.of_parameter, p, V::zero() - c.of_z * state[0]));
    state[0] = state[0] - d;
    return u;
  }

 private:
  static double warm(const Values& h, double steps) {
    return steps < h.warmup_steps ? steps / h.warmup_steps : 1.0;
  }

  /// wₜ over the sum of all until then; 0 where that is 0.
  static double share_of(const Values& h, std::uint64_t t) {
    const double steps = static_cast<double>(t);
    const double last = h.warmup_steps > 0.0 ? __builtin_ceil(h.warmup_steps) - 1.0 : 0.0;
    const double rising = steps < last ? steps : last;
    const double sum = sum_of_powers(h, rising) + (steps - rising);
    return sum != 0.0 ? weight_at(h, steps) / sum : 0.0;
  }

  static double weight_at(const Values& h, double k) {
    return __builtin_pow(warm(h, k), h.weight_power);
  }

  /// Σ (k/n)^power for k = 1 to m < n: some terms as they are, the rest by Euler and Maclaurin, whose
  /// first term left out is beyond the digits of a double.
  static double sum_of_powers(const Values& h, double m) {
    constexpr int terms = 31;
    constexpr double first = terms + 1.0;
    double sum = 0.0;
    for (int k = 1; k <= terms && k <= m; ++k) sum += weight_at(h, k);
    if (m < first) return sum;
    const double power = h.weight_power;
    const double low = weight_at(h, first);
    const double high = weight_at(h, m);
    sum += (m * high - first * low) / (power + 1.0) + 0.5 * (low + high);
    // B₂ⱼ/(2j)!, and the derivative of order 2j−1.
    constexpr double coefficients[] = {1.0 / 12, -1.0 / 720, 1.0 / 30240, -1.0 / 1209600,
                                       1.0 / 47900160};
    double of_low = power * low / first;
    double of_high = power * high / m;
    double order = 1.0;
    for (const double coefficient : coefficients) {
      sum += coefficient * (of_high - of_low);
      const double falling = (power - order) * (power - order - 1.0);
      of_low *= falling / (first * first);
      of_high *= falling / (m * m);
      order += 2.0;
    }
    return sum;
  }
};

}  // namespace flatstep
