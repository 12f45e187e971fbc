// Configuration: what the user asks for, per network, layer and parameter, and what each slot gets.
//
// NetworkConfiguration holds the defaults and, by layer and parameter, what overrides them;
// `resolve` makes the settings of every layer and slot of a layout from it. It alone decides what
// inherits from what and what is an error; the Python classes mirror these and decide nothing.
//
// Of an updater the nearest wins: parameter; for biases then the layer's and the network's bias
// updater; layer; network. A rate given by itself (a parameter's learning_rate, or the
// bias_learning_rate of layer or network) replaces that of the updater; the latter does not touch
// an updater that was given to the parameter. An updater without a rate ignores both.
//
// Every error is a std::invalid_argument that says where, what was expected, what came, what to do.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <flatstep/learning_rate_policy.hpp>
#include <flatstep/schedule.hpp>
#include <flatstep/text.hpp>
#include <flatstep/updaters/registry.hpp>

namespace flatstep {

// ---------------------------------------------------------------------------------------- choices

enum class GradientNormalization {
  None,
  RenormalizeL2PerLayer,
  RenormalizeL2PerParamType,
  ClipElementWiseAbsoluteValue,
  ClipL2PerLayer,
  ClipL2PerParamType,
  ClipL2Global,
};

/// What a step does with a gradient that has an infinity or NaN in it.
enum class OnNonfinite { raise, skip, propagate };

inline constexpr std::array<std::string_view, 7> gradient_normalization_names{
    "None",
    "RenormalizeL2PerLayer",
    "RenormalizeL2PerParamType",
    "ClipElementWiseAbsoluteValue",
    "ClipL2PerLayer",
    "ClipL2PerParamType",
    "ClipL2Global"};
inline constexpr std::array<std::string_view, 3> on_nonfinite_names{"raise", "skip", "propagate"};
inline constexpr std::array<std::string_view, 2> semantics_names{"dl4j-1.0", "dl4j-0.8"};

inline std::string_view to_string(GradientNormalization strategy) {
  return gradient_normalization_names[static_cast<std::size_t>(strategy)];
}
inline std::string_view to_string(OnNonfinite on_nonfinite) {
  return on_nonfinite_names[static_cast<std::size_t>(on_nonfinite)];
}
inline std::string_view to_string(Semantics semantics) {
  return semantics_names[static_cast<std::size_t>(semantics)];
}
inline GradientNormalization parse_gradient_normalization(std::string_view name) {
  return static_cast<GradientNormalization>(
      text::place("gradient_normalization", gradient_normalization_names, name));
}
inline OnNonfinite parse_on_nonfinite(std::string_view name) {
  return static_cast<OnNonfinite>(text::place("on_nonfinite", on_nonfinite_names, name));
}
inline Semantics parse_semantics(std::string_view name) {
  return static_cast<Semantics>(text::place("semantics", semantics_names, name));
}

/// Whether the strategy compares something with the threshold.
constexpr bool uses_threshold(GradientNormalization strategy) {
  return strategy == GradientNormalization::ClipElementWiseAbsoluteValue ||
         strategy == GradientNormalization::ClipL2PerLayer ||
         strategy == GradientNormalization::ClipL2PerParamType ||
         strategy == GradientNormalization::ClipL2Global;
}

// --------------------------------------------------------------------------------------- updaters

/// An updater with its hyper-parameters.
struct UpdaterConfiguration {
  const UpdaterInfo* kind = nullptr;
  /// In the order of kind->hyper_parameters.
  std::vector<Schedule> values;
  /// AdamW's: weight decay, with the rate, of every slot that uses this updater.
  double weight_decay = 0.0;
  /// Keeps `kind` alive where the registry does not.
  std::shared_ptr<const void> owner{};

