// Passes: the segments and constants of the fused pass, and the calls of its kernels.
#pragma once

#include <flatstep/step/normalization_factor.hpp>
#include <flatstep/step/rates.hpp>
#include <flatstep/step/step.hpp>
#include <flatstep/step/stored.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

template <class T>
class Passes {
 public:
  Passes(const Layout& layout, const Plan& plan, std::vector<StoredSlot<T>> stored)
      : stored_(std::move(stored)) {
    make_segments(layout, plan);
    for (const Run& run : plan.runs) constants_.push_back(constants_of(run));
  }

  /// Points the segments at the step's gradients and updates; false where a gradient is missing.
  bool take_memory(const StepMemory<T>& memory) {
    bool complete = true;
    const bool applies = memory.updates.empty();
    for (std::size_t k = 0; k < segments_.size(); ++k) {
      Segment<T>& segment = segments_[k];
      segment.gradient = memory.gradients[segment_slots_[k]];
      if (!applies) segment.update = memory.updates[segment_slots_[k]];
      complete = complete && (segment.gradient != nullptr || segment.size == 0);
    }
    return complete;
  }

  /// The constants that depend on rates and on the batch size, and the factors of the slots that
  /// have no norm.
  void prepare(const Plan& plan, const Rates& rates, double inverse_batch,
               const ScalesBefore& scales) {
    for (std::size_t k = 0; k < plan.runs.size(); ++k) {
      const Run& run = plan.runs[k];
      PassConstants<T>& constants = constants_[k];
      if (run.l2_after_applies_rate) {
        constants.l2_after = static_cast<T>(run.l2_after * rates.learning_rate(run.rate_group));
      }
      if (run.divides_after) constants.post = static_cast<T>(inverse_batch);
      set_scalars(plan, k, rates.scalars(run.rate_group));
    }
    if (scales_of_factors_ == scales) return;
    scales_of_factors_ = scales;
    for (std::size_t k = 0; k < segments_.size(); ++k) {
      const PlanSlot& slot = plan.slots[segment_slots_[k]];
      if (slot.group != none) continue;
      set_pre(k, {scales[slot.scaled], 0});
    }
  }

  /// The step scalars of a run's updater.
  void set_scalars(const Plan& plan, std::size_t run,
                   const std::array<double, max_constants>& scalars) {
    for (std::size_t i = 0; i < plan.runs[run].updater->constant_count; ++i) {
      constants_[run].updater[i] = static_cast<T>(scalars[i]);
    }
  }

  /// What a slot's gradient is multiplied by before all else.
  void set_factor(std::size_t slot, const WideNumber& factor) {
    set_pre(segment_of_[slot], factor);
  }

  const Segment<T>& segment(std::size_t slot) const { return segments_[segment_of_[slot]]; }
  const PassConstants<T>& constants(std::size_t run) const { return constants_[run]; }

  const StoredSlot<T>& stored(std::size_t slot) const { return stored_[slot]; }

  /// Whether a slot's gradient, parameter or state is not in numbers as the kernels take them.
  bool is_tiled(const Step<T>& step, std::size_t slot) const {
    return is_narrow_[slot] != 0 || step.memory.type_of(slot) != ElementType::same;
  }

  /// A part of a slot's segment, where it is not tiled.
  Segment<T> part_of(std::size_t slot, std::size_t offset, std::size_t size) const {
    Segment<T> part = segment(slot);
    part.gradient += offset;
    part.parameter += offset;
    if (part.update != nullptr) part.update += offset;
    for (T*& state : part.state) {
      if (state != nullptr) state += offset;
    }
    part.size = size;
    return part;
  }

  /// The pass over all chunks: one kernel call per run and row of neighbours.
  void pass_all(const Step<T>& step) const {
    if (has_narrow_ || !step.memory.types.empty()) {
      return pass_chunks(step, 0, step.plan.chunks.size());
    }
    for (const Call& call : calls_) {
      run_kernel(step, call.run, {&segments_[call.first], call.count}, constants_[call.run],
                 kind_of(step.plan.runs[call.run], step.applies()));
    }
  }

  /// The pass over some: gathers chunks into segments, one kernel call per row of equal runs.
  void pass_chunks(const Step<T>& step, std::size_t begin, std::size_t end) const {
    Segment<T> segments[segments_per_call];
    std::size_t count = 0;
    std::size_t run = none;
    const auto call = [&] {
      run_kernel(step, run, {segments, count}, constants_[run],
                 kind_of(step.plan.runs[run], step.applies()));
      count = 0;
    };
    for (std::size_t c = begin; c < end;) {
      const Chunk& chunk = step.plan.chunks[c];
      const PlanSlot& slot = step.plan.slots[chunk.slot];
      if (count > 0 && (slot.run != run || count == segments_per_call)) call();
      run = slot.run;
      const std::size_t next = std::min(slot.chunk_end, end);
      const Chunk& last = step.plan.chunks[next - 1];
      const std::size_t size = last.offset + last.size - chunk.offset;
      if (is_tiled(step, chunk.slot)) {
        pass_tiles(step, chunk.slot, chunk.offset, size);
      } else {
        segments[count++] = part_of(chunk.slot, chunk.offset, size);
      }
      c = next;
    }
    if (count > 0) call();
  }

