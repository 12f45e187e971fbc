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
//     struct Constants {  // what the formula needs
//       X learning_rate;
//     };
//     static Constants<double> constants(const Values& h, const StepContext& step);  // once a step
//     template <class V>
//     static V apply(V g, V* state, const Constants<V>& c);  // returns the update
//   };
//
// `apply` is compiled once per instruction set, so it uses nothing but the operations of the vector
// type V; `constants` runs in double on the calling thread. `initial_state(array, h, rules)`
// may be added where a state does not start at 0. updaters.hpp lists the updaters.
#pragma once

#include <flatstep/semantics.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace flatstep {

/// What a hyper-parameter is for: only learning rates and momenta may follow a schedule.
enum class Role { plain, learning_rate, momentum };

/// One argument of an updater: its name, default, and the interval of its legal values.
struct HyperParameter {
  std::string_view name;
  double default_value;
  double low;
  double high;
  bool low_included;
  bool high_included;
  Role role;
};

inline constexpr double unbounded = __builtin_huge_val();

constexpr HyperParameter learning_rate(double default_value) {
  return {"learning_rate", default_value, 0.0, unbounded, true, false, Role::learning_rate};
}
constexpr HyperParameter momentum(double default_value) {
  return {"momentum", default_value, 0.0, 1.0, true, true, Role::momentum};
}
/// A decay of a moving average: 0 forgets at once, 1 would never learn.
constexpr HyperParameter decay(std::string_view name, double default_value) {
  return {name, default_value, 0.0, 1.0, true, false, Role::plain};
}
constexpr HyperParameter epsilon(double default_value) {
  return {"epsilon", default_value, 0.0, unbounded, true, false, Role::plain};
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

/// What the step constants depend on besides the hyper-parameters.
struct StepContext {
  std::int64_t iteration;
  const OrderRules& rules;

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

/// At most this many state arrays, hyper-parameters and constants has any updater.
inline constexpr std::size_t max_state_arrays = 3;
inline constexpr std::size_t max_hyper_parameters = 4;
inline constexpr std::size_t max_constants = 8;

}  // namespace flatstep
