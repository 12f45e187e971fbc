// Schedule: a value as a pure function of the iteration and the epoch.
//
// i is the iteration, or the epoch for ScheduleType::epoch; both count from 0.
//
//   fixed           v
//   exponential     v·γⁱ
//   inverse         v/(1+γi)^power
//   step            v·rate^⌊i/step⌋
//   poly            v·(1−i/max)^power, 0 from max on
//   sigmoid         v/(1+e^(−γ(i−step)))
//   map             the value at the greatest key ≤ i
//   cosine          final + (v−final)·(1+cos(πi/max))/2, final from max on
//   cosine_restarts the same in cycles of first, first·multiplier, first·multiplier², … steps,
//                   each from its own 0
//   linear          v·(1−i/n) + final·i/n, final from n on
//   cycle           c = i mod L, st = (L−a)/2 rounded down, inc = (high−low)/st:
//                   low + inc·c while c < st; high − inc·(c−st) while c < 2st;
//                   low·decay^(c−(L−a)) after
//   one_cycle       from start = max/div up to max at i = pct·n − 1, and down to start/final_div at
//                   n − 1, or with three phases down to start at 2·pct·n − 2 first
//   one_cycle_momentum  the other way: from max down to base, and up to max again
//   warmup_stable_decay  from initial up to max in w steps, max for s steps, to final in d steps
//   table           the i-th value, the last one from there on
//   sequence        one schedule after the other, each from its own 0; the last goes on
//   product         of schedules, from the left
//   ramp            (iteration+1)/n of a base schedule while iteration < n−1, then the base
//                   schedule
//
// DL4J's (1.0) are fixed to map, cycle and ramp; cosine, with and without restarts, is SGDR's
// (https://arxiv.org/abs/1608.03983), one_cycle PyTorch's. Powers with an integral exponent go by
// squaring, so that a rate has the same bits on every machine; other powers, exp and cos come from
// the C library.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <flatstep/hash.hpp>
#include <flatstep/schedule/check.hpp>
#include <flatstep/schedule/forms.hpp>
#include <flatstep/text.hpp>

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

/// A value type: copyable, comparable; a plain number is a fixed schedule. The factories throw
/// std::invalid_argument, naming the argument, for values that the formula cannot take.
class Schedule {
 public:
  using Points = schedules::Points;

  /// How many ramps, sequences and products a schedule may be made of, itself included: each is a
  /// call, where it is asked for a value, compared or destroyed.
  static constexpr int max_compounds = 100;

  Schedule(double value)  // NOLINT(google-explicit-constructor)
      : form_(schedules::Fixed{value}) {}

  static Schedule fixed(double value) {
    return checked(schedules::Fixed{value}, ScheduleType::iteration);
  }

  static Schedule exponential(double initial, double gamma,
                              ScheduleType type = ScheduleType::iteration) {
    return checked(schedules::Exponential{initial, gamma}, type);
  }

  static Schedule inverse(double initial, double gamma, double power,
                          ScheduleType type = ScheduleType::iteration) {
    return checked(schedules::Inverse{initial, gamma, power}, type);
  }

  static Schedule step(double initial, double decay_rate, double step,
                       ScheduleType type = ScheduleType::iteration) {
    return checked(schedules::Step{initial, decay_rate, step}, type);
  }

  static Schedule poly(double initial, double power, std::int64_t max_iter,
                       ScheduleType type = ScheduleType::iteration) {
    return checked(schedules::Poly{initial, power, max_iter}, type);
  }

  static Schedule sigmoid(double initial, double gamma, double step,
                          ScheduleType type = ScheduleType::iteration) {
    return checked(schedules::Sigmoid{initial, gamma, step}, type);
  }

  /// Keys are iterations or epochs; the first must be 0, as there is no value before it.
  static Schedule map(Points values, ScheduleType type = ScheduleType::iteration) {
    return checked(schedules::Map{std::move(values)}, type);
  }

  static Schedule cycle(double initial, double max, std::int64_t cycle_length,
                        std::int64_t annealing_length, double annealing_decay,
                        ScheduleType type = ScheduleType::iteration) {
    return checked(schedules::Cycle{initial, max, cycle_length, annealing_length, annealing_decay},
                   type);
  }

  static Schedule cosine(double initial, std::int64_t max_iter, double final = 0.0,
                         ScheduleType type = ScheduleType::iteration) {
    return checked(schedules::Cosine{initial, final, max_iter}, type);
  }

