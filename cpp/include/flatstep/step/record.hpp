// What a step is asked for, what it answers, and what it saw.
#pragma once

#include <flatstep/plan/rate_state.hpp>

#include <cstdint>
#include <optional>

namespace flatstep {

struct StepOptions {
  std::optional<std::int64_t> iteration{};  ///< default: the counter
  std::optional<std::int64_t> epoch{};      ///< default: the counter
  std::int64_t batch_size = 1;
  /// What gradients are multiplied by before all else, as losses that are scaled ask; from 1e-30 to
  /// 1e30. Statistics are not.
  double gradient_scale = 1.0;
};

constexpr bool is_gradient_scale(double value) { return value >= 1e-30 && value <= 1e30; }

enum class StepStatus {
  done,
  skipped,    ///< on_nonfinite "skip": nothing changed but the count of skipped steps
  nonfinite,  ///< on_nonfinite "raise": nothing changed
  /// A callback updater or the exchange failed: nothing changed, but where it was the exchange of the
  /// norms of updates, which wait for their trust ratios, the state of these updaters.
  abandoned,
  invalid,  ///< a gradient is missing, or a count is out of range: nothing changed
};

struct StepReport {
  StepStatus status;
  std::int64_t iteration;
  std::int64_t epoch;
};

/// What the last step saw, per slot. NaN where there is nothing to say.
struct SlotReport {
  double gradient_norm = no_value;  ///< of the slot, as the strategy saw it, where that has a norm
  double group_norm = no_value;     ///< of the slot's whole normalisation group
  double factor = no_value;         ///< of its normalisation group
  bool clipped = false;
  bool nonfinite = false;
  double learning_rate = no_value;
  double trust_ratio = no_value;     ///< where its updater has one
  double update_norm = no_value;     ///< monitored: ‖update‖
  double parameter_norm = no_value;  ///< monitored: ‖parameter‖ before the step
  /// Monitored: the share of the elements that were clipped, where each is clipped by itself.
  double clipped_share = no_value;
  /// Monitored: the updater's state has an infinity or NaN in it, as one gradient leaves there whose
  /// square is beyond the type's range. Not of callback updaters.
  bool state_nonfinite = false;
};

}  // namespace flatstep
