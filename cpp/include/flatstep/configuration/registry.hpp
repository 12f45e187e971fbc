// The registry: every updater of updaters.hpp as a value (UpdaterInfo), to be looked up by name.
//
// An UpdaterInfo says what the engine must know of an updater without its type. The registered ones
// name their place in the kernel tables; an updater of the user's own, in C++ (own_updater.hpp) or
// as a callback, makes an UpdaterInfo of its own.
#pragma once

#include <flatstep/kernels/kernel_table.hpp>
#include <flatstep/semantics.hpp>
#include <flatstep/updaters/updaters.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace flatstep {

/// At most this many state arrays has a callback updater.
inline constexpr std::size_t max_callback_state_arrays = 16;

/// One slot's arguments to a callback updater: gradient becomes update, in place, on scratch
/// memory.
template <class T>
struct CallbackArguments {
  std::size_t slot = 0;                ///< place in the layout
  std::span<const std::size_t> shape;  ///< of the parameter
  bool column_major = false;           ///< its memory order, and that of what follows
  std::span<T> gradient;  ///< in: the normalised, regularised gradient; out: the update
  std::span<const std::span<T>> state;  ///< the state arrays, each of the size of its shape
  double learning_rate = 0.0;           ///< NaN when the updater has none
  std::int64_t iteration = 0;
  std::int64_t epoch = 0;
  std::span<const std::vector<std::size_t>> state_shapes{};
  std::span<const T> parameter{};  ///< as it is before the step
};

struct UpdaterInfo {
  std::string_view name;
  std::span<const HyperParameter> hyper_parameters;
  std::vector<StateDescription> state{};
  /// The number that a state array starts at, at the updater's values; empty: 0.
  std::function<double(std::size_t array, const double* values, const OrderRules&)> initial_state{};
  /// The shape of a state array that is StateShape::own, at a parameter's shape.
  std::function<std::vector<std::size_t>(std::size_t array, std::span<const std::size_t> parameter)>
      own_shape{};
  void (*constants)(const double* values, const StepContext&, double* out) = nullptr;
  std::size_t constant_count = 0;
  /// What its trust ratio scales, at its values, and that ratio; nullptr: it has none.
  Trusted (*trusts)(const double* values) = nullptr;
  double (*trust_ratio)(const double* values, double decay, double parameter_norm,
                        double norm) = nullptr;
  /// Where a network is to be evaluated, at its values; nullptr: at the parameters.
  EvaluationPoint (*evaluation_point)(const double* values) = nullptr;

  /// Place in the kernel tables, or -1 for an updater of the user's own.
  int index = -1;
  /// Kernels of an updater of the user's own, compiled where it is defined.
  const KernelRow<float>* float_kernels = nullptr;
  const KernelRow<double>* double_kernels = nullptr;
  /// A callback updater, called once per slot and step; false abandons the step.
  std::function<bool(const CallbackArguments<float>&)> float_callback{};
  std::function<bool(const CallbackArguments<double>&)> double_callback{};

  template <class T>
  const std::function<bool(const CallbackArguments<T>&)>& callback() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return float_callback;
    } else {
      return double_callback;
    }
  }
  template <class T>
  const KernelRow<T>* own_kernels() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return float_kernels;
    } else {
      return double_kernels;
    }
  }
  bool is_callback() const { return float_callback != nullptr || double_callback != nullptr; }

  /// Where the hyper-parameter of that role stands, or -1.
  int find(Role role) const {
    for (std::size_t i = 0; i < hyper_parameters.size(); ++i) {
      if (hyper_parameters[i].role == role) return static_cast<int>(i);
    }
    return -1;
  }
  /// The place of the hyper-parameter of that name, or -1.
  int find(std::string_view hyper_parameter) const {
    const auto found = std::ranges::find(hyper_parameters, hyper_parameter, &HyperParameter::name);
    return found == hyper_parameters.end() ? -1
                                           : static_cast<int>(found - hyper_parameters.begin());
  }
  bool has_learning_rate() const { return find(Role::learning_rate) >= 0; }
};