  static Schedule cosine_restarts(double initial, std::int64_t first, std::int64_t multiplier = 1,
                                  double final = 0.0, ScheduleType type = ScheduleType::iteration) {
    return checked(schedules::CosineRestarts{initial, final, first, multiplier}, type);
  }

  static Schedule linear(double initial, double final, std::int64_t steps,
                         ScheduleType type = ScheduleType::iteration) {
    return checked(schedules::Linear{initial, final, steps}, type);
  }

  /// The rate of PyTorch's OneCycleLR; with `anneal` cosine or linear.
  static Schedule one_cycle(double max_rate, std::int64_t total_steps, double pct_start = 0.3,
                            Anneal anneal = Anneal::cosine, double div_factor = 25.0,
                            double final_div_factor = 1e4, bool three_phase = false,
                            ScheduleType type = ScheduleType::iteration) {
    constexpr auto name = "OneCycleSchedule";
    schedules::require_finite(name, "max_rate", max_rate);
    schedules::require_positive(name, "div_factor", div_factor);
    schedules::require_positive(name, "final_div_factor", final_div_factor);
    const double start = max_rate / div_factor;
    const double end = start / final_div_factor;
    schedules::require_finite(name, "max_rate / div_factor", start);
    schedules::require_finite(name, "max_rate / div_factor / final_div_factor", end);
    const schedules::OneCycle form{start,     max_rate, end,        total_steps,
                                   pct_start, anneal,   three_phase};
    form.validate(name);
    return {form, type};
  }

  /// The momentum that goes with it, of the same arguments.
  static Schedule one_cycle_momentum(std::int64_t total_steps, double base_momentum = 0.85,
                                     double max_momentum = 0.95, double pct_start = 0.3,
                                     Anneal anneal = Anneal::cosine, bool three_phase = false,
                                     ScheduleType type = ScheduleType::iteration) {
    constexpr auto name = "OneCycleMomentumSchedule";
    schedules::require_finite(name, "base_momentum", base_momentum);
    schedules::require_finite(name, "max_momentum", max_momentum);
    const schedules::OneCycle form{max_momentum, base_momentum, max_momentum, total_steps,
                                   pct_start,    anneal,        three_phase};
    form.validate(name);
    return {form, type};
  }

  /// With `anneal`, how it decays, any of them.
  static Schedule warmup_stable_decay(double max_rate, std::int64_t warmup_steps,
                                      std::int64_t stable_steps, std::int64_t decay_steps,
                                      double initial = 0.0, double final = 0.0,
                                      Anneal anneal = Anneal::linear,
                                      ScheduleType type = ScheduleType::iteration) {
    return checked(schedules::WarmupStableDecay{initial, max_rate, final, warmup_steps,
                                                stable_steps, decay_steps, anneal},
                   type);
  }

  static Schedule table(std::vector<double> values, ScheduleType type = ScheduleType::iteration) {
    return checked(schedules::Table{std::move(values)}, type);
  }

  /// Schedules with their lengths. What a schedule counts starts anew where its turn comes, if that
  /// is what the sequence counts; the length of the last has no effect.
  static Schedule sequence(std::vector<std::pair<Schedule, std::int64_t>> pieces,
                           ScheduleType type = ScheduleType::iteration) {
    constexpr auto name = "SequenceSchedule";
    if (pieces.empty()) schedules::refuse(name, "pieces", "at least one schedule", "none");
    Sequence made{{}, type, 1};
    std::int64_t start = 0;
    for (std::size_t k = 0; k < pieces.size(); ++k) {
      auto& [schedule, length] = pieces[k];
      made.compounds = sum_of_compounds(name, "pieces", made.compounds, schedule);
      made.pieces.push_back({start, std::make_shared<const Schedule>(std::move(schedule))});
      if (k + 1 == pieces.size()) break;
      const std::string where = "pieces[" + std::to_string(k) + "]: length";
      schedules::require_at_least(name, where, length, 1);
      if (length > std::numeric_limits<std::int64_t>::max() - start) {
        schedules::refuse(name, where, "lengths whose sum is an integer of 64 bits",
                          std::to_string(start) + " and " + std::to_string(length));
      }
      start += length;
    }
    return {std::move(made), type};
  }

