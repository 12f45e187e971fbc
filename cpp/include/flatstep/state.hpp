// The state: all that a step may change besides parameters and gradients.
#pragma once

#include <flatstep/layout.hpp>

#include <cmath>
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

inline constexpr double no_value = std::numeric_limits<double>::quiet_NaN();

/// A rate or momentum that is state: NaN for a slot whose configuration says it.
struct RateState {
  double learning_rate = no_value;
  double momentum = no_value;
};

struct Counters {
  std::int64_t iteration = 0;
  std::int64_t epoch = 0;
  std::uint64_t skipped_steps = 0;
};

/// Memory that starts at a multiple of 64 bytes; a large one lies in huge pages where the system
/// grants them.
template <class T>
class AlignedBuffer {
 public:
  explicit AlignedBuffer(std::size_t size)
      : memory_(static_cast<T*>(::operator new(size * sizeof(T), alignment(size))),
                Delete{alignment(size)}),
        size_(size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // A wish: without it the memory serves as well, slower.
    if (size * sizeof(T) >= huge) ::madvise(memory_.get(), size * sizeof(T), MADV_HUGEPAGE);
#endif
  }
  std::span<T> view() const { return {memory_.get(), size_}; }

 private:
  static constexpr std::size_t huge = std::size_t{1} << 21;
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

template <class T>
struct State {
  std::span<T> view;             ///< the flat state view, always live
  std::vector<RateState> rates;  ///< per slot
  Counters counters;

  /// Sets the state view to the updaters' initial values, the rates that are state to the
  /// configured ones.
  void initialize(const Layout& layout, const NetworkSettings& settings) {
    rates.assign(layout.slots.size(), {});
    for (std::size_t i = 0; i < layout.slots.size(); ++i) {
      const LayoutSlot& slot = layout.slots[i];
      const SlotSettings& slot_settings = settings.slots[i];
      const UpdaterInfo& info = *slot_settings.updater.kind;
      std::vector<double> values;
      for (const Schedule& value : slot_settings.updater.values) values.push_back(value.at(0, 0));
      for (std::size_t a = 0; a < info.state_names.size(); ++a) {
        const double initial =
            info.initial_state ? info.initial_state(a, values.data(), settings.semantics) : 0.0;
        const auto array = view.subspan(slot.state_offset + a * slot.state_stride, slot.size);
        std::fill(array.begin(), array.end(), static_cast<T>(initial));
      }
      const int rate = info.find(Role::learning_rate);
      if (rate >= 0 && slot_settings.policy.kind != LearningRatePolicy::Kind::None) {
        rates[i].learning_rate = values[static_cast<std::size_t>(rate)];
      }
      const int momentum = info.find(Role::momentum);
      if (momentum >= 0 && !slot_settings.momentum_schedule.empty()) {
        rates[i].momentum = values[static_cast<std::size_t>(momentum)];
      }
    }
  }
};

}  // namespace flatstep
