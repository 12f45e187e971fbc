// What is wrong with a configuration whatever the layout is.
//
// Every error is a std::invalid_argument that says where, what was expected, what came, what to do.
#pragma once

#include <flatstep/configuration/network_configuration.hpp>
#include <flatstep/text.hpp>

#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace flatstep {

namespace detail {

[[noreturn]] inline void refuse(const std::string& where, const std::string& what) {
  throw std::invalid_argument(where.empty() ? what : where + ": " + what);
}

inline std::string layer_text(std::string_view layer) { return "layer " + text::quoted(layer); }

inline std::string interval_text(const HyperParameter& parameter) {
  if (parameter.kind == ValueKind::flag) return "0 or 1";
  if (parameter.kind == ValueKind::choice) {
    return "an integer from 0 to " + text::number(parameter.high);
  }
  if (std::isinf(parameter.high)) {
    return std::string("a finite number ") + (parameter.low_included ? ">= " : "> ") +
           text::number(parameter.low);
  }
  return std::string("a number in ") + (parameter.low_included ? '[' : '(') +
         text::number(parameter.low) + ", " + text::number(parameter.high) +
         (parameter.high_included ? ']' : ')');
}

inline bool in_interval(const HyperParameter& parameter, double value) {
  if (parameter.optional && value == not_given) return true;
  if (parameter.kind != ValueKind::number && value != std::floor(value)) return false;
  return (parameter.low_included ? value >= parameter.low : value > parameter.low) &&
         (parameter.high_included ? value <= parameter.high : value < parameter.high);
}

inline void validate_value(const std::string& where, const std::string& updater,
                           const HyperParameter& parameter, const Schedule& value) {
  const std::string what = updater + ": " + std::string(parameter.name);
  if (parameter.role == Role::plain && !value.is_constant()) {
    refuse(where, what + ": expected a number, got a schedule; it does not move: give a number");
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

inline void validate_share(const std::string& where, std::string_view argument,
                           const Schedule& share) {
  for (const double value : share.given_values()) {
    if (value > 1.0) {
      refuse(where,
             std::string(argument) + ": expected a number in [0, 1], got " + text::number(value));
    }
  }
}

inline void validate_policy(const std::string& where, const LearningRatePolicy& policy,
                            Semantics semantics) {
  if (policy.kind == LearningRatePolicy::Kind::None) return;
  try {
    validate(policy);
  } catch (const std::invalid_argument& error) {
    refuse(where, error.what());
  }
  if (!rules_of(semantics).has_policies) {
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
  if (!rules_of(semantics).has_policies) {
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
  if (rules_of(strategy).has_threshold() && !(std::isfinite(threshold) && threshold > 0.0)) {
    refuse(where, "gradient_normalization_threshold: expected a finite number > 0 for " +
                      std::string(to_string(strategy)) + ", got " + text::number(threshold));
  }
}

/// Checks the fields of one level, each by itself. What needs more than one field is checked by the
/// level, below.
class FieldValidator {
 public:
  FieldValidator(std::string where, Semantics semantics)
      : where_(std::move(where)), semantics_(semantics) {}

  template <class T>
  void operator()(std::string_view name, const std::optional<T>& field, FieldRole role) const {
    if (field) (*this)(name, *field, role);
  }
  void operator()(std::string_view name, const UpdaterConfiguration& updater, FieldRole) const {
    validate_updater(where_, name, updater, semantics_);
  }
  void operator()(std::string_view name, const Schedule& rate, FieldRole role) const {
    validate_rate(where_, name, rate);
    if (role == FieldRole::share) validate_share(where_, name, rate);
  }
  void operator()(std::string_view, const LearningRatePolicy& policy, FieldRole) const {
    validate_policy(where_, policy, semantics_);
  }
  void operator()(std::string_view, const std::map<std::int64_t, double>& schedule,
                  FieldRole) const {
    validate_momentum_schedule(where_, schedule, semantics_);
  }
  void operator()(std::string_view name, double value, FieldRole role) const {
    if (role == FieldRole::coefficient) validate_coefficient(where_, name, value);
    if (role == FieldRole::weight_decay) validate_weight_decay(where_, name, value, semantics_);
  }
  /// Flags, names and what lies below this level.
  template <class T>
  void operator()(std::string_view, const T&, FieldRole) const {}

 private:
  std::string where_;
  Semantics semantics_;
};

/// That a layer's strategy is one for layers, and the threshold one for the strategy.
inline void validate_normalization(const std::string& where, const LayerConfiguration& layer,
                                   const NetworkConfiguration& network) {
  const auto strategy = layer.gradient_normalization.value_or(network.gradient_normalization);
  const bool of_network = rules_of(strategy).group == NormalizationGroup::network;
  if (layer.gradient_normalization && of_network) {
    refuse(where, "gradient_normalization: expected a strategy for a layer, got " +
                      std::string(to_string(strategy)) +
                      ", which is for the network only; use ClipL2PerLayer, or set it for the "
                      "network");
  }
  if (of_network || !(layer.gradient_normalization || layer.gradient_normalization_threshold)) {
    return;
  }
  validate_threshold(
      where, strategy,
      layer.gradient_normalization_threshold.value_or(network.gradient_normalization_threshold));
}

inline void validate_layer(const std::string& name, const LayerConfiguration& layer,
                           const NetworkConfiguration& network) {
  const std::string where = layer_text(name);
  visit_fields(layer, FieldValidator(where, network.semantics));
  validate_normalization(where, layer, network);
  for (const auto& [param_name, param] : layer.params) {
    visit_fields(param, FieldValidator(where + ", parameter " + text::quoted(param_name),
                                       network.semantics));
  }
}

}  // namespace detail

/// Throws for everything that is wrong whatever the layout is.
inline void validate(const NetworkConfiguration& network) {
  const std::string where = "network";
  visit_fields(network, detail::FieldValidator(where, network.semantics));
  detail::validate_threshold(where, network.gradient_normalization,
                             network.gradient_normalization_threshold);
  for (const auto& [name, layer] : network.layers) detail::validate_layer(name, layer, network);
}

}  // namespace flatstep
