// What an updater is: hyper-parameters, state arrays, step constants in double, one formula on
// vectors.
//
// An updater is a struct, one per header in this folder:
//
//   struct Sgd {
//     static constexpr std::string_view name = "Sgd";
//     static constexpr HyperParameter hyper_parameters[] = {learning_rate(1e-3)};
//     static constexpr StateNames<0> state_names{};
//     struct Values {  // in the order of hyper_parameters
//       double learning_rate;
//     };
//     template <class X>
//     struct Constants {  // what the formula needs; only constants, never branches, depend on flags
//       X learning_rate;
//     };
//     static Constants<double> constants(const Values& h, const StepContext& step);  // once a step
//     template <class V>
//     static V apply(V g, V* state, const Constants<V>& c);  // returns the update
//   };
//
// `apply` is compiled once per instruction set, so it uses nothing but the operations of the vector
// type V; `constants` runs in double on the calling thread. `initial_state(array, h, rules)`
// may be added where a state does not start at 0; `trusts(h)` and `trust_ratio(h, decay,
// parameter_norm, norm)` where what a norm of the whole parameter allows scales something (Trusted);
// `reads_parameter = true` where the formula needs the parameter, apply(g, p, state, c), and
// `starts_at_parameter(array)` where a state does not start at a number; `never_negative(array)`
// where a state is not, by which it has other codes in fewer bits, and `keeps_maximum(array)` where it
// is the greatest of what there was, which rounding would drive up; `evaluation_point(h)` where
// a network is to be evaluated elsewhere.
// updaters.hpp lists the updaters.
#pragma once

#include <flatstep/semantics.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace flatstep {

/// What a hyper-parameter is for: learning rates and momenta may follow a schedule, and so may what
/// is `scheduled` for a reason of its own.
enum class Role { plain, learning_rate, momentum, scheduled };

/// What the value of a hyper-parameter is: a number, a flag (0 or 1), or the place of a name among
/// its choices.
enum class ValueKind { number, flag, choice };

/// The value of an optional hyper-parameter that is not given. No legal value is negative.
inline constexpr double not_given = -1.0;

/// One argument of an updater: its name, default, and the interval of its legal values.
struct HyperParameter {
  std::string_view name;
  double default_value;
  double low;
  double high;
  bool low_included;
  bool high_included;
  Role role;
  ValueKind kind = ValueKind::number;
  bool optional = false;  ///< may be `not_given`, which is its default
  const std::string_view* choices = nullptr;
  std::size_t choice_count = 0;
};

inline constexpr double unbounded = __builtin_huge_val();

constexpr HyperParameter learning_rate(double default_value) {
  return {"learning_rate", default_value, 0.0, unbounded, true, false, Role::learning_rate};
}
constexpr HyperParameter momentum(double default_value) {
  return {"momentum", default_value, 0.0, 1.0, true, true, Role::momentum};
}
/// A decay of a moving average: 0 forgets at once, 1 keeps what there was.
constexpr HyperParameter decay(std::string_view name, double default_value) {
  return {name, default_value, 0.0, 1.0, true, true, Role::plain};
}
/// A decay that may follow a schedule, as that of a first moment does where a policy cycles it.
constexpr HyperParameter moving_decay(std::string_view name, double default_value) {
  HyperParameter parameter = decay(name, default_value);
  parameter.role = Role::scheduled;
  return parameter;
}
/// A number from 0 on.
constexpr HyperParameter amount(std::string_view name, double default_value) {
  return {name, default_value, 0.0, unbounded, true, false, Role::plain};
}
constexpr HyperParameter epsilon(double default_value) { return amount("epsilon", default_value); }
/// A number from 0 on, or none.
constexpr HyperParameter optional_amount(std::string_view name) {
  HyperParameter parameter = amount(name, not_given);
  parameter.optional = true;
  return parameter;
}
constexpr HyperParameter flag(std::string_view name, bool default_value) {
  return {name, default_value ? 1.0 : 0.0, 0.0, 1.0, true, true, Role::plain, ValueKind::flag};
}
/// One of the names, the first unless given.
template <std::size_t N>
constexpr HyperParameter choice(std::string_view name, const std::string_view (&choices)[N]) {
  return {name,  0.0,         0.0, N - 1.0, true, true, Role::plain, ValueKind::choice,
          false, &choices[0], N};
}

/// Where a network is to be evaluated, if not at its parameters p: of_parameter·p + of_state·state[0].
struct EvaluationPoint {
  double of_parameter;
  double of_state;
};

/// Whether U's formula needs the parameter.
template <class U>
inline constexpr bool reads_parameter = requires { U::reads_parameter; };