  /// The pass over a stretch of a slot whose gradient, parameter or state is in another form.
  void pass_tiles(const Step<T>& step, std::size_t slot, std::size_t offset,
                  std::size_t size) const;

  /// The same by a kernel of its own, where the target has one and the gradient is no float16.
  void pass_stored(const Step<T>& step, std::size_t slot, std::size_t offset,
                   std::size_t size) const;
  static bool has_stored_pass(const Step<T>& step, std::size_t run, unsigned kind);

  /// The flags of a run's pass.
  static unsigned kind_of(const Run& run, bool applies) {
    return (applies ? pass_applies : 0) | (run.regularizes() ? pass_regularizes : 0) |
           (run.clamps() ? pass_clamps : 0);
  }

  /// One call of a run's kernel.
  static void run_kernel(const Step<T>& step, std::size_t run, std::span<const Segment<T>> segments,
                         const PassConstants<T>& constants, unsigned kind) {
    kernels_of(step.kernels, step.plan.runs[run])
        .passes[kind](segments.data(), segments.size(), constants);
  }
  /// What comes before a run's updater, or after it: one call of NoOp's kernel.
  static void run_without_updater(const Step<T>& step, const Segment<T>& segment,
                                  const PassConstants<T>& constants, unsigned kind) {
    step.kernels.updaters[static_cast<std::size_t>(registered<NoOp>().index)].passes[kind](
        &segment, 1, constants);
  }

 private:
  /// Segments gathered for one kernel call.
  static constexpr std::size_t segments_per_call = 32;

  /// One kernel call of a pass over everything.
  struct Call {
    std::size_t run;
    std::size_t first;
    std::size_t count;
  };

  /// One segment per active slot, in the order of the chunks, complete but for the step's gradient.
  void make_segments(const Layout& layout, const Plan& plan) {
    has_narrow_ = layout.is_narrow;
    for (const StoredSlot<T>& slot : stored_) is_narrow_.push_back(slot.is_narrow());
    segment_of_.assign(layout.slots.size(), none);
    for (const std::size_t i : plan.order) {
      const LayoutSlot& slot = layout.slots[i];
      const std::size_t run = plan.slots[i].run;
      Segment<T> segment{};
      segment.parameter = stored_[i].numbers;
      segment.size = slot.size;
      segment.pre[0] = segment.pre[1] = 1;
      for (std::size_t a = 0; a < plan.runs[run].updater->state.size(); ++a) {
        segment.state[a] = stored_[i].state[a].numbers;
      }
      if (calls_.empty() || calls_.back().run != run) calls_.push_back({run, segments_.size(), 0});
      ++calls_.back().count;
      segment_of_[i] = segments_.size();
      negates_.push_back(plan.slots[i].negates);
      segment_slots_.push_back(i);
      segments_.push_back(segment);
    }
  }

  void set_pre(std::size_t k, const WideNumber& factor) {
    split_factor<T>(factor, segments_[k].pre);
    if (negates_[k] != 0) segments_[k].pre[0] = -segments_[k].pre[0];
  }

  static PassConstants<T> constants_of(const Run& run) {
    PassConstants<T> constants{};
    constants.clamp = static_cast<T>(run.clamp);
    constants.l2_before = static_cast<T>(run.l2_before);
    constants.l1_before = static_cast<T>(run.l1_before);
    constants.l2_after = static_cast<T>(run.l2_after);
    constants.l1_after = static_cast<T>(run.l1_after);
    constants.post = 1;
    return constants;
  }

  static const KernelRow<T>& kernels_of(const KernelTable<T>& kernels, const Run& run) {
    if (run.updater->index >= 0) {
      return kernels.updaters[static_cast<std::size_t>(run.updater->index)];
    }
    return *run.updater->template own_kernels<T>();
  }

  std::vector<StoredSlot<T>> stored_;  ///< per slot
  std::vector<char> is_narrow_;        ///< likewise
  bool has_narrow_ = false;
  ScalesBefore scales_of_factors_{no_value, no_value};  ///< what is in the segments' `pre`
  std::vector<std::size_t> segment_of_;                 ///< per slot
  // Per active slot, in the order of the chunks.
  std::vector<Segment<T>> segments_;
  std::vector<std::size_t> segment_slots_;
  std::vector<char> negates_;
  std::vector<Call> calls_;
  // Per run.
  std::vector<PassConstants<T>> constants_;
};

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
