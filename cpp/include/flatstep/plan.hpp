// The plan: settings and layout become what to run, and in which order. The only place where the
// two semantics differ, as two ways of filling the constants of one fused pass.
//
//   rate group  slots whose step scalars are the same: schedules and powers once a step
//   run         slots that also share regularisation and pass constants: one kernel call
//   group       the slots that share one norm (normalisation group)
//   stage       chunks that are normed, then passed, while their gradient is still in the cache
//   batch       neighbouring stages that the threads share stage by stage, or each as a whole
//
// Made at construction and again when a rate is set by hand. Knows layers, no instruction sets.
#pragma once

#include <flatstep/layout.hpp>
#include <flatstep/normalization.hpp>
#include <flatstep/state.hpp>

#include <bit>
#include <limits>
#include <string>
#include <vector>

namespace flatstep {

inline constexpr std::size_t none = static_cast<std::size_t>(-1);

struct RateGroup {
  const SlotSettings* settings;  ///< of its first slot, which speaks for all
  std::vector<std::size_t> slots;
  bool follows_policy;  ///< false for `vb` where it stops before the policy

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
  double l1;
  double l2;
  double weight_decay;
  bool weight_decay_apply_lr;
  bool divides_after;  ///< by the batch, after everything else

  bool regularizes() const { return l1 != 0 || l2 != 0 || weight_decay != 0; }
  bool clamps() const { return clamp != std::numeric_limits<double>::infinity(); }
  friend bool operator==(const Run&, const Run&) = default;
};

struct Group {
  GradientNormalization strategy;
  double threshold;
  std::vector<std::size_t> slots;
};

struct Chunk {
  std::size_t slot;
  std::size_t offset;
  std::size_t size;
};

struct PlanSlot {
  bool active = false;          ///< not frozen
  bool divides_before = false;  ///< by the batch, before normalisation
  std::size_t run = none;
  std::size_t group = none;
  std::size_t chunk_begin = 0;
  std::size_t chunk_end = 0;
};

/// A stretch of chunks, and the groups to be normed before they are passed, if any.
struct Stage {
  std::size_t chunk_begin, chunk_end;
  std::size_t group_begin, group_end;

  bool is_normed() const { return group_begin < group_end; }
};

/// Stages that follow each other. Where `by_thread`, each may be done by one thread from norm to
/// pass, as its gradient fits the cache.
struct Batch {
  std::size_t stage_begin, stage_end;
  bool by_thread;
};

struct Plan {
  Semantics semantics;
  OnNonfinite on_nonfinite;
  std::vector<RateGroup> rate_groups;
  std::vector<Run> runs;
  std::vector<Group> groups;
  std::vector<PlanSlot> slots;
  std::vector<std::size_t> order;  ///< active slots, in the order of their chunks
  std::vector<Chunk> chunks;
  std::vector<Stage> stages;
  std::vector<Batch> batches;
  std::vector<std::size_t> callback_slots;
  /// Every norm and look comes before anything is changed.
  bool looks_first;
};

namespace detail {

inline bool same_bits(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

class PlanBuilder {
 public:
  PlanBuilder(const Layout& layout, const NetworkSettings& settings,
              std::span<const RateState> rates, std::size_t cached_elements)
      : layout_(layout), settings_(settings), rates_(rates), cached_elements_(cached_elements) {}

  Plan build() {
    plan_.semantics = settings_.semantics;
    plan_.on_nonfinite = settings_.on_nonfinite;
    plan_.slots.resize(layout_.slots.size());
    for (std::size_t i = 0; i < layout_.slots.size(); ++i) {
      if (!settings_.slots[i].frozen) add_slot(i);
    }
    make_groups();
    plan_.looks_first = settings_.on_nonfinite != OnNonfinite::propagate ||
                        !plan_.callback_slots.empty() || has_global_group();
    order_chunks();
    make_stages();
    return std::move(plan_);
  }

 private:
  const LayerSettings& layer_of(std::size_t i) const {
    return settings_.layers[settings_.slots[i].layer];
  }
  bool current_release() const { return settings_.semantics == Semantics::dl4j_1_0; }

  /// The visible bias stops after normalisation, but in pretraining.
  bool stops_early(std::size_t i) const {
    return settings_.slots[i].visible_bias && !settings_.slots[i].pretrain;
  }

  /// The strategy that applies to a slot. Under dl4j-0.8 a layer in pretraining skips it.
  GradientNormalization strategy_of(std::size_t i) const {
    if (!current_release() && settings_.slots[i].pretrain) return GradientNormalization::None;
    return layer_of(i).strategy;
  }

  void add_slot(std::size_t i) {
    const SlotSettings& s = settings_.slots[i];
    PlanSlot& slot = plan_.slots[i];
    slot.active = true;
    slot.divides_before = current_release() && settings_.mini_batch && !s.statistic;

    Run run{};
    run.rate_group = rate_group_of(i);
    run.updater = s.updater.kind;
    run.clamp = strategy_of(i) == GradientNormalization::ClipElementWiseAbsoluteValue
                    ? layer_of(i).threshold
                    : std::numeric_limits<double>::infinity();
    if (stops_early(i)) {
      run.updater = &updater_registry().front();
    } else {
      run.l1 = s.l1;
      run.l2 = s.l2;
      run.weight_decay = s.weight_decay;
      run.weight_decay_apply_lr = s.weight_decay_apply_lr;
      run.divides_after = !current_release() && settings_.mini_batch;
      if (s.updater.kind->is_callback()) {
        run.callback = s.updater.kind;
        run.updater = &updater_registry().front();
        plan_.callback_slots.push_back(i);
      }
    }
    slot.run = place_of(run, plan_.runs);
  }

  template <class X>
  static std::size_t place_of(const X& x, std::vector<X>& list) {
    const auto found = std::find(list.begin(), list.end(), x);
    const auto place = static_cast<std::size_t>(found - list.begin());
    if (place == list.size()) list.push_back(x);
    return place;
  }

  std::size_t rate_group_of(std::size_t i) {
    const SlotSettings& s = settings_.slots[i];
    const bool follows_policy = !stops_early(i);
    for (std::size_t k = 0; k < plan_.rate_groups.size(); ++k) {
      RateGroup& group = plan_.rate_groups[k];
      const RateState& rate = rates_[group.slots.front()];
      if (group.follows_policy == follows_policy &&
          same_bits(rate.learning_rate, rates_[i].learning_rate) &&
          same_bits(rate.momentum, rates_[i].momentum) && group.settings->updater == s.updater &&
          group.settings->policy == s.policy &&
          group.settings->momentum_schedule == s.momentum_schedule) {
        group.slots.push_back(i);
        return k;
      }
    }
    plan_.rate_groups.push_back({&s, {i}, follows_policy});
    return plan_.rate_groups.size() - 1;
  }

  void make_groups() {
    std::size_t global = none;
    std::size_t layer_group = none;
    for (std::size_t i = 0; i < plan_.slots.size(); ++i) {
      if (i == 0 || settings_.slots[i].layer != settings_.slots[i - 1].layer) layer_group = none;
      if (!plan_.slots[i].active) continue;
      const GradientNormalization strategy = strategy_of(i);
      std::size_t* group = nullptr;
      std::size_t param_group = none;
      double threshold = layer_of(i).threshold;
      if (layer_of(i).global) {
        if (settings_.slots[i].statistic) continue;
        group = &global;
        threshold = settings_.global_threshold;
      } else if (is_per_layer(strategy)) {
        group = &layer_group;
      } else if (is_per_param(strategy)) {
        group = &param_group;
      } else {
        continue;
      }
      if (*group == none) {
        *group = plan_.groups.size();
        plan_.groups.push_back({strategy, threshold, {}});
      }
      plan_.groups[*group].slots.push_back(i);
      plan_.slots[i].group = *group;
    }
  }

  bool has_global_group() const {
    return std::any_of(plan_.groups.begin(), plan_.groups.end(), [](const Group& group) {
      return group.strategy == GradientNormalization::ClipL2Global;
    });
  }

  /// Chunks follow the slots, so that a stage is a stretch of them; but where the whole network
  /// fits the cache, run by run, so that equal slots that are no neighbours share one kernel call.
  void order_chunks() {
    std::vector<std::size_t>& order = plan_.order;
    for (std::size_t i = 0; i < plan_.slots.size(); ++i) {
      if (plan_.slots[i].active) order.push_back(i);
    }
    if (fits_cache()) {
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return plan_.slots[a].run < plan_.slots[b].run;
      });
    }
    for (const std::size_t i : order) {
      PlanSlot& slot = plan_.slots[i];
      slot.chunk_begin = plan_.chunks.size();
      for (std::size_t offset = 0; offset < layout_.slots[i].size; offset += chunk_size) {
        plan_.chunks.push_back({i, offset, std::min(chunk_size, layout_.slots[i].size - offset)});
      }
      slot.chunk_end = plan_.chunks.size();
    }
  }

