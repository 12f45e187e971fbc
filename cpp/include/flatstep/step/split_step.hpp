// The split step: an update is written down, looked at, and only then applied. For whatever needs
// the finished update: monitoring measures it, a callback updater makes it.
//
//   write   u' into memory of its own: by the run's kernel, stretch by stretch; a callback's for the
//           whole slot, before anything is changed, as it may fail
//   look    ‖u'‖ and ‖p‖, and whether the state is finite, where they are monitored
//   apply   p −= u', or u' to where the caller wants it
//
// The same bits as the fused pass, which does all three in registers.
#pragma once

#include <flatstep/step/exchange.hpp>
#include <flatstep/step/passes.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

template <class T>
class SplitStep {
 public:
  /// @param monitor look at every update
  SplitStep(const Layout& layout, const Plan& plan, bool monitor)
      : monitor_(monitor), looks_(monitor ? plan.chunks.size() : 0) {
    std::size_t elements = 0;
    std::size_t state_elements = 0;
    for (const std::size_t i : plan.callback_slots) {
      const LayoutSlot& slot = layout.slots[i];
      written_.push_back({i, elements, state_elements, {}});
      elements += slot.size;
      for (std::size_t a = 0; a < slot.state.size(); ++a) {
        state_elements += slot.state[a].size;
        written_.back().shapes.push_back(slot.state_shape(a));
      }
    }
    updates_.resize(elements);
    states_.resize(state_elements);
  }

  bool monitors() const { return monitor_; }
  /// Whether the pass over that slot is split.
  bool splits(const Plan& plan, std::size_t slot) const {
    return monitor_ || plan.runs[plan.slots[slot].run].callback != nullptr;
  }
  /// Whether that of any slot is.
  bool splits_any() const { return monitor_ || !written_.empty(); }

  /// Writes down the updates of the slots with callbacks, then their state; false, with nothing
  /// changed, where one fails.
  bool write_whole(const Step<T>& step, const Passes<T>& passes, const Rates& rates) {
    for (const Written& written : written_) {
      if (!call(step, passes, rates, written)) return false;
    }
    for (const Written& written : written_) {
      const T* from = states_.data() + written.state;
      for (const StateArray& array : step.layout.slots[written.slot].state) {
        std::copy_n(from, array.size, step.state_view.data() + array.offset);
        from += array.size;
      }
    }
    return true;
  }

  /// Looks at one chunk's update and applies it, after writing what is not written yet.
  void pass_chunk(const Step<T>& step, const Passes<T>& passes, std::size_t c) {
    const Chunk& chunk = step.plan.chunks[c];
    const std::size_t run = step.plan.slots[chunk.slot].run;
    const T* const whole = whole_update(step.plan, chunk.slot);
    T stack[block_size];
    Look look;
    for (std::size_t begin = 0; begin < chunk.size; begin += block_size) {
      const std::size_t size = std::min(block_size, chunk.size - begin);
      Segment<T> part = passes.part_of(chunk.slot, chunk.offset + begin, size);
      T* const wanted = part.update;  // where the caller wants it, if anywhere
      if (monitor_) look.parameter.add(step.kernels.sum_of_squares(part.parameter, size));
      const T* update = whole == nullptr ? nullptr : whole + chunk.offset + begin;
      if (update == nullptr) {
        if (step.applies()) part.update = stack;
        Passes<T>::run_kernel(step, run, {&part, 1}, passes.constants(run),
                              Passes<T>::kind_of(step.plan.runs[run], false));
        update = part.update;
      }
      if (monitor_) {
        look.update.add(step.kernels.sum_of_squares(update, size));
        for (const T* const state : part.state) {
          if (state != nullptr && !step.kernels.all_finite(state, size)) look.state_finite = false;
        }
      }
      if (step.applies()) {
        step.kernels.subtract(part.parameter, update, size);
      } else if (update != wanted) {
        std::copy_n(update, size, wanted);
      }
    }
    if (monitor_) looks_[c] = look;
  }

