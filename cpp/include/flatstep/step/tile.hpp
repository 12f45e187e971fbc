// A tile: a stretch of one slot as the kernels want it, in numbers. What is kept in another form is
// decoded into the cache and written back; what is not is passed on as it lies in memory.
#pragma once

#include <flatstep/step/passes.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

template <class T>
class Tile {
 public:
  /// The most elements of a tile; each begins at a multiple of this, and so with a block of codes.
  static constexpr std::size_t most = 1024;
  static_assert(most % code_block == 0 && chunk_size % most == 0);

  /// What of it is needed.
  struct Parts {
    bool state = true;
  };

  Tile(const Step<T>& step, const Passes<T>& passes, std::size_t slot, std::size_t offset,
       std::size_t size, Parts parts = Parts{})
      : step_(step),
        stored_(passes.stored(slot)),
        state_arrays_(step.plan.runs[step.plan.slots[slot].run].updater->state.size()),
        slot_(slot),
        offset_(offset) {
    if (!passes.is_tiled(step, slot)) {
      segment_ = passes.part_of(slot, offset, size);
      return;
    }
    const Segment<T>& whole = passes.segment(slot);
    segment_ = whole;
    segment_.size = size;
    type_ = step.memory.type_of(slot);
    if (type_ == ElementType::same) {
      segment_.gradient += offset;
      if (!step.applies()) segment_.update += offset;
    } else {
      const std::size_t bytes = offset * bytes_of(type_, sizeof(T));
      step.kernels.elements.widen(type_, reinterpret_cast<const char*>(whole.gradient) + bytes,
                                  gradient_, size);
      segment_.gradient = gradient_;
      if (!step.applies()) {
        wanted_ = reinterpret_cast<char*>(whole.update) + bytes;
        segment_.update = update_;
      }
    }
    if (stored_.is_split()) {
      read_parameter(step.kernels, stored_, offset, size, parameter_);
      segment_.parameter = parameter_;
    } else {
      segment_.parameter += offset;
    }
    if (!parts.state) return;
    for (std::size_t a = 0; a < state_arrays_; ++a) {
      if (stored_.state[a].code == StateCode::none) {
        segment_.state[a] += offset;
      } else {
        read_state(step.kernels, stored_.state[a], offset, size, state_[a]);
        segment_.state[a] = state_[a];
      }
    }
  }

  Segment<T>& segment() { return segment_; }

  /// Writes back the state, as a step leaves it.
  void store_state() const {
    for (std::size_t a = 0; a < state_arrays_; ++a) {
      const StoredArray<T>& array = stored_.state[a];
      if (array.code == StateCode::none) continue;
      write_state(
          step_.kernels, array, offset_, segment_.size, state_[a],
          Dither(step_.storage_seed, static_cast<std::uint64_t>(step_.iteration), slot_, a));
    }
  }

  /// Writes back the parameter, or the update where that is wanted.
  void store_result() const {
    if (!step_.applies()) {
      if (wanted_ != nullptr) step_.kernels.elements.narrow(type_, update_, wanted_, segment_.size);
    } else if (stored_.type != ElementType::same) {
      write_parameter(step_.kernels, stored_, offset_, segment_.size, segment_.parameter);
    }
  }

 private:
  const Step<T>& step_;
  const StoredSlot<T>& stored_;
  /// Those that the run's kernel goes through: none where the slot's stay as they are, or are a
  /// callback's.
  std::size_t state_arrays_;
  std::size_t slot_;
  std::size_t offset_;
  Segment<T> segment_;
  ElementType type_ = ElementType::same;
  char* wanted_ = nullptr;  ///< where an update of another type goes
  alignas(64) T gradient_[most];
  alignas(64) T update_[most];
  alignas(64) T parameter_[most];
  alignas(64) T state_[max_state_arrays][most];
};

template <class T>
void Passes<T>::pass_tiles(const Step<T>& step, std::size_t slot, std::size_t offset,
                           std::size_t size) const {
  const std::size_t run = step.plan.slots[slot].run;
  const unsigned kind = kind_of(step.plan.runs[run], step.applies());
  const StoredSlot<T>& stored = stored_[slot];
  const ElementType gradient = step.memory.type_of(slot);
  const bool in_one = gradient != ElementType::float16 && has_stored_pass(step, run, kind);
  const bool writes_parameter = stored.type != ElementType::same && !stored.is_split();
  const std::size_t most = in_one && !writes_parameter ? size : Tile<T>::most;
  for (std::size_t at = 0; at < size; at += most) {
    const std::size_t here = std::min(most, size - at);
    if (in_one) {
      pass_stored(step, slot, offset + at, here);
      if (writes_parameter) {
        write_parameter(step.kernels, stored, offset + at, here, stored.numbers + offset + at);
      }
      continue;
    }
    Tile<T> tile(step, *this, slot, offset + at, here);
    run_kernel(step, run, {&tile.segment(), 1}, constants_[run], kind);
    tile.store_state();
    tile.store_result();
  }
}

template <class T>
void Passes<T>::pass_stored(const Step<T>& step, std::size_t slot, std::size_t offset,
                            std::size_t size) const {
  if constexpr (std::is_same_v<T, float>) {
    const std::size_t run = step.plan.slots[slot].run;
    const StoredSlot<T>& stored = stored_[slot];
    const Segment<T>& whole = segment(slot);
    StoredSegment part{};
    part.size = size;
    part.pre[0] = whole.pre[0];
    part.pre[1] = whole.pre[1];
    if (step.memory.type_of(slot) == ElementType::same) {
      part.gradient = whole.gradient + offset;
    } else {
      part.narrow_gradient = reinterpret_cast<const std::uint16_t*>(whole.gradient) + offset;
    }
    if (stored.is_split()) {
      part.upper = static_cast<std::uint16_t*>(stored.parameter) + offset;
      part.lower = stored.lower + offset;
    } else {
      part.parameter = stored.numbers + offset;
    }
    for (std::size_t a = 0; a < step.plan.runs[run].updater->state.size(); ++a) {
      const StoredArray<T>& array = stored.state[a];
      part.state[a] = {
          array.code, array.code == StateCode::none ? array.numbers + offset : nullptr,
          array.code == StateCode::none ? nullptr : array.codes + offset * bytes_of(array.code),
          array.scales_of(offset),
          Dither(step.storage_seed, static_cast<std::uint64_t>(step.iteration), slot, a)};
    }
    if (!stored.state.empty()) {
      part.block = stored.state.front().first_block + offset / code_block;
    }
    const bool regularizes = step.plan.runs[run].regularizes();
    kernels_of(step.kernels, step.plan.runs[run]).stored[regularizes](part, constants_[run]);
  }
}

template <class T>
bool Passes<T>::has_stored_pass(const Step<T>& step, std::size_t run, unsigned kind) {
  if constexpr (std::is_same_v<T, float>) {
    return (kind & ~pass_regularizes) == pass_applies &&
           kernels_of(step.kernels, step.plan.runs[run]).stored[0] != nullptr;
  } else {
    return false;
  }
}

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
