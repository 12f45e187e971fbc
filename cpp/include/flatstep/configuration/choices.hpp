// The choices that a configuration makes by name: the strategy of gradient normalisation, and what is
// done with a gradient that is not finite. Each strategy is one row of what there is to know of it.
#pragma once

#include <flatstep/semantics.hpp>
#include <flatstep/text.hpp>

#include <array>
#include <cstddef>
#include <string_view>

namespace flatstep {

enum class GradientNormalization {
  None,
  RenormalizeL2PerLayer,
  RenormalizeL2PerParamType,
  ClipElementWiseAbsoluteValue,
  ClipL2PerLayer,
  ClipL2PerParamType,
  ClipL2Global,
};

/// Whose elements are normalised together.
enum class NormalizationGroup { none, element, parameter, layer, network };

/// What is done to a group: its norm is made 1, or brought down to a threshold where it is above.
enum class NormalizationEffect { none, renormalize, clip };

struct StrategyRules {
  std::string_view name;
  NormalizationGroup group;
  NormalizationEffect effect;

  constexpr bool has_norm() const { return group >= NormalizationGroup::parameter; }
  constexpr bool has_threshold() const { return effect == NormalizationEffect::clip; }
};

/// In the order of GradientNormalization.
inline constexpr StrategyRules strategies[] = {
    {"None", NormalizationGroup::none, NormalizationEffect::none},
    {"RenormalizeL2PerLayer", NormalizationGroup::layer, NormalizationEffect::renormalize},
    {"RenormalizeL2PerParamType", NormalizationGroup::parameter, NormalizationEffect::renormalize},
    {"ClipElementWiseAbsoluteValue", NormalizationGroup::element, NormalizationEffect::clip},
    {"ClipL2PerLayer", NormalizationGroup::layer, NormalizationEffect::clip},
    {"ClipL2PerParamType", NormalizationGroup::parameter, NormalizationEffect::clip},
    {"ClipL2Global", NormalizationGroup::network, NormalizationEffect::clip},
};

constexpr const StrategyRules& rules_of(GradientNormalization strategy) {
  return strategies[static_cast<std::size_t>(strategy)];
}

/// In the order of NormalizationGroup.
inline constexpr std::string_view normalization_group_names[] = {"none", "element", "parameter",
                                                                 "layer", "network"};

/// What a step does with a gradient that has an infinity or NaN in it.
enum class OnNonfinite { raise, skip, propagate };

inline constexpr std::string_view on_nonfinite_names[] = {"raise", "skip", "propagate"};

/// In how many bits an element of state is kept: in all that its parameter's type has, or fewer.
enum class StateStorage { full, bits_16, bits_8 };

inline constexpr std::string_view state_storage_names[] = {"full", "16bit", "8bit"};

/// What is kept beside parameters in fewer bits than steps compute in: the bits that a bfloat16 lacks,
/// or the whole number.
enum class Master { split, full };

inline constexpr std::string_view master_names[] = {"split", "full"};

namespace detail {

template <class Row, std::size_t N>
constexpr std::array<std::string_view, N> names_of(const Row (&rows)[N]) {
  std::array<std::string_view, N> names{};
  for (std::size_t i = 0; i < N; ++i) names[i] = rows[i].name;
  return names;
}

}  // namespace detail

inline constexpr auto gradient_normalization_names = detail::names_of(strategies);
inline constexpr auto semantics_names = detail::names_of(orders);

constexpr std::string_view to_string(GradientNormalization strategy) {
  return rules_of(strategy).name;
}
constexpr std::string_view to_string(NormalizationGroup group) {
  return normalization_group_names[static_cast<std::size_t>(group)];
}
constexpr std::string_view to_string(OnNonfinite on_nonfinite) {
  return on_nonfinite_names[static_cast<std::size_t>(on_nonfinite)];
}
constexpr std::string_view to_string(StateStorage storage) {
  return state_storage_names[static_cast<std::size_t>(storage)];
}
constexpr std::string_view to_string(Master master) {
  return master_names[static_cast<std::size_t>(master)];
}

inline GradientNormalization parse_gradient_normalization(std::string_view name) {
  return static_cast<GradientNormalization>(
      text::place("gradient_normalization", gradient_normalization_names, name));
}
inline OnNonfinite parse_on_nonfinite(std::string_view name) {
  return static_cast<OnNonfinite>(text::place("on_nonfinite", on_nonfinite_names, name));
}
inline StateStorage parse_state_storage(std::string_view name) {
  return static_cast<StateStorage>(text::place("state_storage", state_storage_names, name));
}
inline Master parse_master(std::string_view name) {
  return static_cast<Master>(text::place("master", master_names, name));
}
inline Semantics parse_semantics(std::string_view name) {
  return static_cast<Semantics>(text::place("semantics", semantics_names, name));
}

}  // namespace flatstep