  /// A number times a schedule, or schedules times each other.
  static Schedule product(std::vector<Schedule> factors) {
    constexpr auto name = "ProductSchedule";
    if (factors.empty()) schedules::refuse(name, "factors", "at least one schedule", "none");
    Product made{{}, 1};
    for (Schedule& factor : factors) {
      made.compounds = sum_of_compounds(name, "factors", made.compounds, factor);
      made.factors.push_back(std::make_shared<const Schedule>(std::move(factor)));
    }
    return {std::move(made), ScheduleType::iteration};
  }
  friend Schedule operator*(Schedule a, Schedule b) {
    return product({std::move(a), std::move(b)});
  }

  /// Warm-up over `num_iter` iterations; always by iteration, whatever the base schedule counts.
  static Schedule ramp(Schedule base, std::int64_t num_iter) {
    constexpr auto name = "RampSchedule";
    schedules::require_at_least(name, "num_iter", num_iter, 1);
    const int compounds = sum_of_compounds(name, "base", 1, base);
    return {Ramp{std::make_shared<const Schedule>(std::move(base)), num_iter, compounds},
            ScheduleType::iteration};
  }

  /// The value; neither argument may be negative.
  double at(std::int64_t iteration, std::int64_t epoch) const {
    return std::visit(
        [&]<class F>(const F& form) {
          if constexpr (is_compound<F>) {
            return form.at(iteration, epoch);
          } else {
            return form.at(type_ == ScheduleType::epoch ? epoch : iteration);
          }
        },
        form_);
  }

  /// Whether it is a plain number.
  bool is_constant() const { return std::holds_alternative<schedules::Fixed>(form_); }

  /// The values it was made from (initial, final, every value of a map, ...): what a range check
  /// looks at. Of a product the least and the greatest that those of its factors make.
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
  using Shared = std::shared_ptr<const Schedule>;

  struct Ramp {
    Shared base;
    std::int64_t num_iter;
    int compounds;
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

  struct Piece {
    std::int64_t start;
    Shared schedule;
    friend bool operator==(const Piece& a, const Piece& b) {
      return a.start == b.start && *a.schedule == *b.schedule;
    }
  };

  struct Sequence {
    std::vector<Piece> pieces;
    ScheduleType type;
    int compounds;
    double at(std::int64_t iteration, std::int64_t epoch) const {
      std::int64_t& i = type == ScheduleType::epoch ? epoch : iteration;
      const auto next = std::upper_bound(
          pieces.begin(), pieces.end(), i,
          [](std::int64_t count, const Piece& piece) { return count < piece.start; });
      const Piece& piece = *std::prev(next);
      i -= piece.start;
      return piece.schedule->at(iteration, epoch);
    }
    std::vector<double> given_values() const {
      std::vector<double> all;
      for (const Piece& piece : pieces) {
        const std::vector<double> values = piece.schedule->given_values();
        all.insert(all.end(), values.begin(), values.end());
      }
      return all;
    }
    friend bool operator==(const Sequence& a, const Sequence& b) { return a.pieces == b.pieces; }
  };

  struct Product {
    std::vector<Shared> factors;
    int compounds;
    double at(std::int64_t iteration, std::int64_t epoch) const {
      double value = factors.front()->at(iteration, epoch);
      for (std::size_t k = 1; k < factors.size(); ++k) value *= factors[k]->at(iteration, epoch);
      return value;
    }
    std::vector<double> given_values() const {
      double low = 1.0;
      double high = 1.0;
      for (const Shared& factor : factors) {
        const std::vector<double> values = factor->given_values();
        const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
        const auto corners = {low * *least, low * *greatest, high * *least, high * *greatest};
        const auto range = std::minmax(corners);
        low = range.first;
        high = range.second;
      }
      return {low, high};
    }
    friend bool operator==(const Product& a, const Product& b) {
      return std::equal(a.factors.begin(), a.factors.end(), b.factors.begin(), b.factors.end(),
                        [](const auto& x, const auto& y) { return *x == *y; });
    }
  };

  template <class F>
  static constexpr bool is_compound = requires(const F& form) { form.compounds; };

  using Form = std::variant<schedules::Fixed, schedules::Exponential, schedules::Inverse,
                            schedules::Step, schedules::Poly, schedules::Sigmoid, schedules::Map,
                            schedules::Cycle, schedules::Cosine, Ramp, schedules::CosineRestarts,
                            schedules::Linear, schedules::OneCycle, schedules::WarmupStableDecay,
                            schedules::Table, Sequence, Product>;

