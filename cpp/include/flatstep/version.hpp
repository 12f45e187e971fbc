// The version of flatstep, in the one place that CMake and the Python package read it from.
#pragma once

#include <string_view>

namespace flatstep {

inline constexpr std::string_view version = "0.1.0";

}  // namespace flatstep
