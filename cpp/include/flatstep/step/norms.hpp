// Norms in three moves: a look at each chunk of the gradient (its sum of squares, or whether it is
// finite) → exchange, between the engines that share a network → factors, one per normalisation
// group.
#pragma once

#include <flatstep/step/exchange.hpp>
#include <flatstep/step/normalization_factor.hpp>
#include <flatstep/step/step.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

template <class T>
class Norms {
 public:
  explicit Norms(const Plan& plan)
      : sums_(plan.places, ScaledSum{0, 0}),
        finite_(plan.places, 1),
        slot_sums_(plan.slots.size()),
        group_norms_(plan.groups.size(), {no_value, 0}),
        group_factors_(plan.groups.size(), {no_value, 0}) {}

  /// Sums of squares where a norm is needed, else whether all is finite where that is asked.
  void look(const Step<T>& step, std::size_t chunk_begin, std::size_t chunk_end) {
    const bool looks = step.plan.on_nonfinite != OnNonfinite::propagate;
    for (std::size_t c = chunk_begin; c < chunk_end; ++c) {
      const Chunk& chunk = step.plan.chunks[c];
      const T* const gradient = step.memory.gradients[chunk.slot];
      const ElementType type = step.memory.type_of(chunk.slot);
      if (step.plan.slots[chunk.slot].group != none) {
        sums_[chunk.place] = type == ElementType::same
                                 ? step.kernels.sum_of_squares(gradient + chunk.offset, chunk.size)
                                 : step.kernels.elements.sum_of_squares(
                                       type, element(gradient, type, chunk.offset), chunk.size);
        finite_[chunk.place] = std::isfinite(sums_[chunk.place].sum);
      } else if (looks) {
        finite_[chunk.place] = type == ElementType::same
                                   ? step.kernels.all_finite(gradient + chunk.offset, chunk.size)
                                   : step.kernels.elements.all_finite(
                                         type, element(gradient, type, chunk.offset), chunk.size);
      }
    }
  }

  /// Makes the looks at this engine's chunks those at all chunks; false where that fails. Of each
  /// its sum at three scales goes over, and whether it is not finite.
  bool exchange(const Step<T>& step, const Exchange& exchange) {
    return detail::exchange_chunks<4>(
        step.plan, exchange, step.mode,
        [&](std::size_t place) {
          SumOfSquares sum;
          sum.add(sums_[place]);
          const auto [large, normal, small] = sum.parts();
          return std::array{large, normal, small, finite_[place] == 0 ? 1.0 : 0.0};
        },
        [&](std::size_t place, std::span<const double, 4> found) {
          sums_[place] = found[0] != 0   ? ScaledSum{found[0], norm_exponent}
                         : found[2] != 0 ? ScaledSum{found[2], -norm_exponent}
                                         : ScaledSum{found[1], 0};
          finite_[place] = found[3] == 0;
        });
  }

  /// Norms and factors of a stage's groups; set(slot, factor) for each of their slots.
  template <class Set>
  void find_factors(const Step<T>& step, const Stage& stage, Set&& set) {
    for (std::size_t k = stage.group_begin; k < stage.group_end; ++k) {
      const Group& group = step.plan.groups[k];
      SumOfSquares total;
      for (const std::size_t i : group.slots) {
        const PlanSlot& slot = step.plan.slots[i];
        SumOfSquares sum;
        for (std::size_t c = slot.place_begin; c < slot.place_end; ++c) sum.add(sums_[c]);
        slot_sums_[i] = sum;
        total.add(sum, step.scales[slot.scaled]);
      }
      group_norms_[k] = total.root();
      group_factors_[k] =
          normalization_factor(group.strategy, group.threshold, group.epsilon, group_norms_[k]);
      for (const std::size_t i : group.slots) {
        set(i, times(group_factors_[k], step.scales[step.plan.slots[i].scaled]));
      }
    }
  }

  bool all_finite() const { return std::find(finite_.begin(), finite_.end(), 0) == finite_.end(); }

  bool is_finite(const PlanSlot& slot) const {
    return std::all_of(finite_.begin() + static_cast<std::ptrdiff_t>(slot.place_begin),
                       finite_.begin() + static_cast<std::ptrdiff_t>(slot.place_end),
                       [](char finite) { return finite != 0; });
  }

  /// The norm of a slot, as if its elements were multiplied by `scale`.
  double slot_norm(std::size_t slot, double scale) const {
    return slot_sums_[slot].root().get() * scale;
  }
  double group_norm(std::size_t group) const { return group_norms_[group].get(); }
  /// NaN before there was one.
  double group_factor(std::size_t group) const { return group_factors_[group].get(); }

 private:
  // Per chunk of the whole network.
  std::vector<ScaledSum> sums_;
  std::vector<char> finite_;
  // Per slot.
  std::vector<SumOfSquares> slot_sums_;
  // Per group.
  std::vector<WideNumber> group_norms_;
  std::vector<WideNumber> group_factors_;
};

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
