// Schedule: a value as a pure function of the iteration and the epoch.
//
// i is the iteration, or the epoch for ScheduleType::epoch; both count from 0.
//
//   fixed        v
//   exponential  v·γⁱ
//   inverse      v/(1+γi)^power
//   step         v·rate^⌊i/step⌋
//   poly         v·(1−i/max)^power, 0 from max on
//   sigmoid      v/(1+e^(−γ(i−step)))
//   map          the value at the greatest key ≤ i
//   cosine       final + (v−final)·(1+cos(πi/max))/2, final from max on
//   cycle        c = i mod L, st = (L−a)/2 rounded down, inc = (high−low)/st:
//                low + inc·c while c < st; high − inc·(c−st) while c < 2st; low·decay^(c−(L−a))
//                after
//   ramp         (iteration+1)/n of a base schedule while iteration < n−1, then the base schedule
//
// These are DL4J's schedules (1.0), but for cosine, which is SGDR's without restarts
// (https://arxiv.org/abs/1608.03983). Powers with an integral exponent go by squaring, so that a
// rate has the same bits on every machine; other powers, exp and cos come from the C library.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <numbers>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <flatstep/hash.hpp>
#include <flatstep/text.hpp>
#include <flatstep/updaters/updater.hpp>

namespace flatstep {

/// What a schedule counts.
enum class ScheduleType { iteration, epoch };

inline constexpr std::array<std::string_view, 2> schedule_type_names{"ITERATION", "EPOCH"};

inline std::string_view to_string(ScheduleType type) {
  return schedule_type_names[static_cast<std::size_t>(type)];
}
inline ScheduleType parse_schedule_type(std::string_view name) {
  return static_cast<ScheduleType>(text::place("schedule_type", schedule_type_names, name));
}

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

/// A value type: copyable, comparable; a plain number is a fixed schedule. The factories throw
/// std::invalid_argument, naming the argument, for values that the formula cannot take.
class Schedule {
 public:
  using Points = std::map<std::int64_t, double>;

  /// How many ramps may be the bases of each other.
  static constexpr int max_ramps = 100;

  Schedule(double value) : form_(Fixed{value}) {}  // NOLINT(google-explicit-constructor)

  static Schedule fixed(double value) {
    require_finite("FixedSchedule", "value", value);
    return Schedule(value);
  }

  static Schedule exponential(double initial, double gamma,
                              ScheduleType type = ScheduleType::iteration) {
    constexpr auto name = "ExponentialSchedule";
    require_finite(name, "initial", initial);
    require_not_negative(name, "gamma", gamma);
    return {Exponential{initial, gamma}, type};
  }

  static Schedule inverse(double initial, double gamma, double power,
                          ScheduleType type = ScheduleType::iteration) {
    constexpr auto name = "InverseSchedule";
    require_finite(name, "initial", initial);
    require_not_negative(name, "gamma", gamma);
    require_finite(name, "power", power);
    return {Inverse{initial, gamma, power}, type};
  }

  static Schedule step(double initial, double decay_rate, double step,
                       ScheduleType type = ScheduleType::iteration) {
    constexpr auto name = "StepSchedule";
    require_finite(name, "initial", initial);
    require_not_negative(name, "decay_rate", decay_rate);
    require_positive(name, "step", step);
    return {Step{initial, decay_rate, step}, type};
  }

  static Schedule poly(double initial, double power, std::int64_t max_iter,
                       ScheduleType type = ScheduleType::iteration) {
    constexpr auto name = "PolySchedule";
    require_finite(name, "initial", initial);
    require_not_negative(name, "power", power);
    require_at_least(name, "max_iter", max_iter, 1);
    return {Poly{initial, power, max_iter}, type};
  }

  static Schedule sigmoid(double initial, double gamma, double step,
                          ScheduleType type = ScheduleType::iteration) {
    constexpr auto name = "SigmoidSchedule";
    require_finite(name, "initial", initial);
    require_finite(name, "gamma", gamma);
    require_finite(name, "step", step);
    return {Sigmoid{initial, gamma, step}, type};
  }

