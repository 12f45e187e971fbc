// The step under way: what it reads and writes, and the scalars that all of its parts share.
#pragma once

#include <flatstep/kernels/dispatch.hpp>
#include <flatstep/plan/layout.hpp>
#include <flatstep/plan/plan.hpp>
#include <flatstep/simd/float_mode.hpp>
#include <flatstep/state.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

/// What a step reads and writes besides parameters and state: one pointer per slot.
template <class T>
struct StepMemory {
  std::span<const T* const> gradients;  ///< nullptr: absent (frozen slots only)
  std::span<T* const> updates;          ///< where updates go; empty: apply them to the parameters
  /// What both really point to, per slot; empty: to T.
  std::span<const ElementType> types{};

  ElementType type_of(std::size_t slot) const {
    return types.empty() ? ElementType::same : types[slot];
  }
};

/// Where an element lies behind a pointer to the first, which is of that type whatever it says.
template <class T>
const void* element(const T* first, ElementType type, std::size_t place) {
  return reinterpret_cast<const char*>(first) + place * bytes_of(type, sizeof(T));
}

/// What gradients are multiplied by before normalisation, by ScaledBefore.
class ScalesBefore {
 public:
  ScalesBefore(double gradient_scale, double inverse_batch)
      : scales_{1.0, gradient_scale, gradient_scale * inverse_batch} {}
  double operator[](ScaledBefore scaled) const { return scales_[static_cast<std::size_t>(scaled)]; }
  friend bool operator==(const ScalesBefore&, const ScalesBefore&) = default;

 private:
  std::array<double, 3> scales_;
};

template <class T>
struct Step {
  const Layout& layout;
  const Plan& plan;
  const KernelTable<T>& kernels;
  const StepMemory<T>& memory;
  std::uint64_t storage_seed;
  std::int64_t iteration;
  std::int64_t epoch;
  const ScalesBefore& scales;
  const FlushSubnormals& mode;  ///< the step's, around the caller's

  bool applies() const { return memory.updates.empty(); }
};

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
