// What the user asks for, per network, layer and parameter: NetworkConfiguration holds the defaults
// and, by layer and parameter, what overrides them. The Python classes mirror these.
//
// Each struct shows its fields by `visit_fields`, the one place that names them all: who checks a
// configuration, or makes one from something else, goes through them there.
#pragma once

#include <flatstep/configuration/choices.hpp>
#include <flatstep/configuration/names.hpp>
#include <flatstep/configuration/updater_configuration.hpp>
#include <flatstep/learning_rate_policy.hpp>
#include <flatstep/schedule.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace flatstep {

/// Whether a parameter decays, by its name and the shape of its array.
using DecayFilter = std::function<bool(const SlotName&, std::span<const std::size_t>)>;

/// State of fewer elements is full unless its layer or parameter says otherwise.
inline constexpr std::size_t least_narrow_size = 4096;

/// What a field is for, where its type does not say it: which values are legal.
enum class FieldRole { plain, coefficient, weight_decay, threshold, share };

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
  /// What the learning rate is multiplied by, wherever it comes from.
  std::optional<double> learning_rate_scale{};
  /// It learns while its layer is in pretraining and not otherwise, as an autoencoder's decoder and
  /// the visible bias "vb" do; not given: "vb" alone.
  std::optional<bool> pretrain_only{};
  std::optional<StateStorage> state_storage{};
  std::optional<Master> master{};
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
  /// Added to the norm that a clip compares and divides by.
  std::optional<double> gradient_normalization_epsilon{};
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
  std::optional<double> learning_rate_scale{};
  std::optional<StateStorage> state_storage{};
  std::optional<Master> master{};
};

struct NetworkConfiguration {
  UpdaterConfiguration updater = make_updater("Sgd");
  std::optional<UpdaterConfiguration> bias_updater{};
  std::optional<Schedule> bias_learning_rate{};
  LearningRatePolicy learning_rate_policy{};
  std::map<std::int64_t, double> momentum_schedule{};
  GradientNormalization gradient_normalization = GradientNormalization::None;
  double gradient_normalization_threshold = 1.0;
  double gradient_normalization_epsilon = 0.0;
  double l1 = 0.0;
  double l2 = 0.0;
  double l1_bias = 0.0;
  double l2_bias = 0.0;
  double weight_decay = 0.0;
  double weight_decay_bias = 0.0;
  bool weight_decay_apply_lr = true;
  bool mini_batch = true;
  /// Gradients are negated: what they are of grows.
  bool maximize = false;
  /// The decay d of a moving average beside each parameter, a = d·a + (1−d)·p after each step, which
  /// starts at the parameter; not given: there is none.
  std::optional<Schedule> average_decay{};
  Semantics semantics = Semantics::dl4j_1_0;
  OnNonfinite on_nonfinite = OnNonfinite::raise;
  /// Parameter types that are biases, besides the visible bias "vb"; not given: those that
  /// is_bias_name() knows.
  std::optional<std::vector<std::string>> bias_params{};
  /// Which parameters L1, L2 and weight decay of network and layer are for; empty: all. A parameter's
  /// own apply to it in any case.
  DecayFilter decay_filter{};
  /// How state is kept. That of parameters with fewer than `least_narrow_size` elements is full, unless
  /// their layer or they themselves say otherwise.
  StateStorage state_storage = StateStorage::full;
  /// Where the rounding of state in fewer bits starts: the same seed gives the same bits.
  std::uint64_t storage_seed = 0;
  /// What is kept beside parameters in fewer bits; they need one.
  std::optional<Master> master{};
  std::map<std::string, LayerConfiguration, std::less<>> layers{};
};

/// visit(name, field, role) for every field, in the order in which errors are looked for.
template <class Self, class Visit>
  requires std::same_as<std::remove_const_t<Self>, ParamConfiguration>
