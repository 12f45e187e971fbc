// resolve: the settings of every layer and slot of a layout, from a configuration. It alone decides
// what inherits from what.
//
// Of an updater the nearest wins: parameter; for biases then the layer's and the network's bias
// updater; layer; network. A rate given by itself (a parameter's learning_rate, or the
// bias_learning_rate of layer or network) replaces that of the updater; the latter does not touch
// an updater that was given to the parameter. An updater without a rate ignores both, and the
// learning_rate_scale of parameter or layer, which multiplies the rate whichever it is.
//
// Every error is a std::invalid_argument that says where, what was expected, what came, what to do.
#pragma once

#include <flatstep/configuration/network_configuration.hpp>
#include <flatstep/configuration/settings.hpp>
#include <flatstep/configuration/validate.hpp>
#include <flatstep/text.hpp>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flatstep {

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
  if (param.updater && param.updater->kind != &registered<NoOp>()) {
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
                                   bool decays, SlotSettings& slot) {
  const bool exempt = !decays || layer.kind == "BatchNormalization";
  const auto coefficient = [&](const std::optional<double>& of_param,
                               const std::optional<double>& of_layer, double of_network) {
    return of_param ? *of_param : exempt ? 0.0 : of_layer.value_or(of_network);
  };
  const bool bias = slot.bias;
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
    const double own = std::exchange(slot.updater.weight_decay, 0.0);
    slot.weight_decay = decays || param.updater ? own : 0.0;
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

using Names = std::unordered_set<std::string_view>;

/// Parameter types that are biases, besides `vb`.
class Biases {
 public:
  explicit Biases(const std::optional<std::vector<std::string>>& listed)
      : listed_(listed.has_value()) {
    if (listed) names_.insert(listed->begin(), listed->end());
  }
  bool contain(std::string_view param, std::span<const std::size_t> shape) const {
    return listed_ ? names_.contains(param) : is_bias_name(param, shape);
  }

 private:
  bool listed_;
  Names names_;
};

/// Small arrays gain nothing by fewer bits, and a callback's state may be anything: both stay full
/// unless their own layer or parameter asks for fewer.
inline void resolve_state_storage(const std::string& where, const NetworkConfiguration& network,
                                  const LayerConfiguration& layer, const ParamConfiguration& param,
                                  std::span<const std::size_t> shape, SlotSettings& slot) {
  const auto& own = param.state_storage ? param.state_storage : layer.state_storage;
  const bool is_callback = slot.updater.kind->is_callback();
  if (own) {
    if (is_callback && param.state_storage && *own != StateStorage::full) {
      refuse(where, "state_storage: expected \"full\", as " + name_of(slot.updater) +
                        " works on arrays of its own, got " + text::quoted(to_string(*own)) +
                        "; leave out state_storage");
    }
    if (!is_callback) slot.state_storage = *own;
    return;
  }
  std::size_t size = 1;
  for (const std::size_t extent : shape) size *= extent;
  if (!is_callback && size >= least_narrow_size) slot.state_storage = network.state_storage;
}

inline SlotSettings resolve_slot(const NetworkConfiguration& network, const Biases& biases,
                                 const LayerConfiguration& layer, const ParamConfiguration& param,
                                 const SlotName& name, std::span<const std::size_t> shape) {
  const std::string where = "parameter " + text::quoted(name.key);
  SlotSettings slot;
  const bool visible_bias = name.param == "vb";
  slot.pretrain_only = param.pretrain_only.value_or(visible_bias);
  slot.pretrain = layer.pretrain;
  slot.frozen = layer.frozen;
  slot.statistic = is_statistic(layer, param, name.param);
  slot.master = param.master ? param.master : layer.master ? layer.master : network.master;
  if (slot.statistic) {
    refuse_updater_of_statistic(where, param);
    slot.updater = make_updater(registered<NoOp>());
    return slot;
  }
  slot.bias = visible_bias || biases.contain(name.param, shape);
  slot.updater = resolve_updater(network, layer, param, slot.bias);
  slot.learning_rate_scale = nearest(param.learning_rate_scale, layer.learning_rate_scale, 1.0);
  resolve_state_storage(where, network, layer, param, shape, slot);
  const bool decays = !network.decay_filter || network.decay_filter(name, shape);
  const int own_decay = slot.updater.kind->find("weight_decay");
  if (!decays && !param.updater && own_decay >= 0) {  // in the updater's formula
    slot.updater.values[static_cast<std::size_t>(own_decay)] = 0.0;
  }
  resolve_regularization(where, network, layer, param, decays, slot);
  resolve_policy(
      where,
      nearest(param.learning_rate_policy, layer.learning_rate_policy, network.learning_rate_policy),
      slot);
  resolve_momentum_schedule(
      where, nearest(param.momentum_schedule, layer.momentum_schedule, network.momentum_schedule),
      slot);
  if (!slot.frozen) return slot;

  // A frozen slot is checked like any other, but nothing of it moves, not even the state that one
  // of the orders gives it.
  SlotSettings frozen;
  frozen.pretrain_only = slot.pretrain_only;
  frozen.bias = slot.bias;
  frozen.master = slot.master;
  frozen.pretrain = slot.pretrain;
  frozen.frozen = true;
  frozen.learning_rate_scale = slot.learning_rate_scale;
  frozen.updater = rules_of(network.semantics).frozen_slots_have_state
                       ? std::move(slot.updater)
                       : make_updater(registered<NoOp>());
  return frozen;
}

inline LayerSettings resolve_layer(const NetworkConfiguration& network,
                                   const LayerConfiguration& layer, const std::string& name) {
  LayerSettings settings;
  settings.name = name;
  settings.frozen = layer.frozen;
  settings.pretrain = layer.pretrain;
  const auto strategy = layer.gradient_normalization.value_or(network.gradient_normalization);
  settings.threshold = network.gradient_normalization_threshold;
  settings.epsilon = network.gradient_normalization_epsilon;
  if (rules_of(strategy).group != NormalizationGroup::network) {
    settings.threshold = layer.gradient_normalization_threshold.value_or(settings.threshold);
    settings.epsilon = layer.gradient_normalization_epsilon.value_or(settings.epsilon);
  }
  const bool skipped =
      layer.frozen || (layer.pretrain && !rules_of(network.semantics).normalizes_pretraining);
  settings.strategy = skipped ? GradientNormalization::None : strategy;
  return settings;
}

/// Every name under `layers` and `params` must be one that the layout has.
inline void validate_names(const NetworkConfiguration& network, std::span<const SlotName> slots) {
  if (network.layers.empty()) return;
  std::vector<std::string_view> layers;
  std::unordered_map<std::string_view, std::vector<std::string_view>> params_of;
  for (const SlotName& slot : slots) {
    if (layers.empty() || layers.back() != slot.layer) layers.push_back(slot.layer);
    params_of[slot.layer].push_back(slot.param);
  }
  for (const auto& [layer_name, layer] : network.layers) {
    const auto found = params_of.find(layer_name);
    if (found == params_of.end()) {
      refuse("layers", "expected names of layers with parameters (" + text::quoted_list(layers) +
                           "), got " + text::quoted(layer_name) + "; correct or remove it");
    }
    const std::vector<std::string_view>& params = found->second;
    const Names known(params.begin(), params.end());
    for (const auto& entry : layer.params) {
      if (!known.contains(entry.first)) {
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
  Names layers;
  std::set<std::pair<std::string_view, std::string_view>> params;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (settings.slots[i].updater.kind->find(Role::momentum) < 0) continue;
    layers.insert(slots[i].layer);
    params.emplace(slots[i].layer, slots[i].param);
  }
  const auto refuse_unreached = [](const std::string& where) {
    refuse(where,
           "momentum_schedule: expected an updater with a momentum (Nesterovs), got none; "
           "use Nesterovs, or leave out momentum_schedule");
  };
  const auto has_schedule = [](const auto& level) {
    return level.momentum_schedule && !level.momentum_schedule->empty();
  };
  if (!network.momentum_schedule.empty() && layers.empty()) refuse_unreached("network");
  for (const auto& [name, layer] : network.layers) {
    if (has_schedule(layer) && !layers.contains(name)) refuse_unreached(layer_text(name));
    for (const auto& [param_name, param] : layer.params) {
      if (has_schedule(param) && !params.contains({name, param_name})) {
        refuse_unreached(layer_text(name) + ", parameter " + text::quoted(param_name));
      }
    }
  }
}

}  // namespace detail

/// The settings of every layer and slot.
/// @param slots in the order of the layout, those of one layer next to each other
/// @param shapes of their arrays, by which some biases are told and what decays may be; empty where
///   they are not known
inline NetworkSettings resolve(const NetworkConfiguration& network, std::span<const SlotName> slots,
                               std::span<const std::span<const std::size_t>> shapes = {}) {
  validate(network);
  detail::validate_names(network, slots);

  NetworkSettings settings;
  settings.semantics = network.semantics;
  settings.mini_batch = network.mini_batch;
  settings.maximize = network.maximize;
  settings.average_decay = network.average_decay;
  settings.storage_seed = network.storage_seed;
  settings.on_nonfinite = network.on_nonfinite;
  settings.slots.reserve(slots.size());

  const detail::Biases biases(network.bias_params);
  const LayerConfiguration plain_layer;
  const ParamConfiguration plain_param;
  const LayerConfiguration* layer = &plain_layer;
  detail::Names layers;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const SlotName& name = slots[i];
    if (settings.layers.empty() || settings.layers.back().name != name.layer) {
      if (!layers.insert(name.layer).second) {
        detail::refuse("parameter " + text::quoted(name.key),
                       "expected the parameters of " + detail::layer_text(name.layer) +
                           " next to each other, got others between them; reorder them");
      }
      const auto found = network.layers.find(name.layer);
      layer = found == network.layers.end() ? &plain_layer : &found->second;
      settings.layers.push_back(detail::resolve_layer(network, *layer, name.layer));
    }
    const auto found = layer->params.find(name.param);
    const ParamConfiguration& param = found == layer->params.end() ? plain_param : found->second;
    const auto shape = shapes.empty() ? std::span<const std::size_t>{} : shapes[i];
    settings.slots.push_back(detail::resolve_slot(network, biases, *layer, param, name, shape));
    settings.slots.back().layer = settings.layers.size() - 1;
  }
  detail::validate_momentum_reached(network, slots, settings);
  return settings;
}

}  // namespace flatstep
