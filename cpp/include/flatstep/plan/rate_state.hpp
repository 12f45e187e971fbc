// RateState: a slot's learning rate and momentum where they are state and not configuration.
#pragma once

#include <limits>
#include <optional>

namespace flatstep {

inline constexpr double no_value = std::numeric_limits<double>::quiet_NaN();

/// A rate or momentum that is state, whatever number a policy has left (NaN, too); nothing for a
/// slot whose configuration says it.
struct RateState {
  std::optional<double> learning_rate{};
  std::optional<double> momentum{};
};

}  // namespace flatstep
