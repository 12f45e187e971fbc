// The split step: an update is written down, looked at, and only then applied. For whatever needs
// the finished update: monitoring measures it, a callback updater makes it, a trust ratio scales it.
//
//   write   u' into memory of its own: by the run's kernel, stretch by stretch; for the whole slot
//           where a callback makes it, before anything is changed, as that may fail, and where it
//           waits for its trust ratio
//   look    ‖u'‖ and ‖p‖ for trust ratios, and where they are monitored, then also whether the state
//           is finite
//   apply   p −= u', or u' to where the caller wants it
//
// The same bits as the fused pass, which does all three in registers. A trust ratio of the gradient
// needs nothing written: it is looked at as the updater will get it, and the ratio is in the
// constants of the fused pass.
#pragma once

#include <flatstep/step/exchange.hpp>
#include <flatstep/step/passes.hpp>
#include <flatstep/step/tile.hpp>

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
      : monitor_(monitor),
        monitored_(monitor ? plan.places : 0),
        trusted_(plan.trusting_slots.empty() ? 0 : plan.places),
        trust_ratios_(plan.trusting_slots.empty() ? 0 : layout.slots.size(), no_value) {
    std::size_t elements = 0;
    std::size_t state_elements = 0;
    std::size_t split_elements = 0;
    for (std::size_t i = 0; i < layout.slots.size(); ++i) {
      if (!plan.slots[i].active || !is_written_whole(plan, i)) continue;
      // A callback's slot is one part's alone.
      if (run_of(plan, i).callback != nullptr && !plan.slots[i].is_whole) continue;
      const LayoutSlot& slot = layout.slots[i];
      written_.push_back({i, elements, state_elements, split_elements, {}});
      elements += slot.size;
      if (run_of(plan, i).callback == nullptr) continue;
      if (slot.type != ElementType::same && slot.master == Master::split) {
        split_elements += slot.size;
      }
      for (std::size_t a = 0; a < slot.state.size(); ++a) {
        state_elements += slot.state[a].size;
        written_.back().shapes.push_back(slot.state_shape(a));
      }
    }
    updates_ = AlignedBuffer<T>(elements);
    parameters_ = AlignedBuffer<T>(split_elements);
    states_ = AlignedBuffer<T>(state_elements);
  }

  bool monitors() const { return monitor_; }
  bool trusts_any() const { return !trusted_.empty(); }
  /// Whether the pass over that slot is split.
  bool splits(const Plan& plan, std::size_t slot) const {
    return monitor_ || is_written_whole(plan, slot);
  }
  /// Whether that of any slot is.
  bool splits_any() const { return monitor_ || !written_.empty(); }

  /// Writes down the updates of the slots with callbacks; false, with nothing changed, where one
  /// fails, here or where another engine of the network calls it.
  bool write_whole(const Step<T>& step, const Passes<T>& passes, const Rates& rates,
                   const Agreement& agree) {
    bool done = true;
    for (const Written& written : written_) {
      done = done && (!is_callback(step, written) || call(step, passes, rates, written));
    }
    if (agree && !step.plan.callback_slots.empty()) {
      done = detail::called(step.mode, [&] { return agree(done); }) && done;
    }
    return done;
  }

  /// Then their state.
  void commit_states(const Step<T>& step, const Passes<T>& passes) {
    for (const Written& written : written_) {
      if (!is_callback(step, written)) continue;
      const T* from = states_.data() + written.state;
      const LayoutSlot& slot = step.layout.slots[written.slot];
      for (std::size_t a = 0; a < slot.state.size(); ++a) {
        std::copy_n(from, slot.state[a].size, passes.stored(written.slot).state[a].numbers);
        from += slot.state[a].size;
      }
    }
  }

  /// Looks at what trust ratios are to scale of these chunks, and writes down the updates that wait
  /// for theirs.
  void look_at_trusted(const Step<T>& step, const Passes<T>& passes, std::size_t begin,
                       std::size_t end) {
    for (std::size_t c = begin; c < end; ++c) {
      const Chunk& chunk = step.plan.chunks[c];
      const Run& run = run_of(step.plan, chunk.slot);
      if (run.trusts == Trusted::nothing) continue;
      const std::size_t k = step.plan.slots[chunk.slot].run;
      const PassConstants<T> constants = looked_at_by(run.trusts, passes.constants(k));
      const Written* const whole = written(step.plan, chunk.slot);
      T stack[block_size];
      Look look;
      for (std::size_t at = 0; at < chunk.size; at += block_size) {
        const std::size_t size = std::min(block_size, chunk.size - at);
        Tile<T> tile(step, passes, chunk.slot, chunk.offset + at, size,
                     {.state = run.trusts != Trusted::gradient});
        Segment<T>& part = tile.segment();
        part.update =
            whole == nullptr ? stack : updates_.data() + whole->update + chunk.offset + at;
        const unsigned kind = Passes<T>::kind_of(run, false);
        const T* looked_at = part.update;
        if (run.trusts != Trusted::gradient) {
          Passes<T>::run_kernel(step, k, {&part, 1}, constants, kind);
          tile.store_state();
        } else if (kind == 0 && part.pre[0] == 1 && part.pre[1] == 1) {
          looked_at = part.gradient;  // nothing comes before it
        } else {
          Passes<T>::run_without_updater(step, part, constants, kind);
        }
        look.update.add(step.kernels.sum_of_squares(looked_at, size));
        look.parameter.add(step.kernels.sum_of_squares(part.parameter, size));
      }
      trusted_[chunk.place] = look;
    }
  }

  /// Trust ratios of the norms over whole slots. Those of gradients go into the constants of the
  /// slot's run.
  void find_trust_ratios(const Step<T>& step, Passes<T>& passes, const Rates& rates) {
    for (const std::size_t i : step.plan.trusting_slots) {
      const std::size_t k = step.plan.slots[i].run;
      const Run& run = step.plan.runs[k];
      const Measured measured = sum_over(trusted_, step.plan.slots[i]);
      const double* const values = rates.values(run.rate_group);
      const PassConstants<T>& constants = passes.constants(k);
      const double decay = static_cast<double>(constants.l2_after * constants.post);
      const double ratio =
          run.updater->trust_ratio(values, decay, measured.parameter_norm, measured.update_norm);
      trust_ratios_[i] = ratio;
      if (run.trusts != Trusted::gradient) continue;
      std::array<double, max_constants> scalars{};
      run.updater->constants(values, {step.iteration, *step.plan.rules, ratio}, scalars.data());
      passes.set_scalars(step.plan, k, scalars);
    }
  }

  /// NaN where the slot has none, or had none yet.
  double trust_ratio(std::size_t slot) const {
    return trust_ratios_.empty() ? no_value : trust_ratios_[slot];
  }

  /// Looks at one chunk's update and applies it, after writing what is not written yet.
  void pass_chunk(const Step<T>& step, const Passes<T>& passes, std::size_t c) {
    const Chunk& chunk = step.plan.chunks[c];
    const std::size_t run = step.plan.slots[chunk.slot].run;
    const Written* const whole = written(step.plan, chunk.slot);
    const T* const update_of_chunk =
        whole == nullptr ? nullptr : updates_.data() + whole->update + chunk.offset;
    const bool is_scaled = whole != nullptr && step.plan.runs[run].trusts != Trusted::nothing;
    const bool is_tiled = passes.is_tiled(step, chunk.slot);
    if (is_scaled && !monitor_ && step.applies() && !is_tiled) {  // nobody looks at what is scaled
      Segment<T> part = passes.part_of(chunk.slot, chunk.offset, chunk.size);
      part.gradient = update_of_chunk;
      return scale(step, passes, run, part, true);
    }
    T stack[block_size];
    Look look;
    for (std::size_t begin = 0; begin < chunk.size; begin += block_size) {
      const std::size_t size = std::min(block_size, chunk.size - begin);
      const bool is_run = whole == nullptr;  // now, and not before
      Tile<T> tile(step, passes, chunk.slot, chunk.offset + begin, size,
                   {.state = is_run || monitor_});
      Segment<T>& part = tile.segment();
      T* const wanted = part.update;  // where the caller wants it, if anywhere
      if (monitor_) {
        look.parameter.add(step.kernels.sum_of_squares(part.parameter, size));
        if (step.plan.runs[run].clamps()) {
          look.clipped += step.kernels.count_clipped(part.gradient, size, part.pre,
                                                     passes.constants(run).clamp);
        }
      }
      const T* update = whole == nullptr ? nullptr : update_of_chunk + begin;
      if (is_scaled) {
        if (step.applies()) part.update = stack;
        part.gradient = update;
        scale(step, passes, run, part, false);
        update = part.update;
      } else if (update == nullptr) {
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
      if (is_run) tile.store_state();
      if (step.applies()) {
        step.kernels.subtract(part.parameter, update, size);
      } else if (update != wanted) {
        std::copy_n(update, size, wanted);
      }
      tile.store_result();
    }
    if (monitor_) monitored_[chunk.place] = look;
  }

  /// Makes what monitoring saw of this engine's chunks what it saw of all chunks.
  bool exchange_monitored(const Step<T>& step, const Exchange& exchange) {
    return exchange_looks(step, exchange, monitored_);
  }
  /// And what was seen for trust ratios.
  bool exchange_trusted(const Step<T>& step, const Exchange& exchange) {
    return exchange_looks(step, exchange, trusted_);
  }

  struct Measured {
    double update_norm;
    double parameter_norm;
    std::size_t clipped;
    bool state_finite;
  };
  /// What monitoring saw of a slot.
  Measured measured(const PlanSlot& slot) const { return sum_over(monitored_, slot); }

 private:
  /// Elements of an update on the stack.
  static constexpr std::size_t block_size = 1024;

  struct Look {
    SumOfSquares update;
    SumOfSquares parameter;
    std::size_t clipped = 0;  ///< elements that were clipped one by one
    bool state_finite = true;
  };
  /// A slot whose update is written as a whole, and where that lies; a callback's state, too, and its
  /// parameter where that is split.
  struct Written {
    std::size_t slot = 0;
    std::size_t update = 0;
    std::size_t state = 0;
    std::size_t parameter = 0;
    std::vector<std::vector<std::size_t>> shapes;  ///< of its state arrays
  };

  static const Run& run_of(const Plan& plan, std::size_t slot) {
    return plan.runs[plan.slots[slot].run];
  }
  static bool is_written_whole(const Plan& plan, std::size_t slot) {
    const Run& run = run_of(plan, slot);
    return run.callback != nullptr || run.trusts == Trusted::direction ||
           run.trusts == Trusted::update;
  }
  static bool is_callback(const Step<T>& step, const Written& written) {
    return run_of(step.plan, written.slot).callback != nullptr;
  }

  /// Two sums at three scales each, the count of what was clipped, and whether the state is not
  /// finite.
  static bool exchange_looks(const Step<T>& step, const Exchange& exchange,
                             std::vector<Look>& looks) {
    return detail::exchange_chunks<8>(
        step.plan, exchange, step.mode,
        [&](std::size_t place) {
          const auto update = looks[place].update.parts();
          const auto parameter = looks[place].parameter.parts();
          return std::array{update[0],
                            update[1],
                            update[2],
                            parameter[0],
                            parameter[1],
                            parameter[2],
                            static_cast<double>(looks[place].clipped),
                            looks[place].state_finite ? 0.0 : 1.0};
        },
        [&](std::size_t place, std::span<const double, 8> found) {
          looks[place] = {SumOfSquares::of_parts(found.template first<3>()),
                          SumOfSquares::of_parts(found.template subspan<3, 3>()),
                          static_cast<std::size_t>(found[6]), found[7] == 0};
        });
  }

  static Measured sum_over(const std::vector<Look>& looks, const PlanSlot& slot) {
    Look sum;
    for (std::size_t c = slot.place_begin; c < slot.place_end; ++c) {
      sum.update.add(looks[c].update, 1.0);
      sum.parameter.add(looks[c].parameter, 1.0);
      sum.clipped += looks[c].clipped;
      sum.state_finite = sum.state_finite && looks[c].state_finite;
    }
    return {sum.update.root().get(), sum.parameter.root().get(), sum.clipped, sum.state_finite};
  }

  /// What was written, times its trust ratio; and the decay, where the ratio is of the direction.
  void scale(const Step<T>& step, const Passes<T>& passes, std::size_t run, Segment<T>& part,
             bool applies) const {
    PassConstants<T> after = from_updater_on(passes.constants(run));
    unsigned kind = Passes<T>::kind_of(step.plan.runs[run], applies) & ~pass_clamps;
    if (step.plan.runs[run].trusts == Trusted::update) kind &= ~pass_regularizes;
    // What was written is divided by the batch already.
    after.l2_after *= after.post;
    after.l1_after *= after.post;
    after.post = 1;
    split_factor<T>({trust_ratios_[step.plan.runs[run].trusting_slot], 0}, part.pre);
    Passes<T>::run_without_updater(step, part, after, kind);
  }

  /// Where a slot's update is written as a whole, if it is.
  const Written* written(const Plan& plan, std::size_t slot) const {
    if (!is_written_whole(plan, slot)) return nullptr;
    return &*std::ranges::lower_bound(written_, slot, {}, &Written::slot);
  }

  /// The constants of what a trust ratio is of.
  static PassConstants<T> looked_at_by(Trusted trusts, PassConstants<T> constants) {
    switch (trusts) {
      case Trusted::update:
        return constants;
      case Trusted::direction:
        return without_decay(constants);
      default:
        return up_to_updater(constants);
    }
  }

  /// The constants of an update without its decay; of what a pass does before its updater, and after
  /// it.
  static PassConstants<T> without_decay(PassConstants<T> constants) {
    constants.l2_after = constants.l1_after = 0;
    return constants;
  }
  static PassConstants<T> up_to_updater(PassConstants<T> constants) {
    constants = without_decay(constants);
    constants.post = 1;
    return constants;
  }
  static PassConstants<T> from_updater_on(PassConstants<T> constants) {
    constants.l2_before = constants.l1_before = 0;
    return constants;
  }

  /// What comes before the callback, the callback, what comes after it: all on memory of our own.
  bool call(const Step<T>& step, const Passes<T>& passes, const Rates& rates,
            const Written& written) noexcept {
    const LayoutSlot& slot = step.layout.slots[written.slot];
    const std::size_t k = step.plan.slots[written.slot].run;
    const Run& run = step.plan.runs[k];
    const std::span<T> update(updates_.data() + written.update, slot.size);
    const unsigned kind = Passes<T>::kind_of(run, false);
    const PassConstants<T> before = up_to_updater(passes.constants(k));
    for (std::size_t at = 0; at < slot.size; at += Tile<T>::most) {
      Tile<T> tile(step, passes, written.slot, at, std::min(Tile<T>::most, slot.size - at),
                   {.state = false});
      tile.segment().update = update.data() + at;
      Passes<T>::run_without_updater(step, tile.segment(), before, kind);
    }
    const StoredSlot<T>& stored = passes.stored(written.slot);
    const T* parameter = stored.numbers;
    if (stored.is_split()) {
      read_parameter(step.kernels, stored, 0, slot.size, parameters_.data() + written.parameter);
      parameter = parameters_.data() + written.parameter;
    }

    std::array<std::span<T>, max_callback_state_arrays> state{};
    T* to = states_.data() + written.state;
    for (std::size_t a = 0; a < slot.state.size(); ++a) {
      const StateArray& array = slot.state[a];
      state[a] = {to, array.size};
      std::copy_n(stored.state[a].numbers, array.size, to);
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
                                         {parameter, slot.size}};
    try {
      const FlushSubnormals::Suspended callers_mode(step.mode);
      if (!run.callback->template callback<T>()(arguments)) return false;
    } catch (...) {
      return false;
    }

    const PassConstants<T> after = from_updater_on(passes.constants(k));
    for (std::size_t at = 0; at < slot.size; at += Tile<T>::most) {
      Tile<T> tile(step, passes, written.slot, at, std::min(Tile<T>::most, slot.size - at),
                   {.state = false});
      Segment<T>& part = tile.segment();
      part.update = update.data() + at;
      part.gradient = part.update;
      part.pre[0] = part.pre[1] = 1;
      Passes<T>::run_without_updater(step, part, after, kind & ~pass_clamps);
    }
    return true;
  }

  bool monitor_;
  // Per chunk of the whole network.
  std::vector<Look> monitored_;
  std::vector<Look> trusted_;
  std::vector<double> trust_ratios_;  ///< per slot
  std::vector<Written> written_;
  AlignedBuffer<T> updates_{0};
  AlignedBuffer<T> states_{0};
  AlignedBuffer<T> parameters_{0};
};

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
