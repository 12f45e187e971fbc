// The forms of schedules that are functions of i alone: each has its arguments, what they must be
// (`validate`), its value (`at`), and the values that it was made from (`given_values`).
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <numbers>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <flatstep/schedule/check.hpp>
#include <flatstep/text.hpp>
#include <flatstep/updaters/updater.hpp>

namespace flatstep {

/// base^exponent: by squaring where the exponent is integral, by the C library elsewhere.
inline double real_power(double base, double exponent) {
  constexpr double exact_integers = 9007199254740992.0;  // 2^53
  const double magnitude = std::fabs(exponent);
  if (magnitude < exact_integers && std::floor(magnitude) == magnitude) {
    const double result = power(base, static_cast<std::uint64_t>(magnitude));
    return exponent < 0.0 ? 1.0 / result : result;
  }
  return std::pow(base, exponent);
}

/// How a value goes from one to another: along half a cosine, a straight line, or 1 − √.
enum class Anneal { cosine, linear, sqrt };

inline constexpr std::array<std::string_view, 3> anneal_names{"cos", "linear", "sqrt"};
/// Those of OneCycle.
inline constexpr auto one_cycle_anneal_names = std::span(anneal_names).first<2>();

inline std::string_view to_string(Anneal anneal) {
  return anneal_names[static_cast<std::size_t>(anneal)];
}

namespace schedules {

using Points = std::map<std::int64_t, double>;

inline double ratio(std::int64_t part, std::int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

/// The straight line through (0, initial) and (steps, final), exact at both ends.
inline double line(double initial, double final, std::int64_t i, std::int64_t steps) {
  return initial * ratio(steps - i, steps) + final * ratio(i, steps);
}

struct Fixed {
  double value;
  void validate() const { require_finite("FixedSchedule", "value", value); }
  double at(std::int64_t) const { return value; }
  std::vector<double> given_values() const { return {value}; }
  friend bool operator==(const Fixed&, const Fixed&) = default;
};

struct Exponential {
  double initial, gamma;
  void validate() const {
    constexpr auto name = "ExponentialSchedule";
    require_finite(name, "initial", initial);
    require_not_negative(name, "gamma", gamma);
  }
  double at(std::int64_t i) const { return initial * power(gamma, static_cast<std::uint64_t>(i)); }
  std::vector<double> given_values() const { return {initial}; }
  friend bool operator==(const Exponential&, const Exponential&) = default;
};

struct Inverse {
  double initial, gamma, power;
  void validate() const {
    constexpr auto name = "InverseSchedule";
    require_finite(name, "initial", initial);
    require_not_negative(name, "gamma", gamma);
    require_finite(name, "power", power);
  }
  double at(std::int64_t i) const {
    return initial / real_power(1.0 + gamma * static_cast<double>(i), power);
  }
  std::vector<double> given_values() const { return {initial}; }
  friend bool operator==(const Inverse&, const Inverse&) = default;
};

struct Step {
  double initial, decay_rate, step;
  void validate() const {
    constexpr auto name = "StepSchedule";
    require_finite(name, "initial", initial);
    require_not_negative(name, "decay_rate", decay_rate);
    require_positive(name, "step", step);
  }
  double at(std::int64_t i) const {
    return initial * real_power(decay_rate, std::floor(static_cast<double>(i) / step));
  }
  std::vector<double> given_values() const { return {initial}; }
  friend bool operator==(const Step&, const Step&) = default;
};

struct Poly {
  double initial, power;
  std::int64_t max_iter;
  void validate() const {
    constexpr auto name = "PolySchedule";
    require_finite(name, "initial", initial);
    require_not_negative(name, "power", power);
    require_at_least(name, "max_iter", max_iter, 1);
  }
  double at(std::int64_t i) const {
    if (i >= max_iter) return 0.0;
    return initial * real_power(1.0 - ratio(i, max_iter), power);
  }
  std::vector<double> given_values() const { return {initial}; }
  friend bool operator==(const Poly&, const Poly&) = default;
};

struct Sigmoid {
  double initial, gamma, step;
  void validate() const {
    constexpr auto name = "SigmoidSchedule";
    require_finite(name, "initial", initial);
    require_finite(name, "gamma", gamma);
    require_finite(name, "step", step);
  }
  double at(std::int64_t i) const {
    return initial / (1.0 + std::exp(-gamma * (static_cast<double>(i) - step)));
  }
  std::vector<double> given_values() const { return {initial}; }
  friend bool operator==(const Sigmoid&, const Sigmoid&) = default;
};

/// Keys are iterations or epochs; the first must be 0, as there is no value before it.
struct Map {
  Points values;
  void validate() const {
    const std::string name = "MapSchedule";
    if (values.empty() || values.begin()->first != 0) {
      const std::string got =
          values.empty() ? "no keys" : "smallest key " + std::to_string(values.begin()->first);
      throw std::invalid_argument(name + ": values: expected key 0 and no smaller one, got " + got +
                                  "; add {0: value}, the value before the next key");
    }
    for (const auto& [key, value] : values) {
      require_finite(name, "values[" + std::to_string(key) + "]", value);
    }
  }
  double at(std::int64_t i) const { return std::prev(values.upper_bound(i))->second; }
  std::vector<double> given_values() const {
    std::vector<double> all;
    for (const auto& point : values) all.push_back(point.second);
    return all;
  }
  friend bool operator==(const Map&, const Map&) = default;
};

struct Cycle {
  double initial, max;
  std::int64_t cycle_length, annealing_length;
  double annealing_decay;
  void validate() const {
    constexpr auto name = "CycleSchedule";
    require_finite(name, "initial", initial);
    require_finite(name, "max", max);
    require_at_least(name, "annealing_length", annealing_length, 0);
    require_at_least(name, "cycle_length", cycle_length, 2);
    if (cycle_length - annealing_length < 2) {
      refuse(name, "annealing_length",
             "at most cycle_length - 2 = " + std::to_string(cycle_length - 2),
             std::to_string(annealing_length));
    }
    require_positive(name, "annealing_decay", annealing_decay);
  }
  double at(std::int64_t i) const {
    const std::int64_t c = i % cycle_length;
    const std::int64_t rising = (cycle_length - annealing_length) / 2;
    const double increment = (max - initial) / static_cast<double>(rising);
    if (c < rising) return initial + increment * static_cast<double>(c);
    if (c < 2 * rising) return max - increment * static_cast<double>(c - rising);
    return initial *
           real_power(annealing_decay, static_cast<double>(c - (cycle_length - annealing_length)));
  }
  std::vector<double> given_values() const { return {initial, max}; }
  friend bool operator==(const Cycle&, const Cycle&) = default;
};

struct Cosine {
  double initial, final;
  std::int64_t max_iter;
  void validate() const {
    constexpr auto name = "CosineSchedule";
    require_finite(name, "initial", initial);
    require_at_least(name, "max_iter", max_iter, 1);
    require_finite(name, "final", final);
  }
  double at(std::int64_t i) const {
    if (i >= max_iter) return final;
    const double angle = std::numbers::pi * ratio(i, max_iter);
    return final + (initial - final) * (0.5 * (1.0 + std::cos(angle)));
  }
  std::vector<double> given_values() const { return {initial, final}; }
  friend bool operator==(const Cosine&, const Cosine&) = default;
};

struct CosineRestarts {
  double initial, final;
  std::int64_t first, multiplier;
  void validate() const {
    constexpr auto name = "CosineRestartsSchedule";
    require_finite(name, "initial", initial);
    require_at_least(name, "first", first, 1);
    require_at_least(name, "multiplier", multiplier, 1);
    require_finite(name, "final", final);
  }
  double at(std::int64_t i) const {
    double length = static_cast<double>(first);
    if (multiplier == 1) {
      i %= first;
    } else {
      constexpr std::int64_t longest = std::numeric_limits<std::int64_t>::max();
      for (std::int64_t cycle = first; i >= cycle;) {
        i -= cycle;
        length *= static_cast<double>(multiplier);
        if (cycle > longest / multiplier) break;  // what is left is within a cycle of that length
        cycle *= multiplier;
      }
    }
    const double angle = std::numbers::pi * static_cast<double>(i) / length;
    return final + (initial - final) * (1.0 + std::cos(angle)) / 2.0;
  }
  std::vector<double> given_values() const { return {initial, final}; }
  friend bool operator==(const CosineRestarts&, const CosineRestarts&) = default;
};

struct Linear {
  double initial, final;
  std::int64_t steps;
  void validate() const {
    constexpr auto name = "LinearSchedule";
    require_finite(name, "initial", initial);
    require_finite(name, "final", final);
    require_at_least(name, "steps", steps, 1);
  }
  double at(std::int64_t i) const { return i < steps ? line(initial, final, i, steps) : final; }
  std::vector<double> given_values() const { return {initial, final}; }
  friend bool operator==(const Linear&, const Linear&) = default;
};

/// The shape of PyTorch's OneCycleLR: from `start` to `peak`, and on to `end`; with three phases
/// back to `start` first. Every operation is PyTorch's, in its order: near `end`, which may be 10⁻⁶
/// of `peak`, another order is another value in the tenth digit.
struct OneCycle {
  double start, peak, end;
  std::int64_t total_steps;
  double pct_start;
  Anneal anneal;
  bool three_phase;

  void validate(std::string_view name) const {
    require_at_least(name, "total_steps", total_steps, 1);
    require_fraction(name, "pct_start", pct_start);
    if (anneal != Anneal::cosine && anneal != Anneal::linear) {
      refuse(name, "anneal_strategy", "one of \"cos\", \"linear\"",
             text::quoted(to_string(anneal)));
    }
  }
  double at(std::int64_t i) const {
    if (i >= total_steps) return end;
    const double n = static_cast<double>(total_steps);
    const double step = static_cast<double>(i);
    const double up = pct_start * n - 1.0;
    const double last = n - 1.0;
    if (step <= up) return between(start, peak, step, 0.0, up);
    if (!three_phase) return between(peak, end, step, up, last);
    const double down = 2.0 * pct_start * n - 2.0;
    if (step <= down) return between(peak, start, step, up, down);
    return between(start, end, step, down, last);
  }
  std::vector<double> given_values() const { return {start, peak, end}; }
  friend bool operator==(const OneCycle&, const OneCycle&) = default;

 private:
  double between(double from, double to, double step, double begin, double stop) const {
    if (stop == begin) return to;  // a phase of one step: its end
    const double part = (step - begin) / (stop - begin);
    if (anneal == Anneal::linear) return (to - from) * part + from;
    return to + (from - to) / 2.0 * (std::cos(std::numbers::pi * part) + 1.0);
  }
};

struct WarmupStableDecay {
  double initial, max_rate, final;
  std::int64_t warmup_steps, stable_steps, decay_steps;
  Anneal anneal;

  void validate() const {
    constexpr auto name = "WarmupStableDecaySchedule";
    require_finite(name, "max_rate", max_rate);
    require_at_least(name, "warmup_steps", warmup_steps, 0);
    require_at_least(name, "stable_steps", stable_steps, 0);
    require_at_least(name, "decay_steps", decay_steps, 1);
    require_finite(name, "initial", initial);
    require_finite(name, "final", final);
  }
  double at(std::int64_t i) const {
    if (i < warmup_steps) return line(initial, max_rate, i, warmup_steps);
    i -= warmup_steps;
    if (i < stable_steps) return max_rate;
    i -= stable_steps;
    if (i >= decay_steps) return final;
    if (anneal == Anneal::linear) return line(max_rate, final, i, decay_steps);
    const double part = ratio(i, decay_steps);
    const double left = anneal == Anneal::sqrt ? 1.0 - std::sqrt(part)
                                               : 0.5 * (1.0 + std::cos(std::numbers::pi * part));
    return final + (max_rate - final) * left;
  }
  std::vector<double> given_values() const { return {initial, max_rate, final}; }
  friend bool operator==(const WarmupStableDecay&, const WarmupStableDecay&) = default;
};

struct Table {
  std::vector<double> values;
  void validate() const {
    constexpr auto name = "TableSchedule";
    if (values.empty()) refuse(name, "values", "at least one number", "none");
    for (std::size_t i = 0; i < values.size(); ++i) {
      require_finite(name, "values[" + std::to_string(i) + "]", values[i]);
    }
  }
  double at(std::int64_t i) const {
    return values[std::min(static_cast<std::size_t>(i), values.size() - 1)];
  }
  std::vector<double> given_values() const { return values; }
  friend bool operator==(const Table&, const Table&) = default;
};

}  // namespace schedules
}  // namespace flatstep