/// How many constants U has, each a double.
template <class U>
inline constexpr std::size_t number_of_constants = [] {
  using Constants = typename U::template Constants<double>;
  if constexpr (std::is_empty_v<Constants>) {
    return std::size_t{0};
  } else {
    return sizeof(Constants) / sizeof(double);
  }
}();

namespace detail {

template <class U>
constexpr std::span<const HyperParameter> hyper_parameters_of() {
  if constexpr (std::is_same_v<std::remove_cvref_t<decltype(U::hyper_parameters)>,
                               NoHyperParameters>) {
    return {};
  } else {
    return U::hyper_parameters;
  }
}

template <class U>
typename U::Values values_of(const double* values) {
  if constexpr (std::is_empty_v<typename U::Values>) {
    return {};
  } else {
    constexpr std::size_t count = sizeof(typename U::Values) / sizeof(double);
    static_assert(count == hyper_parameters_of<U>().size() && count <= max_hyper_parameters);
    std::array<double, count> copy{};
    std::copy_n(values, count, copy.begin());
    return std::bit_cast<typename U::Values>(copy);
  }
}

template <class U>
double initial_state_of(std::size_t array, const double* values, const OrderRules& rules) {
  if constexpr (requires { &U::initial_state; }) {
    return U::initial_state(array, values_of<U>(values), rules);
  } else {
    return 0.0;
  }
}

template <class U>
void constants_of(const double* values, const StepContext& step, double* out) {
  static_assert(number_of_constants<U> <= max_constants);
  if constexpr (number_of_constants<U> > 0) {
    const auto constants = std::bit_cast<std::array<double, number_of_constants<U>>>(
        U::constants(values_of<U>(values), step));
    std::copy(constants.begin(), constants.end(), out);
  }
}

template <class U>
Trusted trusted_by(const double* values) {
  return U::trusts(values_of<U>(values));
}

template <class U>
double trust_ratio_of(const double* values, double decay, double parameter_norm, double norm) {
  return U::trust_ratio(values_of<U>(values), decay, parameter_norm, norm);
}

template <class U>
EvaluationPoint evaluation_point_of(const double* values) {
  return U::evaluation_point(values_of<U>(values));
}

template <class... U>
const std::vector<UpdaterInfo>& registry(UpdaterList<U...>);

}  // namespace detail

/// The UpdaterInfo of an updater struct; `index` is its place in the kernel tables.
template <class U>
UpdaterInfo describe_updater(int index) {
  static_assert(U::state_names.size() <= max_state_arrays);
  UpdaterInfo info;
  info.name = U::name;
  info.hyper_parameters = detail::hyper_parameters_of<U>();
  for (std::size_t a = 0; a < U::state_names.size(); ++a) {
    info.state.push_back(describe_state<U>(a));
  }
  info.initial_state = &detail::initial_state_of<U>;
  info.constants = &detail::constants_of<U>;
  info.constant_count = number_of_constants<U>;
  if constexpr (requires { &U::trusts; }) {
    info.trusts = &detail::trusted_by<U>;
    info.trust_ratio = &detail::trust_ratio_of<U>;
  }
  if constexpr (requires { &U::evaluation_point; }) {
    info.evaluation_point = &detail::evaluation_point_of<U>;
  }
  info.index = index;
  return info;
}

template <class... U>
const std::vector<UpdaterInfo>& detail::registry(UpdaterList<U...>) {
  // Never destroyed: there are updaters that step, or are made, in static destructors.
  static const auto* const infos = [] {
    int index = 0;
    return new std::vector<UpdaterInfo>{describe_updater<U>(index++)...};
  }();
  return *infos;
}

/// All registered updaters, in the order of updaters.hpp.
inline std::span<const UpdaterInfo> updater_registry() { return detail::registry(Updaters{}); }

/// The UpdaterInfo of a registered updater struct.
template <class U>
const UpdaterInfo& registered() {
  return updater_registry()[place_of_updater<U>(Updaters{})];
}

/// The registered updater of that name, or nullptr.
inline const UpdaterInfo* find_updater(std::string_view name) {
  for (const UpdaterInfo& info : updater_registry()) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

}  // namespace flatstep
