// Numbers that the type of the parameters cannot hold: those beyond its range, and those so small
// that they are subnormal in it, which count as 0 inside a step. An ε of 1e-39 in float would make
// 0/0 of a zero gradient. They are refused where they are given; what schedules and policies make of
// them is their own affair.
#pragma once

#include <flatstep/configuration/settings.hpp>
#include <flatstep/configuration/validate.hpp>
#include <flatstep/text.hpp>

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <string_view>

namespace flatstep {

namespace detail {

template <class T>
[[noreturn]] void refuse_number(const std::string& where, const std::string& what, double value,
                                std::string_view also = " or 0") {
  constexpr bool single = sizeof(T) == sizeof(float);
  const std::string range =
      single ? "from 1.17549435e-38 to 3.40282347e+38, the range of float32"
             : "from 2.2250738585072014e-308 to 1.7976931348623157e+308, the range of float64";
  refuse(where, what + ": expected a number " + range + std::string(also) + ", got " +
                    text::number(value) +
                    (single ? "; use float64 parameters, or a number in that range"
                            : "; use a number in that range"));
}

template <class T>
bool vanishes(double value) {
  return value != 0 && std::fabs(value) < static_cast<double>(std::numeric_limits<T>::min());
}

template <class T>
bool is_representable(double value) {
  return !vanishes<T>(value) && std::isfinite(static_cast<T>(value));
}

}  // namespace detail

/// Throws unless parameters of type T can be multiplied by that number.
template <class T>
void require_representable(const std::string& where, const std::string& what, double value) {
  if (!detail::is_representable<T>(value)) detail::refuse_number<T>(where, what, value);
}

/// Throws where a number of the settings is none of type T.
template <class T>
void validate_numbers(const NetworkSettings& settings, std::span<const SlotName> names) {
  for (std::size_t i = 0; i < settings.slots.size(); ++i) {
    const SlotSettings& slot = settings.slots[i];
    const auto require = [&](std::string_view what, double value) {
      if (detail::is_representable<T>(value)) return;
      detail::refuse_number<T>("parameter " + text::quoted(names[i].key), std::string(what), value);
    };
    const UpdaterInfo& kind = *slot.updater.kind;
    for (std::size_t k = 0; k < slot.updater.values.size(); ++k) {
      const HyperParameter& parameter = kind.hyper_parameters[k];
      // A fraction may round to 0, and what is no number is never in the type.
      if (parameter.high <= 1 || parameter.kind != ValueKind::number) continue;
      const double scale = parameter.role == Role::learning_rate ? slot.learning_rate_scale : 1.0;
      for (const double given : slot.updater.values[k].given_values()) {
        const double value = given * scale;
        if (detail::is_representable<T>(value)) continue;
        require(std::string(kind.name) + ": " + std::string(parameter.name), value);
      }
    }
    require("l1", slot.l1);
    require("l2", slot.l2);
    require("weight_decay", slot.weight_decay);
    for (const auto& [iteration, rate] : slot.policy.schedule) {
      if (detail::is_representable<T>(rate)) continue;
      require("learning_rate_policy: schedule[" + std::to_string(iteration) + "]", rate);
    }
    // A threshold that nothing reaches does no harm. Norms are double, whatever T is.
    const StrategyRules& strategy = rules_of(settings.strategy_of(i));
    const double threshold = settings.layer_of(i).threshold;
    if (!strategy.has_threshold()) continue;
    constexpr auto what = "gradient_normalization_threshold";
    const std::string where = detail::layer_text(settings.layer_of(i).name);
    if (strategy.has_norm()) {
      if (detail::vanishes<double>(threshold)) {
        detail::refuse_number<double>(where, what, threshold, "");
      }
    } else if (detail::vanishes<T>(threshold)) {
      detail::refuse_number<T>(where, what, threshold, "");
    }
  }
}

}  // namespace flatstep
