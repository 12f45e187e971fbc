// The engine runs a plan: one step over parameters, gradients and state.
//
//   1. rates, momenta and step scalars, in double, once per rate group
//   2. norms: a look at each chunk, exchange, factors; updates that must be written down first,
//      and trust ratios
//   3. the pass, fused or split, and averages of what it leaves
//   4. rates and counters are committed
// A step that is refused has changed nothing before 3. The stages of a large network go through 2
// and 3 one by one instead, so that a group's gradient is read from memory once; many of them are
// spread over the threads, each done by one.
#pragma once

#include <flatstep/kernels/dispatch.hpp>
#include <flatstep/plan/make_plan.hpp>
#include <flatstep/simd/float_mode.hpp>
#include <flatstep/state.hpp>
#include <flatstep/step/averages.hpp>
#include <flatstep/step/exchange.hpp>
#include <flatstep/step/norms.hpp>
#include <flatstep/step/passes.hpp>
#include <flatstep/step/rates.hpp>
#include <flatstep/step/record.hpp>
#include <flatstep/step/sharing.hpp>
#include <flatstep/step/split_step.hpp>
#include <flatstep/step/tile.hpp>
#include <flatstep/threads.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace flatstep {

inline namespace FLATSTEP_DISPATCH {

template <class T>
class Engine {
 public:
  /// @param stored parameters and state, per slot
  /// @param averages of the layout's size, where the configuration has a decay for them
  /// @param monitor gather ‖update‖ and ‖parameter‖ in every pass
  /// @param shared for a plan that is a part of the network
  Engine(const Layout& layout, Plan plan, std::vector<StoredSlot<T>> stored, std::span<T> averages,
         bool monitor, Shared shared = {})
      : plan_(std::move(plan)),
        shared_(std::move(shared)),
        sharing_(plan_),
        rates_(plan_),
        norms_(plan_),
        passes_(layout, plan_, std::move(stored)),
        split_(layout, plan_, monitor),
        averages_(averages) {
    // These throw here, where it may be, for a bad FLATSTEP_ISA or FLATSTEP_NUM_THREADS.
    active_target();
    ThreadPool::instance();
  }

  StepReport step(const Layout& layout, const StepMemory<T>& memory, State<T>& state,
                  const StepOptions& options) noexcept {
    const FlushSubnormals flush;
    const std::int64_t iteration = options.iteration.value_or(state.counters.iteration);
    const std::int64_t epoch = options.epoch.value_or(state.counters.epoch);
    if (options.batch_size < 1 || !is_gradient_scale(options.gradient_scale) ||
        !is_counter(iteration) || !is_counter(epoch) || !passes_.take_memory(memory)) {
      return {StepStatus::invalid, iteration, epoch};
    }
    const double inverse_batch = 1.0 / static_cast<double>(options.batch_size);
    scales_ = {options.gradient_scale, inverse_batch};
    const Step<T> step{
        layout,  plan_, active_target().kernels<T>(), memory, plan_.storage_seed, iteration, epoch,
        scales_, flush};
    rates_.evaluate(plan_, state.rates, iteration, epoch);
    passes_.prepare(plan_, rates_, inverse_batch, scales_);
    averages_.prepare(plan_, iteration, epoch);
    const StepStatus status = plan_.looks_first ? step_as_one(step) : step_by_stages(step);
    if (status == StepStatus::skipped) state.counters.count_skipped();
    if (status == StepStatus::done) {
      clear_frozen_updates(step);
      rates_.commit(plan_, state.rates);
      state.counters.iteration = std::min(iteration + 1, max_counter);
      state.counters.epoch = epoch;
    }
    return {status, iteration, epoch};
  }

  /// What the last step saw of one slot.
  SlotReport report(std::size_t slot) const {
    const PlanSlot& s = plan_.slots[slot];
    SlotReport report;
    if (!s.active || !has_stepped()) return report;
    if (nonfinite_) {  // refused before there were factors
      report.nonfinite = !norms_.is_finite(s);
      return report;
    }
    const std::size_t rate_group = plan_.runs[s.run].rate_group;
    if (plan_.rate_groups[rate_group].follows_policy) {
      report.learning_rate = rates_.learning_rate(rate_group);
    }
    if (s.group != none && !std::isnan(norms_.group_factor(s.group))) {
      report.gradient_norm = norms_.slot_norm(slot, scales_[s.scaled]);
      report.group_norm = norms_.group_norm(s.group);
      report.factor = norms_.group_factor(s.group);
      report.clipped =
          rules_of(plan_.groups[s.group].strategy).has_threshold() && report.factor != 1.0;
    }
    report.trust_ratio = split_.trust_ratio(slot);
    if (split_.monitors()) {
      const auto measured = split_.measured(s);
      report.update_norm = measured.update_norm;
      report.parameter_norm = measured.parameter_norm;
      report.state_nonfinite = !measured.state_finite;
      if (plan_.runs[s.run].clamps()) {
        const std::size_t size = s.whole_size;
        report.clipped_share =
            size == 0 ? 0.0 : static_cast<double>(measured.clipped) / static_cast<double>(size);
      }
    }
    return report;
  }

  const Plan& plan() const { return plan_; }

 private:
  /// Every norm and look before anything is changed.
  StepStatus step_as_one(const Step<T>& step) {
    const Stage& all = plan_.stages.front();  // there is only this one
    for (std::size_t k = 0; k < plan_.buckets.size(); ++k) {
      if (shared_.arrive && !detail::called(step.mode, [&] { return shared_.arrive(k); })) {
        return StepStatus::abandoned;
      }
      look(step, plan_.buckets[k]);
    }
    if (shared_.exchange && plan_.needs_looks() && !norms_.exchange(step, shared_.exchange)) {
      return StepStatus::abandoned;
    }
    if (plan_.on_nonfinite != OnNonfinite::propagate) {
      nonfinite_ = !norms_.all_finite();
      if (nonfinite_) {
        return plan_.on_nonfinite == OnNonfinite::raise ? StepStatus::nonfinite
                                                        : StepStatus::skipped;
      }
    }
    find_factors(step, all);
    if (!split_.write_whole(step, passes_, rates_, shared_.agree)) return StepStatus::abandoned;
    if (split_.trusts_any() && !find_trust_ratios(step, all)) return StepStatus::abandoned;
    split_.commit_states(step, passes_);
    for (std::size_t k = 0; k < plan_.buckets.size(); ++k) {
      pass(step, plan_.buckets[k]);
      if (shared_.leave) detail::called(step.mode, [&] { return shared_.leave(k), true; });
    }
    if (shared_.exchange && split_.monitors()) split_.exchange_monitored(step, shared_.exchange);
    return StepStatus::done;
  }

  /// Group by group, while its gradient is still in the cache.
  StepStatus step_by_stages(const Step<T>& step) {
    for (const Stretch& stretch : plan_.stretches) {
      const bool done =
          stretch.by_thread && sharing_.by_stage(plan_.stages, stretch, [&](const Stage& stage) {
            norms_.look(step, stage.chunk_begin, stage.chunk_end);
            find_factors(step, stage);
            pass_part(step, stage.chunk_begin, stage.chunk_end);
          });
      if (done) continue;
      for (std::size_t k = stretch.stage_begin; k < stretch.stage_end; ++k) {
        const Stage& stage = plan_.stages[k];
        if (stage.is_normed()) look(step, stage);
        find_factors(step, stage);
        pass(step, stage);
      }
    }
    return StepStatus::done;
  }

  void look(const Step<T>& step, const Stage& stage) {
    sharing_.by_chunk(stage,
                      [&](std::size_t begin, std::size_t end) { norms_.look(step, begin, end); });
  }

  void find_factors(const Step<T>& step, const Stage& stage) {
    norms_.find_factors(step, stage, [&](std::size_t slot, const WideNumber& factor) {
      passes_.set_factor(slot, factor);
    });
  }

  bool find_trust_ratios(const Step<T>& step, const Stage& all) {
    sharing_.by_chunk(all, [&](std::size_t begin, std::size_t end) {
      split_.look_at_trusted(step, passes_, begin, end);
    });
    if (shared_.exchange && !split_.exchange_trusted(step, shared_.exchange)) return false;
    split_.find_trust_ratios(step, passes_, rates_);
    return true;
  }

  void pass(const Step<T>& step, const Stage& stage) {
    sharing_.by_chunk(stage,
                      [&](std::size_t begin, std::size_t end) { pass_part(step, begin, end); });
  }

  void pass_part(const Step<T>& step, std::size_t begin, std::size_t end) {
    if (!averages_.keeps() || !step.applies()) return pass_chunks(step, begin, end);
    for (std::size_t c = begin; c < end; ++c) {
      pass_chunks(step, c, c + 1);
      averages_.take(step, passes_, c);
    }
  }

  void pass_chunks(const Step<T>& step, std::size_t begin, std::size_t end) {
    if (split_.splits_any()) {
      pass_split(step, begin, end);
    } else if (begin == 0 && end == plan_.chunks.size()) {
      passes_.pass_all(step);
    } else {
      passes_.pass_chunks(step, begin, end);
    }
  }

  void pass_split(const Step<T>& step, std::size_t begin, std::size_t end) {
    if (split_.trusts_any()) {  // backwards: what the look at updates has come to last is cached
      for (std::size_t c = end; c-- > begin;) {
        if (split_.splits(plan_, plan_.chunks[c].slot)) {
          split_.pass_chunk(step, passes_, c);
        } else {
          passes_.pass_chunks(step, c, c + 1);
        }
      }
      return;
    }
    for (std::size_t c = begin; c < end;) {
      if (split_.splits(plan_, plan_.chunks[c].slot)) {
        split_.pass_chunk(step, passes_, c++);
        continue;
      }
      const std::size_t first = c;
      while (c < end && !split_.splits(plan_, plan_.chunks[c].slot)) ++c;
      passes_.pass_chunks(step, first, c);
    }
  }

  bool has_stepped() const { return !std::isnan(scales_[ScaledBefore::by_scale]); }

  void clear_frozen_updates(const Step<T>& step) const {
    if (step.applies()) return;
    for (std::size_t i = 0; i < plan_.slots.size(); ++i) {
      if (!plan_.slots[i].active && step.memory.updates[i] != nullptr) {
        const std::size_t bytes = bytes_of(step.memory.type_of(i), sizeof(T));
        std::fill_n(reinterpret_cast<char*>(step.memory.updates[i]),
                    step.layout.slots[i].size * bytes, char{0});
      }
    }
  }

  Plan plan_;
  Shared shared_;
  Sharing sharing_;
  Rates rates_;
  Norms<T> norms_;
  Passes<T> passes_;
  SplitStep<T> split_;
  Averages<T> averages_;
  // Of the last step.
  bool nonfinite_ = false;
  ScalesBefore scales_{no_value, no_value};
};

/// Whether all of x, which is of that type whatever it says, is finite, shared out over the threads;
/// nothing is.
template <class T>
bool all_finite(const T* x, ElementType type, std::size_t size) noexcept {
  if (x == nullptr) return true;
  const KernelTable<T>& kernels = active_target().kernels<T>();
  std::atomic<bool> finite{true};
  Sharing::by_element(size, [&](std::size_t begin, std::size_t end) {
    const bool found = type == ElementType::same ? kernels.all_finite(x + begin, end - begin)
                                                 : kernels.elements.all_finite(
                                                       type, element(x, type, begin), end - begin);
    if (!found) finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

/// sum += x, shared out over the threads; where a slot has no gradient, nothing.
template <class T>
void accumulate_gradients(const Layout& layout, std::span<T* const> sums,
                          std::span<const T* const> gradients,
                          std::span<const ElementType> types) noexcept {
  constexpr std::size_t most = 1024;
  const FlushSubnormals flush;
  const KernelTable<T>& kernels = active_target().kernels<T>();
  for (std::size_t i = 0; i < layout.slots.size(); ++i) {
    if (gradients[i] == nullptr) continue;
    const ElementType type = types.empty() ? ElementType::same : types[i];
    Sharing::by_element(layout.slots[i].size, [&](std::size_t begin, std::size_t end) {
      if (type == ElementType::same) {
        return kernels.accumulate(sums[i] + begin, gradients[i] + begin, end - begin);
      }
      T numbers[most];
      for (std::size_t at = begin; at < end; at += most) {
        const std::size_t size = std::min(most, end - at);
        kernels.elements.widen(type, element(gradients[i], type, at), numbers, size);
        kernels.accumulate(sums[i] + at, numbers, size);
      }
    });
  }
}

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
