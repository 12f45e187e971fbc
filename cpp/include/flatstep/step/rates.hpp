// Rates: learning rates, momenta and step scalars, in double, once per rate group and step.
#pragma once

#include <flatstep/kernels/dispatch.hpp>
#include <flatstep/plan/plan.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

class Rates {
 public:
  explicit Rates(const Plan& plan) {
    for (const RateGroup& group : plan.rate_groups) {
      const UpdaterConfiguration& updater = group.settings->updater;
      Group g{};
      g.values.fill(no_value);
      g.learning_rate = updater.kind->find(Role::learning_rate);
      g.momentum = updater.kind->find(Role::momentum);
      g.scales = g.learning_rate >= 0 && group.settings->learning_rate_scale != 1.0;
      for (std::size_t i = 0; i < updater.values.size(); ++i) {
        g.values[i] = updater.values[i].at(0, 0);
        const bool is_scaled = g.scales && i == static_cast<std::size_t>(g.learning_rate);
        if (!updater.values[i].is_constant() && !is_scaled) g.moving.push_back(i);
      }
      g.settled = !group.has_state && !g.scales;
      groups_.push_back(std::move(g));
    }
  }

  /// Of the step of that iteration. Policies act on a copy of the rates: see commit.
  void evaluate(const Plan& plan, const std::vector<RateState>& rates, std::int64_t iteration,
                std::int64_t epoch) {
    for (std::size_t k = 0; k < groups_.size(); ++k) {
      Group& g = groups_[k];
      const RateGroup& group = plan.rate_groups[k];
      const SlotSettings& settings = *group.settings;
      for (const std::size_t i : g.moving) {
        g.values[i] = settings.updater.values[i].at(iteration, epoch);
      }
      if (!g.settled) {
        g.pending = rates[group.slots.front()];
        if (group.moves()) move(g.pending, settings, iteration);
        replace(g.values, g.learning_rate, g.pending.learning_rate);
        replace(g.values, g.momentum, g.pending.momentum);
        if (g.scales) scale(g, settings, iteration, epoch);
      }
      const auto constants = settings.updater.kind->constants;
      if (constants != nullptr) {
        constants(g.values.data(), {iteration, *plan.rules}, g.scalars.data());
      }
    }
  }

  /// Makes the rates that policies have changed those of the state.
  void commit(const Plan& plan, std::vector<RateState>& rates) const {
    for (std::size_t k = 0; k < groups_.size(); ++k) {
      if (!plan.rate_groups[k].moves()) continue;
      for (const std::size_t slot : plan.rate_groups[k].slots) rates[slot] = groups_[k].pending;
    }
  }

  /// The learning rate that a group's updater uses; NaN where it has none.
  double learning_rate(std::size_t group) const {
    const Group& g = groups_[group];
    return g.learning_rate < 0 ? no_value : g.values[static_cast<std::size_t>(g.learning_rate)];
  }

  /// The values of a group's hyper-parameters.
  const double* values(std::size_t group) const { return groups_[group].values.data(); }

  const std::array<double, max_constants>& scalars(std::size_t group) const {
    return groups_[group].scalars;
  }

 private:
  using Values = std::array<double, max_hyper_parameters>;

  struct Group {
    Values values;                      ///< of the hyper-parameters, in this step
    std::vector<std::size_t> moving{};  ///< which of them follow schedules
    int learning_rate;                  ///< their places, or -1
    int momentum;
    bool scales;   ///< the learning rate by a number that is not 1
    bool settled;  ///< nothing is state, nothing is scaled
    std::array<double, max_constants> scalars;
    RateState pending;
  };

  static void move(RateState& rate, const SlotSettings& settings, std::int64_t iteration) {
    if (settings.policy.kind != LearningRatePolicy::Kind::None) {
      rate.learning_rate = settings.policy.next(*rate.learning_rate, iteration);
    }
    const auto momentum = settings.momentum_schedule.find(iteration);
    if (momentum != settings.momentum_schedule.end()) rate.momentum = momentum->second;
  }

  /// From what it is multiplied by each time: a value that does not move is the last step's.
  static void scale(Group& g, const SlotSettings& settings, std::int64_t iteration,
                    std::int64_t epoch) {
    const auto place = static_cast<std::size_t>(g.learning_rate);
    const double rate = g.pending.learning_rate
                            ? *g.pending.learning_rate
                            : settings.updater.values[place].at(iteration, epoch);
    g.values[place] = rate * settings.learning_rate_scale;
  }

  static void replace(Values& values, int place, const std::optional<double>& value) {
    if (place >= 0 && value) values[static_cast<std::size_t>(place)] = *value;
  }

  std::vector<Group> groups_;
};

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
