// The step under way: what it reads and writes, and the scalars that all of its parts share.
#pragma once

#include <flatstep/kernels/dispatch.hpp>
#include <flatstep/plan/layout.hpp>
#include <flatstep/plan/plan.hpp>
#include <flatstep/simd/float_mode.hpp>
#include <flatstep/state.hpp>

#include <cstdint>
#include <span>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

/// What a step reads and writes besides parameters and state: one pointer per slot.
template <class T>
struct StepMemory {
  std::span<const T* const> gradients;  ///< nullptr: absent (frozen slots only)
  std::span<T* const> updates;          ///< where updates go; empty: apply them to the parameters
};

template <class T>
struct Step {
  const Layout& layout;
  const Plan& plan;
  const KernelTable<T>& kernels;
  const StepMemory<T>& memory;
  std::span<T> state_view;
  std::int64_t iteration;
  std::int64_t epoch;
  double inverse_batch;
  const FlushSubnormals& mode;  ///< the step's, around the caller's

  bool applies() const { return memory.updates.empty(); }
};

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