  /// Keys are iterations or epochs; the first must be 0, as there is no value before it.
  static Schedule map(Points values, ScheduleType type = ScheduleType::iteration) {
    constexpr auto name = "MapSchedule";
    if (values.empty() || values.begin()->first != 0) {
      const std::string got =
          values.empty() ? "no keys" : "smallest key " + std::to_string(values.begin()->first);
      throw std::invalid_argument(std::string(name) +
                                  ": values: expected key 0 and no smaller one, got " + got +
                                  "; add {0: value}, the value before the next key");
    }
    for (const auto& [key, value] : values) {
      require_finite(name, "values[" + std::to_string(key) + "]", value);
    }
    return {Map{std::move(values)}, type};
  }

  static Schedule cycle(double initial, double max, std::int64_t cycle_length,
                        std::int64_t annealing_length, double annealing_decay,
                        ScheduleType type = ScheduleType::iteration) {
    constexpr auto name = "CycleSchedule";
    require_finite(name, "initial", initial);
    require_finite(name, "max", max);
    require_at_least(name, "annealing_length", annealing_length, 0);
    require_at_least(name, "cycle_length", cycle_length, 2);
    if (cycle_length - annealing_length < 2) {
      throw std::invalid_argument(
          std::string(name) + ": annealing_length: expected at most cycle_length - 2 = " +
          std::to_string(cycle_length - 2) + ", got " + std::to_string(annealing_length));
    }
    require_positive(name, "annealing_decay", annealing_decay);
    return {Cycle{initial, max, cycle_length, annealing_length, annealing_decay}, type};
  }

  static Schedule cosine(double initial, std::int64_t max_iter, double final = 0.0,
                         ScheduleType type = ScheduleType::iteration) {
    constexpr auto name = "CosineSchedule";
    require_finite(name, "initial", initial);
    require_at_least(name, "max_iter", max_iter, 1);
    require_finite(name, "final", final);
    return {Cosine{initial, final, max_iter}, type};
  }

  /// Warm-up over `num_iter` iterations; always by iteration, whatever the base schedule counts.
  static Schedule ramp(Schedule base, std::int64_t num_iter) {
    require_at_least("RampSchedule", "num_iter", num_iter, 1);
    const auto* const inner = std::get_if<Ramp>(&base.form_);
    const int depth = inner == nullptr ? 1 : inner->depth + 1;
    if (depth > max_ramps) {  // each is a call deeper, also where it is compared or destroyed
      refuse("RampSchedule", "base", "at most " + std::to_string(max_ramps - 1) + " ramps in it",
             std::to_string(depth - 1) + "; multiply them into one");
    }
    return {Ramp{std::make_shared<const Schedule>(std::move(base)), num_iter, depth},
            ScheduleType::iteration};
  }

  /// The value; neither argument may be negative.
  double at(std::int64_t iteration, std::int64_t epoch) const {
    return std::visit(
        [&]<class F>(const F& form) {
          if constexpr (std::is_same_v<F, Ramp>) {
            return form.at(iteration, epoch);
          } else {
            return form.at(type_ == ScheduleType::epoch ? epoch : iteration);
          }
        },
        form_);
  }

  /// Whether it is a plain number.
  bool is_constant() const { return std::holds_alternative<Fixed>(form_); }

  /// The values it was made from (initial, final, every value of a map, ...): what a range check
  /// looks at.
  std::vector<double> given_values() const {
    return std::visit([](const auto& form) { return form.given_values(); }, form_);
  }

  friend bool operator==(const Schedule&, const Schedule&) = default;

  /// The same for equal schedules; for others hardly ever: of what it gives at few and at very many
  /// iterations.
  std::size_t hash() const {
    Hash hash;
    hash.add(form_.index()).add(at(0, 0));
    if (is_constant()) return hash.get();
    for (std::int64_t i = 1; i < std::int64_t{1} << 40; i *= 3) hash.add(at(i, i));
    return hash.get();
  }

 private:
  struct Fixed {
    double value;
    double at(std::int64_t) const { return value; }
    std::vector<double> given_values() const { return {value}; }
    friend bool operator==(const Fixed&, const Fixed&) = default;
  };

  struct Exponential {
    double initial, gamma;
    double at(std::int64_t i) const {
      return initial * power(gamma, static_cast<std::uint64_t>(i));
    }
    std::vector<double> given_values() const { return {initial}; }
    friend bool operator==(const Exponential&, const Exponential&) = default;
  };

  struct Inverse {
    double initial, gamma, power;
    double at(std::int64_t i) const {
      return initial / real_power(1.0 + gamma * static_cast<double>(i), power);
    }
    std::vector<double> given_values() const { return {initial}; }
    friend bool operator==(const Inverse&, const Inverse&) = default;
  };