  friend bool operator==(const UpdaterConfiguration& a, const UpdaterConfiguration& b) {
    return a.kind == b.kind && a.values == b.values && a.weight_decay == b.weight_decay;
  }
};

/// What the user calls it: an Adam with weight decay is AdamW.
inline std::string name_of(const UpdaterConfiguration& updater) {
  return std::string(updater.kind->name) + (updater.weight_decay != 0.0 ? "W" : "");
}

/// `info` with its defaults, but for the hyper-parameters that are given:
/// `make_updater(info, {{"learning_rate", 0.1}})`.
inline UpdaterConfiguration make_updater(
    const UpdaterInfo& info,
    std::initializer_list<std::pair<std::string_view, Schedule>> given = {}) {
  UpdaterConfiguration updater;
  updater.kind = &info;
  std::vector<std::string_view> names;
  for (const HyperParameter& parameter : info.hyper_parameters) {
    names.push_back(parameter.name);
    updater.values.emplace_back(parameter.default_value);
  }
  for (const auto& [name, value] : given) {
    updater.values[text::place("hyper-parameter of " + std::string(info.name), names, name)] =
        value;
  }
  return updater;
}

/// A registered updater by name: `make_updater("Adam", {{"learning_rate", 0.1}})`.
inline UpdaterConfiguration make_updater(
    std::string_view name,
    std::initializer_list<std::pair<std::string_view, Schedule>> given = {}) {
  std::vector<std::string_view> names;
  for (const UpdaterInfo& info : updater_registry()) names.push_back(info.name);
  return make_updater(updater_registry()[text::place("updater", names, name)], given);
}

// ---------------------------------------------------------------------------------- configuration

/// What one parameter does differently from its layer; what is not given is inherited.
struct ParamConfiguration {
  std::optional<UpdaterConfiguration> updater{};
  std::optional<Schedule> learning_rate{};
  std::optional<LearningRatePolicy> learning_rate_policy{};
  std::optional<std::map<std::int64_t, double>> momentum_schedule{};
  std::optional<double> l1{};
  std::optional<double> l2{};
  std::optional<double> weight_decay{};
  std::optional<bool> weight_decay_apply_lr{};
  /// A running statistic, no gradient; not given: what the layer's kind says.
  std::optional<bool> statistic{};
};

/// What one layer does differently from the network; what is not given is inherited.
struct LayerConfiguration {
  std::optional<UpdaterConfiguration> updater{};
  std::optional<UpdaterConfiguration> bias_updater{};
  std::optional<Schedule> bias_learning_rate{};
  std::optional<LearningRatePolicy> learning_rate_policy{};
  std::optional<std::map<std::int64_t, double>> momentum_schedule{};
  std::optional<GradientNormalization> gradient_normalization{};
  std::optional<double> gradient_normalization_threshold{};
  std::optional<double> l1{};
  std::optional<double> l2{};
  std::optional<double> l1_bias{};
  std::optional<double> l2_bias{};
  std::optional<double> weight_decay{};
  std::optional<double> weight_decay_bias{};
  std::optional<bool> weight_decay_apply_lr{};
  /// DL4J's layer type. "BatchNormalization" makes mean, var and log10stdev statistics and takes
  /// the layer out of regularisation; no other says anything.
  std::string kind{};
  bool frozen = false;
  bool pretrain = false;
  std::map<std::string, ParamConfiguration, std::less<>> params{};
};

struct NetworkConfiguration {
  UpdaterConfiguration updater = make_updater("Sgd");
  std::optional<UpdaterConfiguration> bias_updater{};
  std::optional<Schedule> bias_learning_rate{};
  LearningRatePolicy learning_rate_policy{};
  std::map<std::int64_t, double> momentum_schedule{};
  GradientNormalization gradient_normalization = GradientNormalization::None;
  double gradient_normalization_threshold = 1.0;
  double l1 = 0.0;
  double l2 = 0.0;
  double l1_bias = 0.0;
  double l2_bias = 0.0;
  double weight_decay = 0.0;
  double weight_decay_bias = 0.0;
  bool weight_decay_apply_lr = true;
  bool mini_batch = true;
  Semantics semantics = Semantics::dl4j_1_0;
  OnNonfinite on_nonfinite = OnNonfinite::raise;
  /// Parameter types that are biases; the visible bias "vb" always is.
  std::vector<std::string> bias_params{"b", "bias"};
  std::map<std::string, LayerConfiguration, std::less<>> layers{};
};

// --------------------------------------------------------------------------------------- settings

/// A slot of the layout: its key ("0_W") and the two parts of it.
struct SlotName {
  std::string key;
  std::string layer;
  std::string param;
};

struct SlotSettings {
  /// NoOp for statistics, and for frozen slots under dl4j-1.0. Its weight decay is in
  /// `weight_decay` below and 0 here, so that Adam and AdamW are equal.
  UpdaterConfiguration updater;
  bool frozen = false;
  bool statistic = false;
  bool pretrain = false;
  bool visible_bias = false;
  double l1 = 0.0;
  double l2 = 0.0;
  double weight_decay = 0.0;
  bool weight_decay_apply_lr = true;
  /// None unless the updater has a learning rate.
  LearningRatePolicy policy;
  /// Empty unless the updater has a momentum.
  std::map<std::int64_t, double> momentum_schedule;
  /// Place of its layer in NetworkSettings::layers.
  std::size_t layer = 0;
};

struct LayerSettings {
  std::string name;
  GradientNormalization strategy = GradientNormalization::None;
  double threshold = 1.0;
  bool frozen = false;
  bool pretrain = false;
  /// In the group of ClipL2Global (which `strategy` then is): neither frozen, nor with a strategy
  /// of its own, nor in pretraining under dl4j-0.8, which skips normalisation there.
  bool global = false;
};

struct NetworkSettings {
  Semantics semantics = Semantics::dl4j_1_0;
  bool mini_batch = true;
  OnNonfinite on_nonfinite = OnNonfinite::raise;
  double global_threshold = 1.0;
  std::vector<LayerSettings> layers;  ///< in the order of the slots
  std::vector<SlotSettings> slots;
};

// ------------------------------------------------------------------------------------- validation

namespace detail {

[[noreturn]] inline void refuse(const std::string& where, const std::string& what) {
  throw std::invalid_argument(where.empty() ? what : where + ": " + what);
}

inline std::string layer_text(std::string_view layer) { return "layer " + text::quoted(layer); }

inline std::string interval_text(const HyperParameter& parameter) {
  if (std::isinf(parameter.high)) {
    return std::string("a finite number ") + (parameter.low_included ? ">= " : "> ") +
           text::number(parameter.low);
  }
  return std::string("a number in ") + (parameter.low_included ? '[' : '(') +
         text::number(parameter.low) + ", " + text::number(parameter.high) +
         (parameter.high_included ? ']' : ')');
}

inline bool in_interval(const HyperParameter& parameter, double value) {
  return (parameter.low_included ? value >= parameter.low : value > parameter.low) &&
         (parameter.high_included ? value <= parameter.high : value < parameter.high);
}

inline void validate_value(const std::string& where, const std::string& updater,
                           const HyperParameter& parameter, const Schedule& value) {
  const std::string what = updater + ": " + std::string(parameter.name);
  if (parameter.role == Role::plain && !value.is_constant()) {
    refuse(where, what +
                      ": expected a number, got a schedule; only learning_rate and momentum "
                      "follow schedules");
  }
  for (const double given : value.given_values()) {
    if (!in_interval(parameter, given)) {
      refuse(where,
             what + ": expected " + interval_text(parameter) + ", got " + text::number(given));
    }
  }
}

inline void validate_coefficient(const std::string& where, std::string_view argument,
                                 double value) {
  if (!(std::isfinite(value) && value >= 0.0)) {
    refuse(where,
           std::string(argument) + ": expected a finite number >= 0, got " + text::number(value));
  }
}

inline void validate_weight_decay(const std::string& where, std::string_view argument, double value,
                                  Semantics semantics) {
  validate_coefficient(where, argument, value);
  if (semantics == Semantics::dl4j_0_8 && value != 0.0) {
    refuse(where, std::string(argument) +
                      ": expected 0 under semantics=\"dl4j-0.8\", whose order "
                      "has no place for weight decay, got " +
                      text::number(value) + "; use l2, or semantics=\"dl4j-1.0\"");
  }
}

}  // namespace detail

/// Throws for hyper-parameters that the updater cannot take. `where` opens the text.
inline void validate(const UpdaterConfiguration& updater, const std::string& where = "") {
  if (updater.kind == nullptr) {
    detail::refuse(where, "expected an updater, got one without a kind; use make_updater");
  }
  const auto parameters = updater.kind->hyper_parameters;
  if (updater.values.size() != parameters.size()) {
    detail::refuse(where, name_of(updater) + ": expected " + std::to_string(parameters.size()) +
                              " hyper-parameters, got " + std::to_string(updater.values.size()) +
                              "; use make_updater");
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    detail::validate_value(where, name_of(updater), parameters[i], updater.values[i]);
  }
  detail::validate_coefficient(where, name_of(updater) + ": weight_decay", updater.weight_decay);
}

namespace detail {

inline void validate_updater(const std::string& where, std::string_view argument,
                             const UpdaterConfiguration& updater, Semantics semantics) {
  const std::string place = where + ": " + std::string(argument);
  validate(updater, place);
  validate_weight_decay(place, name_of(updater) + ": weight_decay", updater.weight_decay,
                        semantics);
}

inline void validate_rate(const std::string& where, std::string_view argument,
                          const Schedule& rate) {
  for (const double value : rate.given_values()) validate_coefficient(where, argument, value);
}

inline void validate_policy(const std::string& where, const LearningRatePolicy& policy,
                            Semantics semantics) {
  if (policy.kind == LearningRatePolicy::Kind::None) return;
  try {
    validate(policy);
  } catch (const std::invalid_argument& error) {
    refuse(where, error.what());
  }
  if (semantics != Semantics::dl4j_0_8) {
    refuse(where, "learning_rate_policy: expected none under semantics=" +
                      text::quoted(to_string(semantics)) + ", got " +
                      text::quoted(to_string(policy.kind)) +
                      "; use a schedule as the updater's learning_rate, or "
                      "semantics=\"dl4j-0.8\"");
  }
}

inline void validate_momentum_schedule(const std::string& where,
                                       const std::map<std::int64_t, double>& schedule,
                                       Semantics semantics) {
  if (schedule.empty()) return;
  if (semantics != Semantics::dl4j_0_8) {
    refuse(where, "momentum_schedule: expected none under semantics=" +
                      text::quoted(to_string(semantics)) +
                      "; use a schedule as the momentum of Nesterovs (MapSchedule), or "
                      "semantics=\"dl4j-0.8\"");
  }
  if (schedule.begin()->first < 0) {
    refuse(where, "momentum_schedule: expected iterations >= 0 as keys, got " +
                      std::to_string(schedule.begin()->first));
  }
  for (const auto& [iteration, momentum] : schedule) {
    validate_coefficient(where, "momentum_schedule[" + std::to_string(iteration) + "]", momentum);
  }
}

inline void validate_threshold(const std::string& where, GradientNormalization strategy,
                               double threshold) {
  if (uses_threshold(strategy) && !(std::isfinite(threshold) && threshold > 0.0)) {
    refuse(where, "gradient_normalization_threshold: expected a finite number > 0 for " +
                      std::string(to_string(strategy)) + ", got " + text::number(threshold));
  }
}

inline void validate_layer(const std::string& name, const LayerConfiguration& layer,
                           const NetworkConfiguration& network) {
  const Semantics semantics = network.semantics;
  const std::string where = layer_text(name);
  if (layer.updater) validate_updater(where, "updater", *layer.updater, semantics);
  if (layer.bias_updater) validate_updater(where, "bias_updater", *layer.bias_updater, semantics);
  if (layer.bias_learning_rate) {
    validate_rate(where, "bias_learning_rate", *layer.bias_learning_rate);
  }
  if (layer.learning_rate_policy) validate_policy(where, *layer.learning_rate_policy, semantics);
  if (layer.momentum_schedule) {
    validate_momentum_schedule(where, *layer.momentum_schedule, semantics);
  }
  if (layer.gradient_normalization == GradientNormalization::ClipL2Global) {
    refuse(where,
           "gradient_normalization: expected a strategy for a layer, got ClipL2Global, "
           "which is for the network only; use ClipL2PerLayer, or set it for the network");
  }
  if (layer.gradient_normalization || layer.gradient_normalization_threshold) {
    const auto strategy = layer.gradient_normalization.value_or(network.gradient_normalization);
    if (strategy != GradientNormalization::ClipL2Global) {
      validate_threshold(where, strategy,
                         layer.gradient_normalization_threshold.value_or(
                             network.gradient_normalization_threshold));
    }
  }
  validate_coefficient(where, "l1", layer.l1.value_or(0.0));
  validate_coefficient(where, "l2", layer.l2.value_or(0.0));
  validate_coefficient(where, "l1_bias", layer.l1_bias.value_or(0.0));
  validate_coefficient(where, "l2_bias", layer.l2_bias.value_or(0.0));
  validate_weight_decay(where, "weight_decay", layer.weight_decay.value_or(0.0), semantics);
  validate_weight_decay(where, "weight_decay_bias", layer.weight_decay_bias.value_or(0.0),
                        semantics);
  for (const auto& [param_name, param] : layer.params) {
    const std::string param_where = where + ", parameter " + text::quoted(param_name);
    if (param.updater) validate_updater(param_where, "updater", *param.updater, semantics);
    if (param.learning_rate) validate_rate(param_where, "learning_rate", *param.learning_rate);
    if (param.learning_rate_policy) {
      validate_policy(param_where, *param.learning_rate_policy, semantics);
    }
    if (param.momentum_schedule) {
      validate_momentum_schedule(param_where, *param.momentum_schedule, semantics);
    }
    validate_coefficient(param_where, "l1", param.l1.value_or(0.0));
    validate_coefficient(param_where, "l2", param.l2.value_or(0.0));
    validate_weight_decay(param_where, "weight_decay", param.weight_decay.value_or(0.0), semantics);
  }
}

}  // namespace detail

/// Throws for everything that is wrong whatever the layout is.
inline void validate(const NetworkConfiguration& network) {
  const Semantics semantics = network.semantics;
  const std::string where = "network";
  detail::validate_updater(where, "updater", network.updater, semantics);
  if (network.bias_updater) {
    detail::validate_updater(where, "bias_updater", *network.bias_updater, semantics);
  }
  if (network.bias_learning_rate) {
    detail::validate_rate(where, "bias_learning_rate", *network.bias_learning_rate);
  }
  detail::validate_policy(where, network.learning_rate_policy, semantics);
  detail::validate_momentum_schedule(where, network.momentum_schedule, semantics);
  detail::validate_threshold(where, network.gradient_normalization,
                             network.gradient_normalization_threshold);
  detail::validate_coefficient(where, "l1", network.l1);
  detail::validate_coefficient(where, "l2", network.l2);
  detail::validate_coefficient(where, "l1_bias", network.l1_bias);
  detail::validate_coefficient(where, "l2_bias", network.l2_bias);
  detail::validate_weight_decay(where, "weight_decay", network.weight_decay, semantics);
  detail::validate_weight_decay(where, "weight_decay_bias", network.weight_decay_bias, semantics);
  for (const auto& [name, layer] : network.layers) detail::validate_layer(name, layer, network);
}

// ------------------------------------------------------------------------------------- resolution

namespace detail {

/// The value of the nearest level that has one.
template <class T>
const T& nearest(const std::optional<T>& param, const std::optional<T>& layer, const T& network) {
  return param ? *param : layer ? *layer : network;
}

inline bool is_statistic(const LayerConfiguration& layer, const ParamConfiguration& param,
                         std::string_view name) {
  const bool of_kind = layer.kind == "BatchNormalization" &&
                       (name == "mean" || name == "var" || name == "log10stdev");
  return param.statistic.value_or(of_kind);
}

inline UpdaterConfiguration resolve_updater(const NetworkConfiguration& network,
                                            const LayerConfiguration& layer,
                                            const ParamConfiguration& param, bool bias) {
  UpdaterConfiguration updater = param.updater                  ? *param.updater
                                 : bias && layer.bias_updater   ? *layer.bias_updater
                                 : bias && network.bias_updater ? *network.bias_updater
                                 : layer.updater                ? *layer.updater
                                                                : network.updater;
  const int place = updater.kind->find(Role::learning_rate);
  if (place < 0) return updater;
  Schedule& rate = updater.values[static_cast<std::size_t>(place)];
  if (param.learning_rate) {
    rate = *param.learning_rate;
  } else if (bias && !param.updater) {
    if (layer.bias_learning_rate) {
      rate = *layer.bias_learning_rate;
    } else if (network.bias_learning_rate) {
      rate = *network.bias_learning_rate;
    }
  }
  return updater;
}

inline void refuse_updater_of_statistic(const std::string& where, const ParamConfiguration& param) {
  if (param.updater && param.updater->kind->name != "NoOp") {
    refuse(where, "updater: expected none or NoOp for a statistic, got " + name_of(*param.updater) +
                      "; a statistic is moved by its gradient as it stands (statistic=False makes "
                      "it an ordinary parameter)");
  }
  const std::pair<std::string_view, double> coefficients[] = {
      {"l1", param.l1.value_or(0.0)},
      {"l2", param.l2.value_or(0.0)},
      {"weight_decay", param.weight_decay.value_or(0.0)}};
  for (const auto& [argument, value] : coefficients) {
    if (value != 0.0) {
      refuse(where,
             std::string(argument) + ": expected 0 for a statistic, got " + text::number(value));
    }
  }
}

inline void resolve_regularization(const std::string& where, const NetworkConfiguration& network,
                                   const LayerConfiguration& layer, const ParamConfiguration& param,
                                   bool bias, SlotSettings& slot) {
  const bool exempt = layer.kind == "BatchNormalization";
  const auto coefficient = [&](const std::optional<double>& of_param,
                               const std::optional<double>& of_layer, double of_network) {
    return of_param ? *of_param : exempt ? 0.0 : of_layer.value_or(of_network);
  };
  slot.l1 = bias ? coefficient(param.l1, layer.l1_bias, network.l1_bias)
                 : coefficient(param.l1, layer.l1, network.l1);
  slot.l2 = bias ? coefficient(param.l2, layer.l2_bias, network.l2_bias)
                 : coefficient(param.l2, layer.l2, network.l2);
  slot.weight_decay =
      bias ? coefficient(param.weight_decay, layer.weight_decay_bias, network.weight_decay_bias)
           : coefficient(param.weight_decay, layer.weight_decay, network.weight_decay);
  slot.weight_decay_apply_lr = nearest(param.weight_decay_apply_lr, layer.weight_decay_apply_lr,
                                       network.weight_decay_apply_lr);
  if (slot.updater.weight_decay != 0.0) {
    if (slot.weight_decay != 0.0) {
      refuse(where, "weight_decay: expected 0 beside AdamW, which has a weight decay of " +
                        text::number(slot.updater.weight_decay) + ", got " +
                        text::number(slot.weight_decay) + "; use Adam, or leave it to AdamW");
    }
    slot.weight_decay = std::exchange(slot.updater.weight_decay, 0.0);
    slot.weight_decay_apply_lr = true;
  }
}

inline void resolve_policy(const std::string& where, const LearningRatePolicy& policy,
                           SlotSettings& slot) {
  const UpdaterInfo& kind = *slot.updater.kind;
  const int place = kind.find(Role::learning_rate);
  if (place < 0 || policy.kind == LearningRatePolicy::Kind::None) return;
  if (!slot.updater.values[static_cast<std::size_t>(place)].is_constant()) {
    refuse(where, "expected a learning_rate_policy or a schedule, got both: policy " +
                      text::quoted(to_string(policy.kind)) +
                      " and a schedule as learning_rate of " + std::string(kind.name) +
                      "; give a number as learning_rate, or LearningRatePolicy(\"None\") to the "
                      "layer or parameter");
  }
  slot.policy = policy;
}

inline void resolve_momentum_schedule(const std::string& where,
                                      const std::map<std::int64_t, double>& schedule,
                                      SlotSettings& slot) {
  const UpdaterInfo& kind = *slot.updater.kind;
  const int place = kind.find(Role::momentum);
  if (place < 0 || schedule.empty()) return;
  const auto momentum = static_cast<std::size_t>(place);
  if (!slot.updater.values[momentum].is_constant()) {
    refuse(where, "expected a momentum_schedule or a schedule as momentum of " +
                      std::string(kind.name) +
                      ", got both; give a number as momentum, or leave out momentum_schedule");
  }
  for (const auto& [iteration, value] : schedule) {
    validate_value(where + ": momentum_schedule[" + std::to_string(iteration) + "]",
                   std::string(kind.name), kind.hyper_parameters[momentum], value);
  }
  slot.momentum_schedule = schedule;
}

inline SlotSettings resolve_slot(const NetworkConfiguration& network,
                                 const LayerConfiguration& layer, const ParamConfiguration& param,
                                 const SlotName& name) {
  const std::string where = "parameter " + text::quoted(name.key);
  SlotSettings slot;
  slot.visible_bias = name.param == "vb";
  slot.pretrain = layer.pretrain;
  slot.frozen = layer.frozen;
  slot.statistic = is_statistic(layer, param, name.param);
  if (slot.statistic) {
    refuse_updater_of_statistic(where, param);
    slot.updater = make_updater("NoOp");
    return slot;
  }
  const bool bias = slot.visible_bias || std::ranges::count(network.bias_params, name.param) != 0;
  slot.updater = resolve_updater(network, layer, param, bias);
  resolve_regularization(where, network, layer, param, bias, slot);
  resolve_policy(
      where,
      nearest(param.learning_rate_policy, layer.learning_rate_policy, network.learning_rate_policy),
      slot);
  resolve_momentum_schedule(
      where, nearest(param.momentum_schedule, layer.momentum_schedule, network.momentum_schedule),
      slot);
  if (!slot.frozen) return slot;

  // A frozen slot is checked like any other, but nothing of it moves. 0.8 gives it its updater's
  // state all the same, which stays as it is.
  SlotSettings frozen;
  frozen.visible_bias = slot.visible_bias;
  frozen.pretrain = slot.pretrain;
  frozen.frozen = true;
  frozen.updater =
      network.semantics == Semantics::dl4j_0_8 ? std::move(slot.updater) : make_updater("NoOp");
  return frozen;
}

inline LayerSettings resolve_layer(const NetworkConfiguration& network,
                                   const LayerConfiguration& layer, const std::string& name) {
  LayerSettings settings;
  settings.name = name;
  settings.frozen = layer.frozen;
  settings.pretrain = layer.pretrain;
  settings.strategy = layer.gradient_normalization.value_or(network.gradient_normalization);
  settings.threshold =
      layer.gradient_normalization_threshold.value_or(network.gradient_normalization_threshold);
  if (settings.strategy == GradientNormalization::ClipL2Global) {
    const bool skipped =
        layer.frozen || (layer.pretrain && network.semantics == Semantics::dl4j_0_8);
    settings.global = !skipped;
    settings.threshold = network.gradient_normalization_threshold;
    if (skipped) settings.strategy = GradientNormalization::None;
  }
  return settings;
}

/// Every name under `layers` and `params` must be one that the layout has.
inline void validate_names(const NetworkConfiguration& network, std::span<const SlotName> slots) {
  for (const auto& [layer_name, layer] : network.layers) {
    std::vector<std::string> params;
    std::vector<std::string> layers;
    for (const SlotName& slot : slots) {
      if (slot.layer == layer_name) params.push_back(slot.param);
      if (layers.empty() || layers.back() != slot.layer) layers.push_back(slot.layer);
    }
    if (params.empty()) {
      refuse("layers", "expected names of layers with parameters (" + text::quoted_list(layers) +
                           "), got " + text::quoted(layer_name) + "; correct or remove it");
    }
    for (const auto& entry : layer.params) {
      if (std::ranges::count(params, entry.first) == 0) {
        refuse(layer_text(layer_name), "params: expected names of its parameters (" +
                                           text::quoted_list(params) + "), got " +
                                           text::quoted(entry.first) + "; correct or remove it");
      }
    }
  }
}

/// A momentum schedule that reaches no momentum is a mistake, not a default.
inline void validate_momentum_reached(const NetworkConfiguration& network,
                                      std::span<const SlotName> slots,
                                      const NetworkSettings& settings) {
  const auto require_reached = [&](const std::string& where,
                                   const std::map<std::int64_t, double>& schedule,
                                   const std::string* layer, const std::string* param) {
    if (schedule.empty()) return;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      const bool inside = (layer == nullptr || slots[i].layer == *layer) &&
                          (param == nullptr || slots[i].param == *param);
      if (inside && settings.slots[i].updater.kind->find(Role::momentum) >= 0) return;
    }
    refuse(where,
           "momentum_schedule: expected an updater with a momentum (Nesterovs), got none; "
           "use Nesterovs, or leave out momentum_schedule");
  };
  require_reached("network", network.momentum_schedule, nullptr, nullptr);
  for (const auto& layer : network.layers) {
    require_reached(layer_text(layer.first),
                    layer.second.momentum_schedule.value_or(std::map<std::int64_t, double>{}),
                    &layer.first, nullptr);
    for (const auto& param : layer.second.params) {
      require_reached(layer_text(layer.first) + ", parameter " + text::quoted(param.first),
                      param.second.momentum_schedule.value_or(std::map<std::int64_t, double>{}),
                      &layer.first, &param.first);
    }
  }
}

}  // namespace detail

