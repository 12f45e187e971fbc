// The plan: what to run in a step, and in which order. Knows layers, no instruction sets.
//
//   rate group  slots whose step scalars are the same: schedules and powers once a step
//   run         slots that also share regularisation and pass constants: one kernel call
//   group       the slots that share one norm (normalisation group)
//   chunk       the grain of norms, and in which threads share work
//   stage       chunks that are normed, then passed, while their gradient is still in the cache
//   bucket      chunks whose gradients come, and whose parameters go, in one message
//   stretch     neighbouring stages that the threads share stage by stage, or each as a whole
//
// make_plan.hpp makes it, at construction and again when a rate is set by hand.
#pragma once

#include <flatstep/configuration/settings.hpp>
#include <flatstep/kernels/kernel_table.hpp>
#include <flatstep/plan/rate_state.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace flatstep {

inline constexpr std::size_t none = static_cast<std::size_t>(-1);

struct RateGroup {
  const SlotSettings* settings;  ///< of its first slot, which speaks for all
  std::vector<std::size_t> slots;
  bool follows_policy;  ///< false for `vb` where it stops before the policy
  bool has_state;       ///< a rate or momentum that is state

  /// Whether a step changes rates or momenta that are state.
  bool moves() const {
    return follows_policy && (settings->policy.kind != LearningRatePolicy::Kind::None ||
                              !settings->momentum_schedule.empty());
  }
};

struct Run {
  std::size_t rate_group;
  const UpdaterInfo* updater;   ///< whose kernel runs: NoOp's for `vb` and for callbacks
  const UpdaterInfo* callback;  ///< or nullptr
  double clamp;
  double l1_before;  ///< regularisation of the gradient, and of the update
  double l2_before;
  double l1_after;
  double l2_after;
  bool l2_after_applies_rate;  ///< is multiplied by the learning rate, as weight decay may be
  bool divides_after;          ///< by the batch, after everything else
  Trusted trusts;              ///< what a trust ratio scales
  std::size_t trusting_slot;   ///< whose, and nobody else's, is the run then; or none

  bool regularizes() const {
    return l1_before != 0 || l2_before != 0 || l1_after != 0 || l2_after != 0;
  }
  bool clamps() const { return clamp != std::numeric_limits<double>::infinity(); }
  friend bool operator==(const Run&, const Run&) = default;
};

struct Group {
  GradientNormalization strategy;
  double threshold;
  double epsilon;
  std::vector<std::size_t> slots;
};

struct Chunk {
  std::size_t slot;
  std::size_t offset;
  std::size_t size;
  std::size_t place;  ///< among all chunks of the network, whoever takes them
};

/// What a slot's gradient is multiplied by before normalisation.
enum class ScaledBefore : unsigned char {
  not_at_all,       ///< a statistic's
  by_scale,         ///< by the scale that the step is given
  by_scale_of_mean  ///< by that scale, and divided by the batch
};

struct PlanSlot {
  bool active = false;   ///< not frozen
  bool negates = false;  ///< the gradient, after normalisation
  ScaledBefore scaled = ScaledBefore::not_at_all;
  std::size_t run = none;
  std::size_t group = none;
  std::size_t chunk_begin = 0;
  std::size_t chunk_end = 0;
  std::size_t place_begin = 0;  ///< of the whole slot's chunks, whoever takes them
  std::size_t place_end = 0;
  std::size_t whole_size = 0;  ///< the elements of the whole slot
  bool is_whole = true;        ///< all of them are this plan's
};

/// Neighbouring chunks, and the groups to be normed before they are passed, if any.
struct Stage {
  std::size_t chunk_begin, chunk_end;
  std::size_t group_begin, group_end;

  bool is_normed() const { return group_begin < group_end; }
};

/// Stages that follow each other. Where `by_thread`, each may be done by one thread from norm to
/// pass, as its gradient fits the cache.
struct Stretch {
  std::size_t stage_begin, stage_end;
  bool by_thread;
};

struct Plan {
  OnNonfinite on_nonfinite = OnNonfinite::raise;
  std::optional<Schedule> average_decay{};  ///< where averages of the parameters are kept
  const OrderRules* rules = nullptr;
  std::uint64_t storage_seed = 0;
  std::vector<RateGroup> rate_groups;
  std::vector<Run> runs;
  std::vector<Group> groups;
  std::vector<PlanSlot> slots;
  std::vector<std::size_t> order;  ///< active slots, in the order of their chunks
  std::vector<Chunk> chunks;
  std::size_t places = 0;      ///< how many chunks the whole network has
  std::vector<Stage> buckets;  ///< chunks that come and go together, where they do
  std::vector<Stage> stages;
  std::vector<Stretch> stretches;
  std::vector<std::size_t> callback_slots;
  std::vector<std::size_t> trusting_slots;  ///< those with a trust ratio
  /// Every norm and look comes before anything is changed. There is only one stage then.
  bool looks_first = false;

  /// Whether anything comes of the looks at gradients.
  bool needs_looks() const { return on_nonfinite != OnNonfinite::propagate || !groups.empty(); }
};

}  // namespace flatstep