  /// Makes the looks at this engine's chunks those at all chunks: two sums at three scales each, and
  /// whether the state is not finite.
  bool exchange(const Step<T>& step, const Exchange& exchange) {
    return detail::exchange_chunks<7>(
        step.plan, exchange, step.mode,
        [&](std::size_t c) {
          const auto update = looks_[c].update.parts();
          const auto parameter = looks_[c].parameter.parts();
          return std::array{update[0],
                            update[1],
                            update[2],
                            parameter[0],
                            parameter[1],
                            parameter[2],
                            looks_[c].state_finite ? 0.0 : 1.0};
        },
        [&](std::size_t c, std::span<const double, 7> found) {
          looks_[c] = {SumOfSquares::of_parts(found.template first<3>()),
                       SumOfSquares::of_parts(found.template subspan<3, 3>()), found[6] == 0};
        });
  }

  struct Measured {
    double update_norm;
    double parameter_norm;
    bool state_finite;
  };
  /// What monitoring saw of a slot.
  Measured measured(const PlanSlot& slot) const {
    Look sum;
    for (std::size_t c = slot.chunk_begin; c < slot.chunk_end; ++c) {
      sum.update.add(looks_[c].update, 1.0);
      sum.parameter.add(looks_[c].parameter, 1.0);
      sum.state_finite = sum.state_finite && looks_[c].state_finite;
    }
    return {sum.update.root().get(), sum.parameter.root().get(), sum.state_finite};
  }

 private:
  /// Elements of an update on the stack.
  static constexpr std::size_t block_size = 1024;

  struct Look {
    SumOfSquares update;
    SumOfSquares parameter;
    bool state_finite = true;
  };
  /// A slot whose update is written as a whole, and where that and its state lie.
  struct Written {
    std::size_t slot;
    std::size_t update;
    std::size_t state;
    std::vector<std::vector<std::size_t>> shapes;  ///< of its state arrays
  };

  const T* whole_update(const Plan& plan, std::size_t slot) const {
    if (plan.runs[plan.slots[slot].run].callback == nullptr) return nullptr;
    const auto found = std::ranges::lower_bound(written_, slot, {}, &Written::slot);
    return updates_.data() + found->update;
  }

  /// What comes before the callback, the callback, what comes after it: all on memory of our own.
  bool call(const Step<T>& step, const Passes<T>& passes, const Rates& rates,
            const Written& written) noexcept {
    const LayoutSlot& slot = step.layout.slots[written.slot];
    const std::size_t k = step.plan.slots[written.slot].run;
    const Run& run = step.plan.runs[k];
    const std::span<T> update(updates_.data() + written.update, slot.size);
    Segment<T> segment = passes.segment(written.slot);
    segment.update = update.data();
    PassConstants<T> before = passes.constants(k);
    before.l2_after = before.l1_after = 0;
    before.post = 1;
    Passes<T>::run_kernel(step, k, {&segment, 1}, before, Passes<T>::kind_of(run, false));

    std::array<std::span<T>, max_callback_state_arrays> state{};
    T* to = states_.data() + written.state;
    for (std::size_t a = 0; a < slot.state.size(); ++a) {
      const StateArray& array = slot.state[a];
      state[a] = {to, array.size};
      std::copy_n(step.state_view.data() + array.offset, array.size, to);
      to += array.size;
    }
    const CallbackArguments<T> arguments{written.slot,
                                         slot.shape,
                                         slot.column_major,
                                         update,
                                         {state.data(), slot.state.size()},
                                         rates.learning_rate(run.rate_group),
                                         step.iteration,
                                         step.epoch,
                                         written.shapes,
                                         {segment.parameter, slot.size}};
    try {
      const FlushSubnormals::Suspended callers_mode(step.mode);
      if (!run.callback->template callback<T>()(arguments)) return false;
    } catch (...) {
      return false;
    }

    PassConstants<T> after = passes.constants(k);
    after.l2_before = after.l1_before = 0;
    segment.gradient = update.data();
    segment.pre[0] = segment.pre[1] = 1;
    Passes<T>::run_kernel(step, k, {&segment, 1}, after,
                          Passes<T>::kind_of(run, false) & ~pass_clamps);
    return true;
  }

  bool monitor_;
  std::vector<Look> looks_;  ///< per chunk, where monitored
  std::vector<Written> written_;
  std::vector<T> updates_;
  std::vector<T> states_;
};

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