/// The settings of every layer and slot. `slots` are in the order of the layout, those of one layer
/// next to each other.
inline NetworkSettings resolve(const NetworkConfiguration& network,
                               std::span<const SlotName> slots) {
  validate(network);
  detail::validate_names(network, slots);

  NetworkSettings settings;
  settings.semantics = network.semantics;
  settings.mini_batch = network.mini_batch;
  settings.on_nonfinite = network.on_nonfinite;
  settings.global_threshold = network.gradient_normalization_threshold;

  static const LayerConfiguration plain_layer;
  static const ParamConfiguration plain_param;
  const LayerConfiguration* layer = &plain_layer;
  for (const SlotName& name : slots) {
    if (settings.layers.empty() || settings.layers.back().name != name.layer) {
      for (const LayerSettings& earlier : settings.layers) {
        if (earlier.name == name.layer) {
          detail::refuse("parameter " + text::quoted(name.key),
                         "expected the parameters of " + detail::layer_text(name.layer) +
                             " next to each other, got others between them; reorder them");
        }
      }
      const auto found = network.layers.find(name.layer);
      layer = found == network.layers.end() ? &plain_layer : &found->second;
      settings.layers.push_back(detail::resolve_layer(network, *layer, name.layer));
    }
    const auto found = layer->params.find(name.param);
    const ParamConfiguration& param = found == layer->params.end() ? plain_param : found->second;
    settings.slots.push_back(detail::resolve_slot(network, *layer, param, name));
    settings.slots.back().layer = settings.layers.size() - 1;
  }
  detail::validate_momentum_reached(network, slots, settings);
  return settings;
}

}  // namespace flatstep
