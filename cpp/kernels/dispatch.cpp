// Chooses the target at run time: the ranked list of this build, cut down to what this machine can
// run. CMake writes the list from targets.cmake: a FLATSTEP_TARGET(name, runs_here) per target.
#include <flatstep/kernels/dispatch.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <iterator>

namespace flatstep {

#define FLATSTEP_TARGET(name, runs_here)           \
  namespace name {                                 \
  extern const KernelTable<float> float_kernels;   \
  extern const KernelTable<double> double_kernels; \
  }
#include <flatstep_targets.def>
#undef FLATSTEP_TARGET

inline namespace FLATSTEP_DISPATCH {
namespace {

struct Candidate {
  Target target;
  bool (*runs_here)();
};

/// Best first.
constexpr Candidate candidates[] = {
#define FLATSTEP_TARGET(name, runs_here) \
  {{#name, &name::float_kernels, &name::double_kernels}, []() -> bool { return runs_here; }},
#include <flatstep_targets.def>
#undef FLATSTEP_TARGET
};

const Target& find_target(std::string_view name, const char* parameter) {
  std::string known;
  for (const Target& target : targets()) {
    if (name == target.name) return target;
    known += known.empty() ? "\"" : ", \"";
    known += target.name;
    known += '"';
  }
  throw std::invalid_argument(std::string(parameter) + ": expected one of " + known +
                              " (what this machine can run), got \"" + std::string(name) + "\"");
}

std::atomic<const Target*>& active() {
  static std::atomic<const Target*> target = [] {
    const char* name = std::getenv("FLATSTEP_ISA");
    return name == nullptr || *name == '\0' ? &targets().front()
                                            : &find_target(name, "FLATSTEP_ISA");
  }();
  return target;
}

}  // namespace

std::span<const Target> targets() {
  // Nothing to destroy: there are updaters that step in static destructors.
  struct Available {
    std::array<Target, std::size(candidates)> list;
    std::size_t count;
  };
  static const Available available = [] {
    Available found{};
    for (const Candidate& candidate : candidates) {
      if (candidate.runs_here()) found.list[found.count++] = candidate.target;
    }
    return found;
  }();
  return {available.list.data(), available.count};
}

const Target& active_target() { return *active().load(std::memory_order_relaxed); }

void set_target(std::string_view name) {
  active().store(&find_target(name, "instruction set"), std::memory_order_relaxed);
}

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
