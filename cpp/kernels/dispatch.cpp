// Chooses the target at run time: one list, best first, cut down to what this machine can run.
#include <flatstep/kernels/dispatch.hpp>

#include "tables.hpp"

#include <atomic>
#include <vector>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {
namespace {

struct Candidate {
  Target target;
  bool (*runs_here)();
};

bool always() { return true; }

#if defined(FLATSTEP_HAS_AVX512)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif
#if defined(FLATSTEP_HAS_AVX2)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

/// The one list that orders the targets, best first; the build says which of them it has.
constexpr Candidate candidates[] = {
#if defined(FLATSTEP_HAS_AVX512)
    {{"avx512", &avx512::float_kernels, &avx512::double_kernels}, &has_avx512},
#endif
#if defined(FLATSTEP_HAS_AVX2)
    {{"avx2", &avx2::float_kernels, &avx2::double_kernels}, &has_avx2},
#endif
#if defined(FLATSTEP_HAS_NEON)
    {{"neon", &neon::float_kernels, &neon::double_kernels}, &always},
#endif
#if defined(FLATSTEP_HAS_SSE2)
    {{"sse2", &sse2::float_kernels, &sse2::double_kernels}, &always},
#endif
#if defined(FLATSTEP_HAS_EMULATED)
    {{"emulated", &emulated::float_kernels, &emulated::double_kernels}, &always},
#endif
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
  static const std::vector<Target> available = [] {
    std::vector<Target> list;
    for (const Candidate& candidate : candidates) {
      if (candidate.runs_here()) list.push_back(candidate.target);
    }
    return list;
  }();
  return available;
}

const Target& active_target() { return *active().load(std::memory_order_relaxed); }

void set_target(std::string_view name) {
  active().store(&find_target(name, "instruction set"), std::memory_order_relaxed);
}

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