  struct Step {
    double initial, decay_rate, step;
    double at(std::int64_t i) const {
      return initial * real_power(decay_rate, std::floor(static_cast<double>(i) / step));
    }
    std::vector<double> given_values() const { return {initial}; }
    friend bool operator==(const Step&, const Step&) = default;
  };

  struct Poly {
    double initial, power;
    std::int64_t max_iter;
    double at(std::int64_t i) const {
      if (i >= max_iter) return 0.0;
      return initial *
             real_power(1.0 - static_cast<double>(i) / static_cast<double>(max_iter), power);
    }
    std::vector<double> given_values() const { return {initial}; }
    friend bool operator==(const Poly&, const Poly&) = default;
  };

  struct Sigmoid {
    double initial, gamma, step;
    double at(std::int64_t i) const {
      return initial / (1.0 + std::exp(-gamma * (static_cast<double>(i) - step)));
    }
    std::vector<double> given_values() const { return {initial}; }
    friend bool operator==(const Sigmoid&, const Sigmoid&) = default;
  };

  struct Map {
    Points values;
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
    double at(std::int64_t i) const {
      const std::int64_t c = i % cycle_length;
      const std::int64_t rising = (cycle_length - annealing_length) / 2;
      const double increment = (max - initial) / static_cast<double>(rising);
      if (c < rising) return initial + increment * static_cast<double>(c);
      if (c < 2 * rising) return max - increment * static_cast<double>(c - rising);
      return initial * real_power(annealing_decay,
                                  static_cast<double>(c - (cycle_length - annealing_length)));
    }
    std::vector<double> given_values() const { return {initial, max}; }
    friend bool operator==(const Cycle&, const Cycle&) = default;
  };

  struct Cosine {
    double initial, final;
    std::int64_t max_iter;
    double at(std::int64_t i) const {
      if (i >= max_iter) return final;
      const double angle =
          std::numbers::pi * (static_cast<double>(i) / static_cast<double>(max_iter));
      return final + (initial - final) * (0.5 * (1.0 + std::cos(angle)));
    }
    std::vector<double> given_values() const { return {initial, final}; }
    friend bool operator==(const Cosine&, const Cosine&) = default;
  };

  struct Ramp {
    std::shared_ptr<const Schedule> base;
    std::int64_t num_iter;
    int depth;  ///< how many ramps it is, itself included
    double at(std::int64_t iteration, std::int64_t epoch) const {
      const double value = base->at(iteration, epoch);
      if (iteration >= num_iter - 1) return value;
      return value * ((static_cast<double>(iteration) + 1) / static_cast<double>(num_iter));
    }
    std::vector<double> given_values() const { return base->given_values(); }
    friend bool operator==(const Ramp& a, const Ramp& b) {
      return a.num_iter == b.num_iter && *a.base == *b.base;
    }
  };

  using Form =
      std::variant<Fixed, Exponential, Inverse, Step, Poly, Sigmoid, Map, Cycle, Cosine, Ramp>;

  Schedule(Form form, ScheduleType type) : form_(std::move(form)), type_(type) {}

  [[noreturn]] static void refuse(std::string_view schedule, std::string_view argument,
                                  std::string_view expected, const std::string& got) {
    throw std::invalid_argument(std::string(schedule) + ": " + std::string(argument) +
                                ": expected " + std::string(expected) + ", got " + got);
  }
  static void require_finite(std::string_view schedule, std::string_view argument, double value) {
    if (!std::isfinite(value)) refuse(schedule, argument, "a finite number", text::number(value));
  }
  static void require_not_negative(std::string_view schedule, std::string_view argument,
                                   double value) {
    if (!(std::isfinite(value) && value >= 0.0)) {
      refuse(schedule, argument, "a finite number >= 0", text::number(value));
    }
  }
  static void require_positive(std::string_view schedule, std::string_view argument, double value) {
    if (!(std::isfinite(value) && value > 0.0)) {
      refuse(schedule, argument, "a finite number > 0", text::number(value));
    }
  }
  static void require_at_least(std::string_view schedule, std::string_view argument,
                               std::int64_t value, std::int64_t least) {
    if (value < least) {
      refuse(schedule, argument, "an integer >= " + std::to_string(least), std::to_string(value));
    }
  }

  Form form_;
  ScheduleType type_ = ScheduleType::iteration;
};

}  // namespace flatstep
