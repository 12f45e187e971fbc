// What the arguments of schedules must be. Every error is a std::invalid_argument that names the
// schedule, the argument, what was expected and what came.
#pragma once

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include <flatstep/text.hpp>

namespace flatstep::schedules {

[[noreturn]] inline void refuse(std::string_view schedule, std::string_view argument,
                                std::string_view expected, const std::string& got) {
  throw std::invalid_argument(std::string(schedule) + ": " + std::string(argument) + ": expected " +
                              std::string(expected) + ", got " + got);
}

inline void require_finite(std::string_view schedule, std::string_view argument, double value) {
  if (!std::isfinite(value)) refuse(schedule, argument, "a finite number", text::number(value));
}

inline void require_not_negative(std::string_view schedule, std::string_view argument,
                                 double value) {
  if (!(std::isfinite(value) && value >= 0.0)) {
    refuse(schedule, argument, "a finite number >= 0", text::number(value));
  }
}

inline void require_positive(std::string_view schedule, std::string_view argument, double value) {
  if (!(std::isfinite(value) && value > 0.0)) {
    refuse(schedule, argument, "a finite number > 0", text::number(value));
  }
}

inline void require_fraction(std::string_view schedule, std::string_view argument, double value) {
  if (!(value >= 0.0 && value <= 1.0)) {
    refuse(schedule, argument, "a number in [0, 1]", text::number(value));
  }
}

inline void require_at_least(std::string_view schedule, std::string_view argument,
                             std::int64_t value, std::int64_t least) {
  if (value < least) {
    refuse(schedule, argument, "an integer >= " + std::to_string(least), std::to_string(value));
  }
}

}  // namespace flatstep::schedules
