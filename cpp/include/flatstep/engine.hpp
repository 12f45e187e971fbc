// The engine runs a plan: one step over parameters, gradients and state.
//
//   1. rates, momenta and step scalars, in double, once per rate group
//   2. norms and looks (where every gradient must be looked at first), factors, callbacks
//   3. the fused pass
//   4. rates and counters are committed
// A step that is refused has changed nothing before 3. The stages of a large network go through 2
// and 3 one by one instead, so that a group's gradient is read from memory once; many of them are
// spread over the threads, each done by one. Chunks are the grain of everything: their results do
// not depend on the thread that computes them, and they are combined in order.
#pragma once

#include <flatstep/kernels/dispatch.hpp>
#include <flatstep/plan.hpp>
#include <flatstep/simd/float_mode.hpp>
#include <flatstep/threads.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <vector>

namespace flatstep {

struct StepOptions {
  std::optional<std::int64_t> iteration{};  ///< default: the counter
  std::optional<std::int64_t> epoch{};      ///< default: the counter
  std::int64_t batch_size = 1;
};

enum class StepStatus {
  done,
  skipped,    ///< on_nonfinite "skip": nothing changed but the count of skipped steps
  nonfinite,  ///< on_nonfinite "raise": nothing changed
  abandoned,  ///< a callback updater failed: nothing changed
  invalid,    ///< a gradient is missing, or a count is out of range: nothing changed
};

struct StepReport {
  StepStatus status;
  std::int64_t iteration;
  std::int64_t epoch;
};

/// What the last step saw, per slot. NaN where there is nothing to say.
struct SlotReport {
  double gradient_norm = no_value;  ///< of its normalisation group's part that is this slot
  double factor = no_value;         ///< of its normalisation group
  bool clipped = false;
  bool nonfinite = false;
  double learning_rate = no_value;
  double update_norm = no_value;     ///< monitored: ‖update‖
  double parameter_norm = no_value;  ///< monitored: ‖parameter‖ before the step
};

/// What a step reads and writes besides parameters and state: one pointer per slot.
template <class T>
struct StepMemory {
  std::span<const T* const> gradients;  ///< nullptr: absent (frozen slots only)
  std::span<T* const> updates;          ///< where updates go; empty: apply them to the parameters
};

inline namespace FLATSTEP_DISPATCH {

template <class T>
class Engine {
 public:
  /// @param parameters one pointer per slot
  /// @param monitor gather ‖update‖ and ‖parameter‖ in every pass
  Engine(const Layout& layout, const Plan& plan, std::span<T* const> parameters,
         const State<T>& state, bool monitor)
      : monitor_(monitor) {
    // These throw here, where it may be, for a bad FLATSTEP_ISA or FLATSTEP_NUM_THREADS.
    active_target();
    ThreadPool::instance();
    const std::size_t slots = layout.slots.size();
    make_segments(layout, plan, parameters, state);
    sums_.resize(plan.chunks.size());
    finite_.resize(plan.chunks.size());
    if (monitor) monitored_.resize(plan.chunks.size());
    slot_sums_.resize(slots);
    group_norms_.resize(plan.groups.size(), {no_value, 0});
    group_factors_.resize(plan.groups.size(), {no_value, 0});
    values_.resize(plan.rate_groups.size());
    for (auto& values : values_) values.fill(no_value);
    scalars_.resize(plan.rate_groups.size());
    pending_.resize(plan.rate_groups.size());
    make_constants(plan);
    costs_.reserve(plan.chunks.size() + 1);
    costs_.push_back(0);
    for (const Chunk& chunk : plan.chunks) {
      costs_.push_back(costs_.back() + chunk.size + cost_of_chunk);
    }
    scratch_offsets_.assign(slots, 0);
    std::size_t gradient_scratch = 0;
    std::size_t state_scratch = 0;
    for (const std::size_t i : plan.callback_slots) {
      const std::size_t size = layout.slots[i].size;
      scratch_offsets_[i] = gradient_scratch;
      gradient_scratch += size;
      state_scratch += size * plan.runs[plan.slots[i].run].callback->state_names.size();
    }
    gradient_scratch_.resize(gradient_scratch);
    state_scratch_.resize(state_scratch);
  }

  StepReport step(const Layout& layout, const Plan& plan, const StepMemory<T>& memory,
                  State<T>& state, const StepOptions& options) noexcept {
    const FlushSubnormals flush;
    kernels_ = &active_target().kernels<T>();
    layout_ = &layout;
    plan_ = &plan;
    memory_ = &memory;
    state_ = &state;
    const std::int64_t iteration = options.iteration.value_or(state.counters.iteration);
    const std::int64_t epoch = options.epoch.value_or(state.counters.epoch);
    StepReport report{StepStatus::done, iteration, epoch};
    constexpr std::int64_t last = std::numeric_limits<std::int64_t>::max();
    if (options.batch_size < 1 || iteration < 0 || iteration == last || epoch < 0 ||
        !take_memory()) {
      report.status = StepStatus::invalid;
      return report;
    }
    inverse_batch_ = 1.0 / static_cast<double>(options.batch_size);
    evaluate_rates(iteration, epoch);
    fill_constants();
    fill_unnormed_factors();

    if (plan.looks_first) {
      const Stage& all = plan.stages.front();  // there is only this one
      look(all);
      if (plan.on_nonfinite != OnNonfinite::propagate && found_nonfinite()) {
        if (plan.on_nonfinite == OnNonfinite::raise) {
          report.status = StepStatus::nonfinite;
          return report;
        }
        report.status = StepStatus::skipped;
        ++state.counters.skipped_steps;
        return report;
      }
      find_factors(all);
      if (!call_back(iteration, epoch)) {
        report.status = StepStatus::abandoned;
        return report;
      }
      pass(all);
    } else {
      nonfinite_ = false;
      for (const Batch& batch : plan.batches) {
        if (!run_by_thread(batch)) run_by_stage(batch);
      }
    }
    clear_frozen_updates();
    commit_rates();
    state.counters.iteration = iteration + 1;
    state.counters.epoch = epoch;
    return report;
  }

  /// What the last step saw of one slot.
  SlotReport report(const Plan& plan, std::size_t slot) const {
    const PlanSlot& s = plan.slots[slot];
    SlotReport report;
    if (!s.active) return report;
    if (nonfinite_) {  // refused before there were factors
      report.nonfinite = !is_finite(s);
      return report;
    }
    const RateGroup& rates = plan.rate_groups[plan.runs[s.run].rate_group];
    const int role = rates.settings->updater.kind->find(Role::learning_rate);
    if (role >= 0 && rates.follows_policy) {
      report.learning_rate = values_[plan.runs[s.run].rate_group][static_cast<std::size_t>(role)];
    }
    if (s.group != none && !std::isnan(group_factors_[s.group].value)) {
      report.gradient_norm =
          slot_sums_[slot].root().get() * (s.divides_before ? inverse_batch_ : 1.0);
      report.factor = group_factors_[s.group].get();
      report.clipped = !renormalizes(plan.groups[s.group].strategy) && report.factor != 1.0;
    }
    if (monitor_) {
      SumOfSquares update;
      SumOfSquares parameter;
      for (std::size_t c = s.chunk_begin; c < s.chunk_end; ++c) {
        update.add(monitored_[c].update, 1.0);
        parameter.add(monitored_[c].parameter, 1.0);
      }
      report.update_norm = update.root().get();
      report.parameter_norm = parameter.root().get();
    }
    return report;
  }

  /// The norm of a slot's normalisation group, as its strategy saw it.
  double group_norm(const Plan& plan, std::size_t slot) const {
    const std::size_t group = plan.slots[slot].group;
    return group == none ? no_value : group_norms_[group].get();
  }

  /// sum += x, shared out over the threads.
  void accumulate(const Layout& layout, std::span<T* const> sums,
                  std::span<const T* const> gradients) noexcept {
    const FlushSubnormals flush;
    const KernelTable<T>& kernels = active_target().kernels<T>();
    for (std::size_t i = 0; i < layout.slots.size(); ++i) {
      if (gradients[i] == nullptr) continue;
      const std::size_t size = layout.slots[i].size;
      const unsigned parts = parts_worth(size);
      ThreadPool::instance().run(parts, [&](unsigned part) {
        const std::size_t begin = share(size, part, parts);
        const std::size_t end = share(size, part + 1, parts);
        kernels.accumulate(sums[i] + begin, gradients[i] + begin, end - begin);
      });
    }
  }

 private:
  /// What a chunk costs besides its elements, in elements.
  static constexpr std::size_t cost_of_chunk = 64;
  /// A thread is worth waking for this many elements.
  static constexpr std::size_t elements_per_thread = 32768;
  /// Threads take whole stages where no share is more than 1/8 above the average.
  static constexpr std::size_t unequal_share = 8;
  /// Elements of an update on the stack.
  static constexpr std::size_t monitored_block = 1024;
  /// Segments gathered for one kernel call.
  static constexpr std::size_t segments_per_call = 32;

  bool applies() const { return memory_->updates.empty(); }

  /// Points the segments at the step's gradients and updates; false where a gradient is missing.
  bool take_memory() {
    bool complete = true;
    for (std::size_t k = 0; k < segments_.size(); ++k) {
      Segment<T>& segment = segments_[k];
      segment.gradient = memory_->gradients[segment_slots_[k]];
      if (!applies()) segment.update = memory_->updates[segment_slots_[k]];
      complete = complete && (segment.gradient != nullptr || segment.size == 0);
    }
    return complete;
  }

  /// One segment per active slot, in the order of the chunks, complete but for the step's gradient.
  void make_segments(const Layout& layout, const Plan& plan, std::span<T* const> parameters,
                     const State<T>& state) {
    segment_of_.assign(layout.slots.size(), none);
    for (const std::size_t i : plan.order) {
      const LayoutSlot& slot = layout.slots[i];
      const Run& run = plan.runs[plan.slots[i].run];
      Segment<T> segment{};
      segment.parameter = parameters[i];
      segment.size = slot.size;
      segment.pre[0] = segment.pre[1] = 1;
      for (std::size_t a = 0; a < run.updater->state_names.size(); ++a) {
        segment.state[a] = state.view.data() + slot.state_offset + a * slot.state_stride;
      }
      if (calls_.empty() || calls_.back().run != plan.slots[i].run) {
        calls_.push_back({plan.slots[i].run, segments_.size(), 0});
      }
      ++calls_.back().count;
      segment_of_[i] = segments_.size();
      segment_slots_.push_back(i);
      segments_.push_back(segment);
    }
  }

  // ---------------------------------------------------------------------- rates and constants

  void evaluate_rates(std::int64_t iteration, std::int64_t epoch) {
    for (std::size_t k = 0; k < plan_->rate_groups.size(); ++k) {
      const RateGroup& group = plan_->rate_groups[k];
      const SlotSettings& settings = *group.settings;
      const UpdaterInfo& info = *settings.updater.kind;
      auto& values = values_[k];
      for (std::size_t i = 0; i < settings.updater.values.size(); ++i) {
        values[i] = settings.updater.values[i].at(iteration, epoch);
      }
      RateState rate = state_->rates[group.slots.front()];
      if (group.follows_policy) {
        if (settings.policy.kind != LearningRatePolicy::Kind::None) {
          rate.learning_rate = settings.policy.next(rate.learning_rate, iteration);
        }
        const auto momentum = settings.momentum_schedule.find(iteration);
        if (momentum != settings.momentum_schedule.end()) rate.momentum = momentum->second;
      }
      pending_[k] = rate;
      override_value(values, info.find(Role::learning_rate), rate.learning_rate);
      override_value(values, info.find(Role::momentum), rate.momentum);
      if (info.constants != nullptr) {
        info.constants(values.data(), {iteration, plan_->semantics}, scalars_[k].data());
      }
    }
  }

  static void override_value(std::array<double, max_hyper_parameters>& values, int place,
                             double value) {
    if (place >= 0 && !std::isnan(value)) values[static_cast<std::size_t>(place)] = value;
  }

  /// The constants of each run that no step changes. The two orders: regularisation before the
  /// updater, or after it.
  void make_constants(const Plan& plan) {
    const bool before = plan.semantics == Semantics::dl4j_1_0;
    for (const Run& run : plan.runs) {
      PassConstants<T> constants{};
      constants.clamp = static_cast<T>(run.clamp);
      constants.l2_before = static_cast<T>(before ? run.l2 : 0.0);
      constants.l1_before = static_cast<T>(before ? run.l1 : 0.0);
      constants.l2_after = static_cast<T>(before ? run.weight_decay : run.l2);
      constants.l1_after = static_cast<T>(before ? 0.0 : run.l1);
      constants.post = 1;
      constants_.push_back(constants);
    }
  }

  /// And those that depend on rates and on the batch size.
  void fill_constants() {
    for (std::size_t k = 0; k < plan_->runs.size(); ++k) {
      const Run& run = plan_->runs[k];
      PassConstants<T>& constants = constants_[k];
      if (run.weight_decay != 0 && run.weight_decay_apply_lr) {
        const int rate =
            plan_->rate_groups[run.rate_group].settings->updater.kind->find(Role::learning_rate);
        if (rate >= 0) {
          constants.l2_after = static_cast<T>(
              run.weight_decay * values_[run.rate_group][static_cast<std::size_t>(rate)]);
        }
      }
      if (run.divides_after) constants.post = static_cast<T>(inverse_batch_);
      for (std::size_t i = 0; i < max_constants; ++i) {
        constants.updater[i] = static_cast<T>(scalars_[run.rate_group][i]);
      }
    }
  }

  void commit_rates() {
    for (std::size_t k = 0; k < plan_->rate_groups.size(); ++k) {
      if (!plan_->rate_groups[k].moves()) continue;
      for (const std::size_t slot : plan_->rate_groups[k].slots) {
        state_->rates[slot] = pending_[k];
      }
    }
  }

  // -------------------------------------------------------------------------- norms and factors

  /// Sums of squares where a norm is needed, else whether all is finite where that is asked.
  void look(const Stage& stage) {
    in_parallel(stage, [&](std::size_t begin, std::size_t end) { look_at_chunks(begin, end); });
  }

  void look_at_chunks(std::size_t begin, std::size_t end) {
    const bool looks = plan_->on_nonfinite != OnNonfinite::propagate;
    for (std::size_t c = begin; c < end; ++c) {
      const Chunk& chunk = plan_->chunks[c];
      const T* const gradient = memory_->gradients[chunk.slot] + chunk.offset;
      if (plan_->slots[chunk.slot].group != none) {
        sums_[c] = kernels_->sum_of_squares(gradient, chunk.size);
        finite_[c] = std::isfinite(sums_[c].sum);
      } else if (looks) {
        finite_[c] = kernels_->all_finite(gradient, chunk.size);
      }
    }
  }

  bool is_finite(const PlanSlot& slot) const {
    return std::all_of(finite_.begin() + static_cast<std::ptrdiff_t>(slot.chunk_begin),
                       finite_.begin() + static_cast<std::ptrdiff_t>(slot.chunk_end),
                       [](char finite) { return finite != 0; });
  }

  bool found_nonfinite() {
    nonfinite_ = std::find(finite_.begin(), finite_.end(), 0) != finite_.end();
    return nonfinite_;
  }

  /// `pre` of the slots that have no norm: it changes with the batch size only.
  void fill_unnormed_factors() {
    if (batch_of_factors_ == inverse_batch_) return;
    batch_of_factors_ = inverse_batch_;
    for (std::size_t k = 0; k < segments_.size(); ++k) {
      const PlanSlot& slot = plan_->slots[segment_slots_[k]];
      if (slot.group != none) continue;
      split_factor<T>({slot.divides_before ? inverse_batch_ : 1.0, 0}, segments_[k].pre);
    }
  }

  /// Norms and factors of a stage's groups, and `pre` of their slots.
  void find_factors(const Stage& stage) {
    for (std::size_t k = stage.group_begin; k < stage.group_end; ++k) {
      const Group& group = plan_->groups[k];
      SumOfSquares total;
      for (const std::size_t i : group.slots) {
        const PlanSlot& slot = plan_->slots[i];
        SumOfSquares sum;
        for (std::size_t c = slot.chunk_begin; c < slot.chunk_end; ++c) sum.add(sums_[c]);
        slot_sums_[i] = sum;
        total.add(sum, slot.divides_before ? inverse_batch_ : 1.0);
      }
      group_norms_[k] = total.root();
      group_factors_[k] = normalization_factor(group.strategy, group.threshold, group_norms_[k]);
      for (const std::size_t i : group.slots) {
        Scaled factor = group_factors_[k];
        if (plan_->slots[i].divides_before) factor.value *= inverse_batch_;
        split_factor<T>(factor, segments_[segment_of_[i]].pre);
      }
    }
  }

  // ------------------------------------------------------------------------------------- passes

  /// Runs the callback updaters on scratch memory; false where one fails.
  bool call_back(std::int64_t iteration, std::int64_t epoch) {
    T* state_scratch = state_scratch_.data();
    for (const std::size_t i : plan_->callback_slots) {
      const Run& run = plan_->runs[plan_->slots[i].run];
      const LayoutSlot& slot = layout_->slots[i];
      T* const gradient = gradient_scratch_.data() + scratch_offsets_[i];
      std::array<T*, max_callback_state_arrays> state{};
      const std::size_t arrays = run.callback->state_names.size();
      for (std::size_t a = 0; a < arrays; ++a) {
        state[a] = state_scratch;
        std::copy_n(state_array(i, a), slot.size, state_scratch);
        state_scratch += slot.size;
      }
      Segment<T>& given = segments_[segment_of_[i]];
      Segment<T> segment = given;
      segment.update = gradient;
      PassConstants<T> constants = constants_[plan_->slots[i].run];
      constants.l2_after = constants.l1_after = 0;
      constants.post = 1;
      const unsigned kind =
          (run.regularizes() ? pass_regularizes : 0) | (run.clamps() ? pass_clamps : 0);
      kernels_of(run).passes[kind](&segment, 1, constants);
      const auto& values = values_[run.rate_group];
      const int role = run.callback->find(Role::learning_rate);
      const CallbackArguments<T> arguments{
          i,
          slot.shape,
          slot.column_major,
          {gradient, slot.size},
          {state.data(), arrays},
          role < 0 ? no_value : values[static_cast<std::size_t>(role)],
          iteration,
          epoch};
      try {
        if (!callback_of(*run.callback)(arguments)) return false;
      } catch (...) {
        return false;
      }
      // The pass takes up here: what comes before the updater is done.
      batch_of_factors_ = no_value;
      given.gradient = gradient;
      given.pre[0] = given.pre[1] = 1;
    }
    state_scratch = state_scratch_.data();
    for (const std::size_t i : plan_->callback_slots) {
      const Run& run = plan_->runs[plan_->slots[i].run];
      const std::size_t size = layout_->slots[i].size;
      for (std::size_t a = 0; a < run.callback->state_names.size(); ++a) {
        std::copy_n(state_scratch, size, state_array(i, a));
        state_scratch += size;
      }
    }
    return true;
  }

  static const auto& callback_of(const UpdaterInfo& info) {
    if constexpr (sizeof(T) == sizeof(float)) {
      return info.float_callback;
    } else {
      return info.double_callback;
    }
  }

  const KernelRow<T>& kernels_of(const Run& run) const {
    if (run.updater->index >= 0) {
      return kernels_->updaters[static_cast<std::size_t>(run.updater->index)];
    }
    if constexpr (sizeof(T) == sizeof(float)) {
      return *run.updater->float_kernels;
    } else {
      return *run.updater->double_kernels;
    }
  }

  T* state_array(std::size_t slot, std::size_t array) const {
    const LayoutSlot& s = layout_->slots[slot];
    return state_->view.data() + s.state_offset + array * s.state_stride;
  }

  void pass(const Stage& stage) {
    in_parallel(stage, [&](std::size_t begin, std::size_t end) { pass_part(begin, end); });
  }

  void pass_part(std::size_t begin, std::size_t end) {
    if (monitor_) {
      pass_chunks_monitored(begin, end);
    } else if (begin == 0 && end == plan_->chunks.size()) {
      for (const Call& call : calls_) {
        pass_segments(call.run, &segments_[call.first], call.count, applies());
      }
    } else {
      pass_chunks(begin, end);
    }
  }

  /// Gathers chunks into segments: one kernel call per stretch of chunks of equal runs.
  void pass_chunks(std::size_t begin, std::size_t end) {
    Segment<T> segments[segments_per_call];
    std::size_t count = 0;
    std::size_t run = none;
    for (std::size_t c = begin; c < end;) {
      const Chunk& chunk = plan_->chunks[c];
      const PlanSlot& slot = plan_->slots[chunk.slot];
      if (count > 0 && (slot.run != run || count == segments_per_call)) {
        pass_segments(run, segments, count, applies());
        count = 0;
      }
      run = slot.run;
      const std::size_t next = std::min(slot.chunk_end, end);
      const Chunk& last = plan_->chunks[next - 1];
      segments[count++] = part_of(chunk.slot, chunk.offset, last.offset + last.size - chunk.offset);
      c = next;
    }
    if (count > 0) pass_segments(run, segments, count, applies());
  }

  /// The same, measuring ‖update‖ and ‖parameter‖: block by block, the update is written down (on
  /// the stack where it is to be applied), measured, and then subtracted. The same bits as
  /// pass_chunks.
  void pass_chunks_monitored(std::size_t begin, std::size_t end) {
    T block[monitored_block];
    for (std::size_t c = begin; c < end; ++c) {
      const Chunk& chunk = plan_->chunks[c];
      SumOfSquares update;
      SumOfSquares parameter;
      for (std::size_t offset = 0; offset < chunk.size; offset += monitored_block) {
        const std::size_t size = std::min(monitored_block, chunk.size - offset);
        Segment<T> segment = part_of(chunk.slot, chunk.offset + offset, size);
        if (applies()) segment.update = block;
        parameter.add(kernels_->sum_of_squares(segment.parameter, size));
        pass_segments(plan_->slots[chunk.slot].run, &segment, 1, false);
        update.add(kernels_->sum_of_squares(segment.update, size));
        if (applies()) kernels_->subtract(segment.parameter, block, size);
      }
      monitored_[c] = {update, parameter};
    }
  }

  /// A stretch of a slot's segment.
  Segment<T> part_of(std::size_t slot, std::size_t offset, std::size_t size) const {
    Segment<T> part = segments_[segment_of_[slot]];
    part.gradient += offset;
    part.parameter += offset;
    if (part.update != nullptr) part.update += offset;
    for (T*& state : part.state) {
      if (state != nullptr) state += offset;
    }
    part.size = size;
    return part;
  }

  void pass_segments(std::size_t k, const Segment<T>* segments, std::size_t count, bool apply) {
    const Run& run = plan_->runs[k];
    unsigned kind = apply ? pass_applies : 0;
    if (run.regularizes()) kind |= pass_regularizes;
    if (run.callback == nullptr) {
      if (run.clamps()) kind |= pass_clamps;
      kernels_of(run).passes[kind](segments, count, constants_[k]);
    } else {
      // What comes before the updater is done: see call_back.
      PassConstants<T> constants = constants_[k];
      constants.l2_before = constants.l1_before = 0;
      kernels_of(run).passes[kind](segments, count, constants);
    }
  }

  void clear_frozen_updates() {
    if (applies()) return;
    for (std::size_t i = 0; i < plan_->slots.size(); ++i) {
      if (!plan_->slots[i].active && memory_->updates[i] != nullptr) {
        std::fill_n(memory_->updates[i], layout_->slots[i].size, T{0});
      }
    }
  }

  // ------------------------------------------------------------------------------------ threads

  /// One stage after the other, all threads on each: its norms, then its pass.
  void run_by_stage(const Batch& batch) {
    for (std::size_t k = batch.stage_begin; k < batch.stage_end; ++k) {
      const Stage& stage = plan_->stages[k];
      if (stage.is_normed()) look(stage);
      find_factors(stage);
      pass(stage);
    }
  }

  /// The stages spread over the threads, each from norm to pass on one of them: no thread waits for
  /// another in between. False where that does not serve, because the shares would be too unequal.
  bool run_by_thread(const Batch& batch) {
    if (!batch.by_thread) return false;
    const std::vector<Stage>& stages = plan_->stages;
    const std::size_t first = costs_[stages[batch.stage_begin].chunk_begin];
    const std::size_t cost = costs_[stages[batch.stage_end - 1].chunk_end] - first;
    const unsigned parts = parts_worth(cost);
    // The stage with which a part begins: the one nearest to an equal share.
    const auto cut = [&](unsigned part) {
      if (part == parts) return batch.stage_end;
      const std::size_t target = first + share(cost, part, parts);
      std::size_t k = batch.stage_begin;
      while (k < batch.stage_end && middle_of(stages[k]) < target) ++k;
      return k;
    };
    for (unsigned part = 0; part < parts; ++part) {
      const std::size_t begin = cut(part);
      const std::size_t end = cut(part + 1);
      if (begin == end) continue;
      const std::size_t own = costs_[stages[end - 1].chunk_end] - costs_[stages[begin].chunk_begin];
      if (own > cost / parts + cost / parts / unequal_share) return false;
    }
    ThreadPool::instance().run(parts, [&](unsigned part) {
      for (std::size_t k = cut(part), end = cut(part + 1); k < end; ++k) {
        look_at_chunks(stages[k].chunk_begin, stages[k].chunk_end);
        find_factors(stages[k]);
        pass_part(stages[k].chunk_begin, stages[k].chunk_end);
      }
    });
    return true;
  }

  std::size_t middle_of(const Stage& stage) const {
    return costs_[stage.chunk_begin] + (costs_[stage.chunk_end] - costs_[stage.chunk_begin]) / 2;
  }

  /// cost·part/parts, without overflow.
  static std::size_t share(std::size_t cost, unsigned part, unsigned parts) {
    return cost / parts * part + cost % parts * part / parts;
  }

  /// In how many parts that much work is done: one where waking a thread does not pay.
  static unsigned parts_worth(std::size_t cost) {
    const std::size_t worth = cost / elements_per_thread;
    if (worth < 2) return 1;
    return static_cast<unsigned>(
        std::min<std::size_t>(ThreadPool::instance().num_threads(), worth));
  }

  /// body(begin, end) over the stage's chunks, in as many parts as pay, cut at fixed places.
  template <class Body>
  void in_parallel(const Stage& stage, Body&& body) {
    const std::size_t first = costs_[stage.chunk_begin];
    const std::size_t cost = costs_[stage.chunk_end] - first;
    const unsigned parts = parts_worth(cost);
    if (parts < 2) {
      body(stage.chunk_begin, stage.chunk_end);
      return;
    }
    // The chunk nearest to an equal share.
    const auto cut = [&](unsigned part) {
      const std::size_t target = first + share(cost, part, parts);
      const auto found =
          std::lower_bound(costs_.begin() + static_cast<std::ptrdiff_t>(stage.chunk_begin),
                           costs_.begin() + static_cast<std::ptrdiff_t>(stage.chunk_end), target);
      const auto chunk = static_cast<std::size_t>(found - costs_.begin());
      const bool earlier =
          chunk > stage.chunk_begin && target - costs_[chunk - 1] < costs_[chunk] - target;
      return earlier ? chunk - 1 : chunk;
    };
    ThreadPool::instance().run(parts, [&](unsigned part) {
      body(part == 0 ? stage.chunk_begin : cut(part),
           part + 1 == parts ? stage.chunk_end : cut(part + 1));
    });
  }

  /// One kernel call of a pass over everything.
  struct Call {
    std::size_t run;
    std::size_t first;
    std::size_t count;
  };
  struct Monitored {
    SumOfSquares update;
    SumOfSquares parameter;
  };

  bool monitor_;
  bool nonfinite_ = false;
  double inverse_batch_ = 1.0;
  double batch_of_factors_ = no_value;  ///< the inverse batch that is in the segments' `pre`

  // Per chunk.
  std::vector<ScaledSum> sums_;
  std::vector<char> finite_;
  std::vector<Monitored> monitored_;
  std::vector<std::size_t> costs_;  ///< running total
  // Per slot.
  std::vector<SumOfSquares> slot_sums_;
  std::vector<std::size_t> segment_of_;
  std::vector<std::size_t> scratch_offsets_;
  // Per active slot, in the order of the chunks.
  std::vector<Segment<T>> segments_;
  std::vector<std::size_t> segment_slots_;
  std::vector<Call> calls_;
  // Per group.
  std::vector<Scaled> group_norms_;
  std::vector<Scaled> group_factors_;
  // Per rate group.
  std::vector<std::array<double, max_hyper_parameters>> values_;
  std::vector<std::array<double, max_constants>> scalars_;
  std::vector<RateState> pending_;
  // Per run.
  std::vector<PassConstants<T>> constants_;
  // Callback updaters work on these.
  std::vector<T> gradient_scratch_;
  std::vector<T> state_scratch_;

  // Of the step under way.
  const KernelTable<T>* kernels_ = nullptr;
  const Layout* layout_ = nullptr;
  const Plan* plan_ = nullptr;
  const StepMemory<T>* memory_ = nullptr;
  State<T>* state_ = nullptr;
};

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
