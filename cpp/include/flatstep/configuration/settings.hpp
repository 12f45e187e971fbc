// Settings: what every layer and slot of a layout gets. resolve() makes them; everything that comes
// after reads them and decides nothing about inheritance.
#pragma once

#include <flatstep/configuration/choices.hpp>
#include <flatstep/configuration/names.hpp>
#include <flatstep/configuration/updater_configuration.hpp>
#include <flatstep/learning_rate_policy.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace flatstep {

struct SlotSettings {
  /// NoOp for statistics, and for frozen slots under dl4j-1.0. Its weight decay is in
  /// `weight_decay` below and 0 here, so that Adam and AdamW are equal.
  UpdaterConfiguration updater;
  bool frozen = false;
  bool statistic = false;
  bool pretrain = false;
  bool pretrain_only = false;  ///< without an updater but in pretraining, and a block of its own
  bool bias = false;           ///< regularised, and given a rate, as biases are
  double l1 = 0.0;
  double l2 = 0.0;
  double weight_decay = 0.0;
  bool weight_decay_apply_lr = true;
  /// What its learning rate is multiplied by, be it a number, a schedule's or state.
  double learning_rate_scale = 1.0;
  /// None unless the updater has a learning rate.
  LearningRatePolicy policy;
  /// Empty unless the updater has a momentum.
  std::map<std::int64_t, double> momentum_schedule;
  StateStorage state_storage = StateStorage::full;
  std::optional<Master> master{};
  /// Place of its layer in NetworkSettings::layers.
  std::size_t layer = 0;
};

struct LayerSettings {
  std::string name;
  /// None where the layer is frozen, and in pretraining under dl4j-0.8, which skips normalisation
  /// there.
  GradientNormalization strategy = GradientNormalization::None;
  double threshold = 1.0;
  double epsilon = 0.0;  ///< beside the norm
  bool frozen = false;
  bool pretrain = false;
};

struct NetworkSettings {
  Semantics semantics = Semantics::dl4j_1_0;
  bool mini_batch = true;
  bool maximize = false;
  OnNonfinite on_nonfinite = OnNonfinite::raise;
  std::optional<Schedule> average_decay{};
  std::uint64_t storage_seed = 0;
  std::vector<LayerSettings> layers;  ///< in the order of the slots
  std::vector<SlotSettings> slots;

  const OrderRules& rules() const { return rules_of(semantics); }
  const LayerSettings& layer_of(std::size_t slot) const { return layers[slots[slot].layer]; }

  /// The strategy that a slot's gradient goes through: its layer's, but that a statistic is not in
  /// the network's group.
  GradientNormalization strategy_of(std::size_t slot) const {
    const GradientNormalization strategy = layer_of(slot).strategy;
    const bool outside =
        slots[slot].statistic && rules_of(strategy).group == NormalizationGroup::network;
    return outside ? GradientNormalization::None : strategy;
  }
};

}  // namespace flatstep