  bool fits_cache() const { return layout_.size <= cached_elements_; }

  /// A stage is one group, or a stretch without norms; neighbouring small groups share one.
  void make_stages() {
    if (plan_.looks_first || fits_cache()) {
      plan_.stages.push_back({0, plan_.chunks.size(), 0, plan_.groups.size()});
      plan_.batches.push_back({0, 1, false});
      return;
    }
    std::size_t elements = 0;  // of the last stage
    for (std::size_t i = 0; i < plan_.slots.size();) {
      if (!plan_.slots[i].active) {
        ++i;
        continue;
      }
      const std::size_t group = plan_.slots[i].group;
      const std::size_t begin = i;
      std::size_t size = 0;
      for (; i < plan_.slots.size() && plan_.slots[i].active && plan_.slots[i].group == group;
           ++i) {
        size += layout_.slots[i].size;
      }
      const std::size_t chunk_begin = plan_.slots[begin].chunk_begin;
      const std::size_t chunk_end = plan_.slots[i - 1].chunk_end;
      const bool normed = group != none;
      const bool joins = !plan_.stages.empty() && normed == plan_.stages.back().is_normed() &&
                         (!normed || elements + size <= chunk_size);
      if (!joins) {
        const bool fits = normed && size <= cached_elements_;
        if (!fits || plan_.batches.empty() || !plan_.batches.back().by_thread) {
          plan_.batches.push_back({plan_.stages.size(), plan_.stages.size(), fits});
        }
        ++plan_.batches.back().stage_end;
        plan_.stages.push_back({chunk_begin, chunk_begin, normed ? group : 0, normed ? group : 0});
        elements = 0;
      }
      plan_.stages.back().chunk_end = chunk_end;
      if (normed) plan_.stages.back().group_end = group + 1;
      elements += size;
    }
  }

  const Layout& layout_;
  const NetworkSettings& settings_;
  std::span<const RateState> rates_;
  std::size_t cached_elements_;
  Plan plan_;
};

}  // namespace detail

/// @param cached_elements how many elements of a gradient may be expected to stay in the cache
///   between norm and pass
inline Plan make_plan(const Layout& layout, const NetworkSettings& settings,
                      std::span<const RateState> rates, std::size_t cached_elements) {
  return detail::PlanBuilder(layout, settings, rates, cached_elements).build();
}

}  // namespace flatstep
