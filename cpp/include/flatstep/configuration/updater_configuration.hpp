// UpdaterConfiguration: an updater with its hyper-parameters, and how to make one by name.
#pragma once

#include <flatstep/configuration/registry.hpp>
#include <flatstep/schedule.hpp>
#include <flatstep/text.hpp>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flatstep {

/// An updater with its hyper-parameters.
struct UpdaterConfiguration {
  const UpdaterInfo* kind = nullptr;
  /// In the order of kind->hyper_parameters.
  std::vector<Schedule> values;
  /// AdamW's: weight decay, with the rate, of every slot that uses this updater.
  double weight_decay = 0.0;
  /// Keeps `kind` alive where the registry does not.
  std::shared_ptr<const void> owner{};

  /// The values of the hyper-parameters, those that follow schedules as of the start.
  std::array<double, max_hyper_parameters> first_values() const {
    std::array<double, max_hyper_parameters> first{};
    std::ranges::transform(values, first.begin(),
                           [](const Schedule& value) { return value.at(0, 0); });
    return first;
  }

  friend bool operator==(const UpdaterConfiguration& a, const UpdaterConfiguration& b) {
    return a.kind == b.kind && a.values == b.values && a.weight_decay == b.weight_decay;
  }
};

/// What the user calls it: an Adam with weight decay is AdamW.
inline std::string name_of(const UpdaterConfiguration& updater) {
  return std::string(updater.kind->name) + (updater.weight_decay != 0.0 ? "W" : "");
}

/// `info` with its defaults, but for the hyper-parameters that are given:
/// `make_updater(info, {{"learning_rate", 0.1}})`.
inline UpdaterConfiguration make_updater(
    const UpdaterInfo& info,
    std::initializer_list<std::pair<std::string_view, Schedule>> given = {}) {
  UpdaterConfiguration updater;
  updater.kind = &info;
  std::vector<std::string_view> names;
  for (const HyperParameter& parameter : info.hyper_parameters) {
    names.push_back(parameter.name);
    updater.values.emplace_back(parameter.default_value);
  }
  for (const auto& [name, value] : given) {
    updater.values[text::place("hyper-parameter of " + std::string(info.name), names, name)] =
        value;
  }
  return updater;
}

/// A registered updater by name: `make_updater("Adam", {{"learning_rate", 0.1}})`.
inline UpdaterConfiguration make_updater(
    std::string_view name,
    std::initializer_list<std::pair<std::string_view, Schedule>> given = {}) {
  std::vector<std::string_view> names;
  for (const UpdaterInfo& info : updater_registry()) names.push_back(info.name);
  return make_updater(updater_registry()[text::place("updater", names, name)], given);
}

}  // namespace flatstep
