// Averages: a moving average beside each parameter, taken chunk by chunk while what the pass has
// written is still in the cache: 8 bytes an element more of traffic for float.
#pragma once

#include <flatstep/step/passes.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

template <class T>
class Averages {
 public:
  /// @param memory of the layout's size; empty where none are kept
  explicit Averages(std::span<T> memory) : memory_(memory) {}

  bool keeps() const { return !memory_.empty(); }

  /// The decay of this step.
  void prepare(const Plan& plan, std::int64_t iteration, std::int64_t epoch) {
    if (!keeps()) return;
    const double decay = plan.average_decay->at(iteration, epoch);
    decay_ = static_cast<T>(decay);
    one_minus_decay_ = static_cast<T>(1.0 - decay);
  }

  /// Takes in what the pass over a chunk has left in the parameters.
  void take(const Step<T>& step, const Passes<T>& passes, std::size_t c) const {
    const Chunk& chunk = step.plan.chunks[c];
    T* const averages = memory_.data() + step.layout.slots[chunk.slot].offset + chunk.offset;
    const StoredSlot<T>& stored = passes.stored(chunk.slot);
    if (stored.numbers != nullptr) {
      step.kernels.average(averages, stored.numbers + chunk.offset, chunk.size, decay_,
                           one_minus_decay_);
      return;
    }
    constexpr std::size_t most = 1024;
    T parameter[most];
    for (std::size_t at = 0; at < chunk.size; at += most) {
      const std::size_t size = std::min(most, chunk.size - at);
      read_parameter(step.kernels, stored, chunk.offset + at, size, parameter);
      step.kernels.average(averages + at, parameter, size, decay_, one_minus_decay_);
    }
  }

 private:
  std::span<T> memory_;
  T decay_ = 0;
  T one_minus_decay_ = 1;
};

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
