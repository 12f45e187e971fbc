// The cache sizes of this machine, for the cost model of the plan.
#pragma once

#include <algorithm>
#include <cstddef>

#if defined(__linux__)
#include <unistd.h>
#endif

namespace flatstep {

/// How much of a gradient may be expected to be in the cache still when the pass follows the norm:
/// the pass streams parameters and state through the same cache, so it is a small part of the last
/// level.
inline std::size_t cached_bytes() {
  static const std::size_t bytes = [] {
    constexpr std::size_t least = std::size_t{1} << 20;
    std::size_t last_level = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
    last_level = static_cast<std::size_t>(std::max(0L, ::sysconf(_SC_LEVEL3_CACHE_SIZE)));
#endif
    return std::max(least, last_level / 8);
  }();
  return bytes;
}

}  // namespace flatstep
