// The state: all that a step may change besides parameters and gradients.
#pragma once

#include <flatstep/configuration/settings.hpp>
#include <flatstep/plan/layout.hpp>
#include <flatstep/plan/rate_state.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace flatstep {

/// The greatest value of a counter, iteration, epoch or skipped steps: the one after it is a number
/// still. A step there is taken, and leaves the counter where it is.
inline constexpr std::int64_t max_counter = std::numeric_limits<std::int64_t>::max() - 1;

constexpr bool is_counter(std::int64_t value) {
  return static_cast<std::uint64_t>(value) <= static_cast<std::uint64_t>(max_counter);
}

struct Counters {
  std::int64_t iteration = 0;
  std::int64_t epoch = 0;
  std::uint64_t skipped_steps = 0;

  void count_skipped() {
    if (skipped_steps < std::uint64_t{max_counter}) ++skipped_steps;
  }
};

/// Memory that starts at a multiple of 64 bytes; a large one lies in huge pages where the system
/// grants them.
template <class T>
class AlignedBuffer {
 public:
  explicit AlignedBuffer(std::size_t size)
      : memory_(static_cast<T*>(::operator new(bytes(size), alignment(size))),
                Delete{alignment(size)}),
        size_(size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // A wish: without it the memory serves as well, slower.
    if (size * sizeof(T) >= huge) ::madvise(memory_.get(), size * sizeof(T), MADV_HUGEPAGE);
#endif
  }
  std::span<T> view() const { return {memory_.get(), size_}; }
  T* data() const { return memory_.get(); }

 private:
  static constexpr std::size_t huge = std::size_t{1} << 21;
  static std::size_t bytes(std::size_t size) {
    if (size > std::numeric_limits<std::size_t>::max() / sizeof(T)) {
      throw std::bad_array_new_length();
    }
    return size * sizeof(T);
  }
  static constexpr std::align_val_t alignment(std::size_t size) {
    return std::align_val_t{size * sizeof(T) >= huge ? huge : 64};
  }
  struct Delete {
    std::align_val_t alignment;
    void operator()(T* memory) const { ::operator delete(memory, alignment); }
  };
  std::unique_ptr<T, Delete> memory_;
  std::size_t size_;
};

/// Where state lies: numbers, of which the first are the flat state view where none is coded, and
/// codes, scales and the lower halves of parameters.
template <class T>
struct StateMemory {
  std::span<T> numbers{};
  std::span<std::byte> bytes{};
};

template <class T>
struct State {
  StateMemory<T> memory;
  std::vector<RateState> rates;  ///< per slot
  Counters counters;
  std::span<T> averages{};  ///< of the parameters, in the order of the flat view; empty: none

  /// Sets the rates that are state to the configured ones.
  void initialize_rates(const NetworkSettings& settings) {
    rates.assign(settings.slots.size(), {});
    for (std::size_t i = 0; i < settings.slots.size(); ++i) {
      const SlotSettings& slot = settings.slots[i];
      const auto configured = [&](int place) {
        return slot.updater.values[static_cast<std::size_t>(place)].at(0, 0);
      };
      const int rate = slot.updater.kind->find(Role::learning_rate);
      if (rate >= 0 && slot.policy.kind != LearningRatePolicy::Kind::None) {
        rates[i].learning_rate = configured(rate);
      }
      const int momentum = slot.updater.kind->find(Role::momentum);
      if (momentum >= 0 && !slot.momentum_schedule.empty())
        rates[i].momentum = configured(momentum);
    }
  }
};

}  // namespace flatstep
