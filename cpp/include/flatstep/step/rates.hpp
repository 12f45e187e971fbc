// Rates: learning rates, momenta and step scalars, in double, once per rate group and step.
#pragma once

#include <flatstep/kernels/dispatch.hpp>
#include <flatstep/plan/plan.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

class Rates {
 public:
  explicit Rates(const Plan& plan)
      : values_(plan.rate_groups.size()),
        scalars_(plan.rate_groups.size()),
        pending_(plan.rate_groups.size()) {
    for (auto& values : values_) values.fill(no_value);
  }

  /// Of the step of that iteration. Policies act on a copy of the rates: see commit.
  void evaluate(const Plan& plan, const std::vector<RateState>& rates, std::int64_t iteration,
                std::int64_t epoch) {
    for (std::size_t k = 0; k < plan.rate_groups.size(); ++k) {
      const RateGroup& group = plan.rate_groups[k];
      const SlotSettings& settings = *group.settings;
      const UpdaterInfo& info = *settings.updater.kind;
      auto& values = values_[k];
      for (std::size_t i = 0; i < settings.updater.values.size(); ++i) {
        values[i] = settings.updater.values[i].at(iteration, epoch);
      }
      RateState rate = rates[group.slots.front()];
      if (group.follows_policy) {
        if (settings.policy.kind != LearningRatePolicy::Kind::None) {
          rate.learning_rate = settings.policy.next(rate.learning_rate, iteration);
        }
        const auto momentum = settings.momentum_schedule.find(iteration);
        if (momentum != settings.momentum_schedule.end()) rate.momentum = momentum->second;
      }
      pending_[k] = rate;
      replace(values, info.find(Role::learning_rate), rate.learning_rate);
      replace(values, info.find(Role::momentum), rate.momentum);
      if (info.constants != nullptr) {
        info.constants(values.data(), {iteration, *plan.rules}, scalars_[k].data());
      }
    }
  }

  /// Makes the rates that policies have changed those of the state.
  void commit(const Plan& plan, std::vector<RateState>& rates) const {
    for (std::size_t k = 0; k < plan.rate_groups.size(); ++k) {
      if (!plan.rate_groups[k].moves()) continue;
      for (const std::size_t slot : plan.rate_groups[k].slots) rates[slot] = pending_[k];
    }
  }

  /// The learning rate that a group's updater uses; NaN where it has none.
  double learning_rate(const Plan& plan, std::size_t group) const {
    const int place = plan.rate_groups[group].settings->updater.kind->find(Role::learning_rate);
    return place < 0 ? no_value : values_[group][static_cast<std::size_t>(place)];
  }

  const std::array<double, max_constants>& scalars(std::size_t group) const {
    return scalars_[group];
  }

 private:
  using Values = std::array<double, max_hyper_parameters>;

  static void replace(Values& values, int place, double value) {
    if (place >= 0 && !std::isnan(value)) values[static_cast<std::size_t>(place)] = value;
  }

  // Per rate group.
  std::vector<Values> values_;
  std::vector<std::array<double, max_constants>> scalars_;
  std::vector<RateState> pending_;
};

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
