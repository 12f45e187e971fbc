// The two orders of a step, each as one row of rules: all that they do differently.
//
// Whoever must know (configuration, layout, plan, the constants of a pass, an updater's scalars)
// reads a rule of the row; none asks which order it is. Source: DL4J 1.0.0-M2.1 and 0.8.0.
#pragma once

#include <cstddef>
#include <string_view>

namespace flatstep {

/// The order of one step: DL4J's current release, or that of release 0.8 (and 0.9).
enum class Semantics { dl4j_1_0, dl4j_0_8 };

struct OrderRules {
  std::string_view name;
  /// The gradient is divided by the batch size before all else; or the finished update is, after it.
  bool divides_gradient;
  /// L1 and L2 are added to the gradient, before the updater; or to the update, after it.
  bool regularizes_gradient;
  /// Weight decay has a place in the order.
  bool has_weight_decay;
  /// Learning-rate policies and momentum schedules are state that each step changes.
  bool has_policies;
  /// Layers in pretraining are normalised like any other.
  bool normalizes_pretraining;
  /// A frozen slot has its updater's state, untouched; or it has none.
  bool frozen_slots_have_state;
  /// The state view goes by updater blocks, array after array; or slot by slot.
  bool state_in_blocks;
  /// AdaGrad's history starts at ε; or at 1e-6 whatever ε.
  bool history_starts_at_epsilon;
  /// Adam's α becomes ε where it is 0 or NaN.
  bool alpha_falls_back;
};

/// In the order of Semantics.
inline constexpr OrderRules orders[] = {
    {.name = "dl4j-1.0",
     .divides_gradient = true,
     .regularizes_gradient = true,
     .has_weight_decay = true,
     .has_policies = false,
     .normalizes_pretraining = true,
     .frozen_slots_have_state = false,
     .state_in_blocks = true,
     .history_starts_at_epsilon = false,
     .alpha_falls_back = false},
    {.name = "dl4j-0.8",
     .divides_gradient = false,
     .regularizes_gradient = false,
     .has_weight_decay = false,
     .has_policies = true,
     .normalizes_pretraining = false,
     .frozen_slots_have_state = true,
     .state_in_blocks = false,
     .history_starts_at_epsilon = true,
     .alpha_falls_back = true},
};

constexpr const OrderRules& rules_of(Semantics semantics) {
  return orders[static_cast<std::size_t>(semantics)];
}

constexpr std::string_view to_string(Semantics semantics) { return rules_of(semantics).name; }

}  // namespace flatstep