void visit_fields(Self& param, Visit&& visit) {
  visit("updater", param.updater, FieldRole::plain);
  visit("learning_rate", param.learning_rate, FieldRole::plain);
  visit("learning_rate_policy", param.learning_rate_policy, FieldRole::plain);
  visit("momentum_schedule", param.momentum_schedule, FieldRole::plain);
  visit("l1", param.l1, FieldRole::coefficient);
  visit("l2", param.l2, FieldRole::coefficient);
  visit("weight_decay", param.weight_decay, FieldRole::weight_decay);
  visit("weight_decay_apply_lr", param.weight_decay_apply_lr, FieldRole::plain);
  visit("statistic", param.statistic, FieldRole::plain);
  visit("learning_rate_scale", param.learning_rate_scale, FieldRole::coefficient);
  visit("pretrain_only", param.pretrain_only, FieldRole::plain);
  visit("state_storage", param.state_storage, FieldRole::plain);
  visit("master", param.master, FieldRole::plain);
}

/// The fields that a layer and a network have both.
template <class Self, class Visit>
void visit_shared_fields(Self& level, Visit&& visit) {
  visit("updater", level.updater, FieldRole::plain);
  visit("bias_updater", level.bias_updater, FieldRole::plain);
  visit("bias_learning_rate", level.bias_learning_rate, FieldRole::plain);
  visit("learning_rate_policy", level.learning_rate_policy, FieldRole::plain);
  visit("momentum_schedule", level.momentum_schedule, FieldRole::plain);
  visit("gradient_normalization", level.gradient_normalization, FieldRole::plain);
  visit("gradient_normalization_threshold", level.gradient_normalization_threshold,
        FieldRole::threshold);
  visit("gradient_normalization_epsilon", level.gradient_normalization_epsilon,
        FieldRole::coefficient);
  visit("l1", level.l1, FieldRole::coefficient);
  visit("l2", level.l2, FieldRole::coefficient);
  visit("l1_bias", level.l1_bias, FieldRole::coefficient);
  visit("l2_bias", level.l2_bias, FieldRole::coefficient);
  visit("weight_decay", level.weight_decay, FieldRole::weight_decay);
  visit("weight_decay_bias", level.weight_decay_bias, FieldRole::weight_decay);
  visit("weight_decay_apply_lr", level.weight_decay_apply_lr, FieldRole::plain);
}

template <class Self, class Visit>
  requires std::same_as<std::remove_const_t<Self>, LayerConfiguration>
void visit_fields(Self& layer, Visit&& visit) {
  visit_shared_fields(layer, visit);
  visit("kind", layer.kind, FieldRole::plain);
  visit("frozen", layer.frozen, FieldRole::plain);
  visit("pretrain", layer.pretrain, FieldRole::plain);
  visit("params", layer.params, FieldRole::plain);
  visit("learning_rate_scale", layer.learning_rate_scale, FieldRole::coefficient);
  visit("state_storage", layer.state_storage, FieldRole::plain);
  visit("master", layer.master, FieldRole::plain);
}

template <class Self, class Visit>
  requires std::same_as<std::remove_const_t<Self>, NetworkConfiguration>
void visit_fields(Self& network, Visit&& visit) {
  visit_shared_fields(network, visit);
  visit("mini_batch", network.mini_batch, FieldRole::plain);
  visit("maximize", network.maximize, FieldRole::plain);
  visit("average_decay", network.average_decay, FieldRole::share);
  visit("semantics", network.semantics, FieldRole::plain);
  visit("on_nonfinite", network.on_nonfinite, FieldRole::plain);
  visit("bias_params", network.bias_params, FieldRole::plain);
  visit("decay_filter", network.decay_filter, FieldRole::plain);
  visit("state_storage", network.state_storage, FieldRole::plain);
  visit("storage_seed", network.storage_seed, FieldRole::plain);
  visit("master", network.master, FieldRole::plain);
  visit("layers", network.layers, FieldRole::plain);
}

}  // namespace flatstep