  Schedule(Form form, ScheduleType type) : form_(std::move(form)), type_(type) {}

  template <class F>
  static Schedule checked(F form, ScheduleType type) {
    form.validate();
    return {std::move(form), type};
  }

  /// How many ramps, sequences and products it is made of, itself included.
  int compounds() const {
    return std::visit(
        []<class F>(const F& form) {
          if constexpr (is_compound<F>) {
            return form.compounds;
          } else {
            return 0;
          }
        },
        form_);
  }

  static int sum_of_compounds(std::string_view name, std::string_view argument, int before,
                              const Schedule& inner) {
    const int sum = before + inner.compounds();
    if (sum > max_compounds) {
      schedules::refuse(
          name, argument,
          "at most " + std::to_string(max_compounds - 1) + " ramps, sequences and products in it",
          std::to_string(sum - 1) + "; make it of fewer, or a table of its values");
    }
    return sum;
  }

  Form form_;
  ScheduleType type_ = ScheduleType::iteration;
};

/// What a factory's argument is called, and of a choice the names that there are.
struct ScheduleArgument {
  constexpr ScheduleArgument(const char* called)
      : name(called) {}  // NOLINT(*-explicit-constructor)
  constexpr ScheduleArgument(const char* called, std::span<const std::string_view> names)
      : name(called), choices(names) {}

  const char* name;
  std::span<const std::string_view> choices;
};

/// A factory by name, with the names of its arguments; a schedule type, where it takes one, is the
/// last of them and has no name.
template <class... A>
struct ScheduleFactory {
  static constexpr std::size_t named = (std::size_t{!std::is_same_v<A, ScheduleType>} + ... + 0);

  std::string_view name;
  Schedule (*make)(A...);
  std::array<ScheduleArgument, named> arguments;
};

template <class... A, class... Names>
constexpr ScheduleFactory<A...> schedule_factory(std::string_view name, Schedule (*make)(A...),
                                                 Names... arguments) {
  return {name, make, {arguments...}};
}

/// Every form: whoever knows schedules by name, as the Python module does, makes them from here.
inline constexpr std::tuple schedule_factories{
    schedule_factory("FixedSchedule", Schedule::fixed, "value"),
    schedule_factory("ExponentialSchedule", Schedule::exponential, "initial", "gamma"),
    schedule_factory("InverseSchedule", Schedule::inverse, "initial", "gamma", "power"),
    schedule_factory("StepSchedule", Schedule::step, "initial", "decay_rate", "step"),
    schedule_factory("PolySchedule", Schedule::poly, "initial", "power", "max_iter"),
    schedule_factory("SigmoidSchedule", Schedule::sigmoid, "initial", "gamma", "step"),
    schedule_factory("MapSchedule", Schedule::map, "values"),
    schedule_factory("CycleSchedule", Schedule::cycle, "initial", "max", "cycle_length",
                     "annealing_length", "annealing_decay"),
    schedule_factory("CosineSchedule", Schedule::cosine, "initial", "max_iter", "final"),
    schedule_factory("CosineRestartsSchedule", Schedule::cosine_restarts, "initial", "first",
                     "multiplier", "final"),
    schedule_factory("LinearSchedule", Schedule::linear, "initial", "final", "steps"),
    schedule_factory("OneCycleSchedule", Schedule::one_cycle, "max_rate", "total_steps",
                     "pct_start", ScheduleArgument("anneal_strategy", one_cycle_anneal_names),
                     "div_factor", "final_div_factor", "three_phase"),
    schedule_factory("OneCycleMomentumSchedule", Schedule::one_cycle_momentum, "total_steps",
                     "base_momentum", "max_momentum", "pct_start",
                     ScheduleArgument("anneal_strategy", one_cycle_anneal_names), "three_phase"),
    schedule_factory("WarmupStableDecaySchedule", Schedule::warmup_stable_decay, "max_rate",
                     "warmup_steps", "stable_steps", "decay_steps", "initial", "final",
                     ScheduleArgument("anneal_strategy", anneal_names)),
    schedule_factory("TableSchedule", Schedule::table, "values"),
    schedule_factory("SequenceSchedule", Schedule::sequence, "pieces"),
    schedule_factory("ProductSchedule", Schedule::product, "factors"),
    schedule_factory("RampSchedule", Schedule::ramp, "base", "num_iter"),
};

}  // namespace flatstep
