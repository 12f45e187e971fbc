// A tile: a stretch of one slot as the kernels want it, in numbers. What is kept in another form is
// decoded into the cache and written back; what is not is passed on as it lies in memory.
#pragma once

#include <flatstep/step/passes.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

template <class T>
class Tile {
 public:
  /// The most elements of a tile; each begins at a multiple of this, and so with a block of codes.
  static constexpr std::size_t most = 1024;
  /// As many as leave room in a level-1 cache for the next ones.
  static constexpr std::size_t usual = 512;
  static_assert(most % code_block == 0 && chunk_size % most == 0);

  static constexpr std::size_t cache_line_bytes = 64;

  /// What of it is needed.
  struct Parts {
    bool state = true;
  };

  Tile(const Step<T>& step, const Passes<T>& passes, std::size_t slot, std::size_t offset,
       std::size_t size, Parts parts = Parts{})
      : step_(step), stored_(passes.stored(slot)), slot_(slot), offset_(offset) {
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
    for (std::size_t a = 0; a < stored_.state.size(); ++a) {
      if (stored_.state[a].code == StateCode::none) {
        segment_.state[a] += offset;
      } else {
        read_state(step.kernels, stored_.state[a], offset, size, state_[a]);
        segment_.state[a] = state_[a];
      }
    }
  }

  Segment<T>& segment() { return segment_; }

  /// Runs a kernel on it, in parts: between these, memory is asked for a part of what the next tile's
  /// kernel reads, which is read in bursts that no prefetcher of a processor follows.
  /// @param next the elements of the next tile
  void run(const Passes<T>& passes, std::size_t run, unsigned kind, std::size_t next) {
    Segment<T> part = segment_;
    for (std::size_t at = 0; at < segment_.size; at += part.size) {
      part.size = std::min(elements_per_part, segment_.size - at);
      Passes<T>::run_kernel(step_, run, {&part, 1}, passes.constants(run), kind);
      part.gradient += part.size;
      part.parameter += part.size;
      if (part.update != nullptr) part.update += part.size;
      for (T*& state : part.state) {
        if (state != nullptr) state += part.size;
      }
      if (at < next)
        fetch_inputs(passes, offset_ + segment_.size + at, std::min(elements_per_part, next - at));
    }
  }

  /// Writes back the state, as a step leaves it.
  void store_state(std::size_t next = 0) const {
    for (std::size_t a = 0; a < stored_.state.size(); ++a) {
      const StoredArray<T>& array = stored_.state[a];
      if (array.code == StateCode::none) continue;
      const std::size_t bytes = bytes_of(array.code);
      fetch(array.codes + (offset_ + segment_.size) * bytes, next * bytes);
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
  static constexpr std::size_t elements_per_part = 256;

  void fetch_inputs(const Passes<T>& passes, std::size_t next, std::size_t size) const {
    fetch(element(passes.segment(slot_).gradient, type_, next), size * bytes_of(type_, sizeof(T)));
    if (stored_.type != ElementType::same) {
      fetch(static_cast<const std::uint16_t*>(stored_.parameter) + next,
            size * sizeof(std::uint16_t));
    }
    if (stored_.is_split()) {
      fetch(stored_.lower + next, size * sizeof(std::uint16_t));
    } else {
      fetch(stored_.numbers + next, size * sizeof(T));
    }
    for (const StoredArray<T>& array : stored_.state) {
      if (array.code == StateCode::none) fetch(array.numbers + next, size * sizeof(T));
    }
  }

  static void fetch(const void* from, std::size_t bytes) {
    for (std::size_t at = 0; at < bytes; at += cache_line_bytes) {
      __builtin_prefetch(static_cast<const char*>(from) + at);
    }
  }

  const Step<T>& step_;
  const StoredSlot<T>& stored_;
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
  for (std::size_t at = 0; at < size; at += Tile<T>::usual) {
    Tile<T> tile(step, *this, slot, offset + at, std::min(Tile<T>::usual, size - at));
    const std::size_t next = std::min(Tile<T>::usual, size - at - tile.segment().size);
    tile.run(*this, run, kind, next);
    tile.store_state(next);
    tile.store_result();
  }
}

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
