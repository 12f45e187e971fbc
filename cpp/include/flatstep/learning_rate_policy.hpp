// Learning-rate policies: how DL4J 0.8 changes a slot's learning rate from one step to the next.
//
// Unlike a schedule a policy compounds: each call changes the rate that the last call left, and the
// rate is part of the state. r is decay_rate, it the iteration:
//
//   Exponential  lr ← lr·r^it
//   Inverse      lr ← lr/(1+r·it)^power
//   Step         lr ← lr·r^⌊it/steps⌋
//   TorchStep    lr ← lr·r if it > 1 and steps is a multiple of it
//   Poly         lr ← lr·(1−it/num_iterations)^power, 0 from num_iterations on
//   Sigmoid      lr ← lr/(1+e^(−r(it−steps)))
//   Schedule     lr ← schedule[it] where it has the key
//   Score        lr ← lr·(r + 1e-5) after a step whose score hardly differs from the one before
//
// These are the formulas of DL4J 0.8 to the letter. It has no rule for Poly beyond num_iterations,
// where its power of a negative number is NaN; here the rate stays 0.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>

#include <flatstep/schedule.hpp>
#include <flatstep/text.hpp>

namespace flatstep {

struct LearningRatePolicy {
  enum class Kind { None, Exponential, Inverse, Step, TorchStep, Poly, Sigmoid, Schedule, Score };

  Kind kind = Kind::None;
  double decay_rate = 0.0;
  double power = 0.0;
  double steps = 0.0;
  double num_iterations = 0.0;
  std::map<std::int64_t, double> schedule{};

  /// The rate that step `iteration` uses, from the rate that the step before it left.
  double next(double learning_rate, std::int64_t iteration) const {
    const auto it = static_cast<double>(iteration);
    switch (kind) {
      case Kind::None:
      case Kind::Score:
        return learning_rate;
      case Kind::Exponential:
        return learning_rate * real_power(decay_rate, it);
      case Kind::Inverse:
        return learning_rate / real_power(1.0 + decay_rate * it, power);
      case Kind::Step:
        return learning_rate * real_power(decay_rate, std::floor(it / steps));
      case Kind::TorchStep:
        return iteration > 1 && std::fmod(steps, it) == 0.0 ? learning_rate * decay_rate
                                                            : learning_rate;
      case Kind::Poly:
        return it < num_iterations ? learning_rate * real_power(1.0 - it / num_iterations, power)
                                   : 0.0;
      case Kind::Sigmoid:
        return learning_rate / (1.0 + std::exp(-decay_rate * (it - steps)));
      case Kind::Schedule: {
        const auto point = schedule.find(iteration);
        return point == schedule.end() ? learning_rate : point->second;
      }
    }
    return learning_rate;
  }

  /// What "Score" makes of a rate once the score has stopped getting better. The addend is ND4J's
  /// EPS_THRESHOLD, a float.
  double after_score(double learning_rate) const {
    return learning_rate * (decay_rate + static_cast<double>(1e-5F));
  }

  friend bool operator==(const LearningRatePolicy&, const LearningRatePolicy&) = default;
};

/// In the order of LearningRatePolicy::Kind.
inline constexpr std::array<std::string_view, 9> learning_rate_policy_names{
    "None", "Exponential", "Inverse", "Step", "TorchStep", "Poly", "Sigmoid", "Schedule", "Score"};

inline std::string_view to_string(LearningRatePolicy::Kind kind) {
  return learning_rate_policy_names[static_cast<std::size_t>(kind)];
}
inline LearningRatePolicy::Kind parse_learning_rate_policy(std::string_view name) {
  return static_cast<LearningRatePolicy::Kind>(
      text::place("learning-rate policy", learning_rate_policy_names, name));
}

/// Throws std::invalid_argument where the policy's formula cannot take its arguments.
inline void validate(const LearningRatePolicy& policy) {
  using Kind = LearningRatePolicy::Kind;
  const auto require = [&](bool valid, std::string_view argument, std::string_view expected,
                           double got) {
    if (valid) return;
    throw std::invalid_argument("LearningRatePolicy " + text::quoted(to_string(policy.kind)) +
                                ": " + std::string(argument) + ": expected " +
                                std::string(expected) + ", got " + text::number(got));
  };
  const auto not_negative = [](double x) { return std::isfinite(x) && x >= 0.0; };
  const auto positive = [](double x) { return std::isfinite(x) && x > 0.0; };
  const auto decay_rate_not_negative = [&] {
    require(not_negative(policy.decay_rate), "decay_rate", "a finite number >= 0",
            policy.decay_rate);
  };
  switch (policy.kind) {
    case Kind::None:
      break;
    case Kind::Exponential:
    case Kind::Score:
      decay_rate_not_negative();
      break;
    case Kind::Inverse:
      decay_rate_not_negative();
      require(std::isfinite(policy.power), "power", "a finite number", policy.power);
      break;
    case Kind::Step:
    case Kind::TorchStep:
      decay_rate_not_negative();
      require(positive(policy.steps), "steps", "a finite number > 0", policy.steps);
      break;
    case Kind::Poly:
      require(not_negative(policy.power), "power", "a finite number >= 0", policy.power);
      require(positive(policy.num_iterations), "num_iterations", "a finite number > 0",
              policy.num_iterations);
      break;
    case Kind::Sigmoid:
      require(std::isfinite(policy.decay_rate), "decay_rate", "a finite number", policy.decay_rate);
      require(std::isfinite(policy.steps), "steps", "a finite number", policy.steps);
      break;
    case Kind::Schedule:
      if (policy.schedule.empty()) {
        throw std::invalid_argument(
            "LearningRatePolicy \"Schedule\": schedule: expected at least one iteration, got "
            "none; give {iteration: learning rate}");
      }
      for (const auto& [iteration, rate] : policy.schedule) {
        require(iteration >= 0, "schedule", "iterations >= 0 as keys",
                static_cast<double>(iteration));
        require(not_negative(rate), "schedule[" + std::to_string(iteration) + "]",
                "a finite number >= 0", rate);
      }
      break;
  }
}

}  // namespace flatstep
