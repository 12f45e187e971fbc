// RateState: a slot's learning rate and momentum where they are state and not configuration.
#pragma once

#include <limits>

namespace flatstep {

inline constexpr double no_value = std::numeric_limits<double>::quiet_NaN();

/// A rate or momentum that is state: NaN for a slot whose configuration says it.
struct RateState {
  double learning_rate = no_value;
  double momentum = no_value;
};

}  // namespace flatstep