/// What a trust ratio, which compares its norm with that of the parameter, scales.
enum class Trusted {
  nothing,
  gradient,   ///< as the updater gets it: normalised, regularised
  direction,  ///< what the updater makes of it, before decay
  update      ///< the finished update
};

/// coefficient·‖p‖/(‖x‖ + ε); 1 where either norm is 0.
constexpr double norm_ratio(double parameter_norm, double norm, double coefficient = 1.0,
                            double epsilon = 0.0) {
  if (parameter_norm == 0.0 || norm == 0.0) return 1.0;
  return coefficient * parameter_norm / (norm + epsilon);
}

/// The table of an updater that has no hyper-parameters.
struct NoHyperParameters {};

/// The names of N state arrays, in the order in which they lie in the state view.
template <std::size_t N>
struct StateNames {
  std::string_view names[N];
  static constexpr std::size_t size() { return N; }
  constexpr const std::string_view* data() const { return names; }
};
template <>
struct StateNames<0> {
  static constexpr std::size_t size() { return 0; }
  static constexpr const std::string_view* data() { return nullptr; }
};

/// The shape of a state array: its parameter's, that of one of its rows (all axes but the first),
/// of one of its columns (all but the last), a single number, or what its updater says (own).
enum class StateShape { parameter, row, column, number, own };

/// What a state array starts at: a number that the updater says, or its parameter.
enum class StateStart { number, parameter };

/// A state array of an updater, whatever the parameter.
struct StateDescription {
  std::string_view name;
  StateShape shape = StateShape::parameter;
  StateStart start = StateStart::number;
  bool never_negative = false;
  bool keeps_maximum = false;

  /// What the kernels of a fused updater go through.
  constexpr bool is_plain() const { return shape == StateShape::parameter; }
  /// Whether it may be kept in fewer bits. What starts at the parameter moves by less than such a
  /// number's last place.
  constexpr bool may_be_coded() const { return is_plain() && start == StateStart::number; }
};

/// U's state arrays, by their number.
template <class U>
constexpr StateDescription describe_state(std::size_t array) {
  StateDescription description{U::state_names.data()[array]};
  if constexpr (requires { U::starts_at_parameter(array); }) {
    if (U::starts_at_parameter(array)) description.start = StateStart::parameter;
  }
  if constexpr (requires { U::never_negative(array); }) {
    description.never_negative = U::never_negative(array);
  }
  if constexpr (requires { U::keeps_maximum(array); }) {
    description.keeps_maximum = U::keeps_maximum(array);
  }
  return description;
}

/// What the step constants depend on besides the hyper-parameters.
struct StepContext {
  std::int64_t iteration = 0;
  const OrderRules& rules;
  double trust_ratio = 1.0;  ///< of the gradient, where that is what is trusted

  /// t of the papers: 1 in the first step.
  std::uint64_t t() const { return static_cast<std::uint64_t>(iteration) + 1; }
};

/// base^exponent by squaring: the same bits on every machine, unlike the C library's pow. Without a
/// branch on the exponent's bits: they are new in every step, and no processor guesses them.
constexpr double power(double base, std::uint64_t exponent) {
  constexpr auto one = __builtin_bit_cast(std::uint64_t, 1.0);
  double result = 1.0;
  for (; exponent != 0; exponent >>= 1) {
    const std::uint64_t taken = 0 - (exponent & 1);
    const auto bits = __builtin_bit_cast(std::uint64_t, base);
    result *= __builtin_bit_cast(double, (bits & taken) | (one & ~taken));
    base *= base;
  }
  return result;
}

/// decay·average + (1−decay)·x, the moving average that most updaters keep.
template <class V>
inline V moving_average(V decay, V one_minus_decay, V average, V x) {
  return fma(decay, average, one_minus_decay * x);
}

/// decay·average + (1−decay)·x².
template <class V>
inline V moving_average_of_squares(V decay, V one_minus_decay, V average, V x) {
  return fma(decay, average, (one_minus_decay * x) * x);
}

/// x's sign: 0 of 0, NaN of NaN.
template <class V>
inline V sign(V x, V one) {
  return keep(not_equal(x, V::zero()), copysign(one, x)) + keep(not_equal(x, x), x);
}

/// What corrects a moving average that started at 0 for its bias: 1 − decayᵗ; 1 where nothing does.
constexpr double bias_of(double decay, std::uint64_t t, double corrects = 1.0) {
  return corrects == 0.0 ? 1.0 : 1.0 - power(decay, t);
}

/// At most this many state arrays, hyper-parameters and constants has any updater.
inline constexpr std::size_t max_state_arrays = 3;
inline constexpr std::size_t max_hyper_parameters = 12;
inline constexpr std::size_t max_constants = 10;

}  // namespace flatstep
