// Which kernels run: those of the including unit's instruction set, or, with the runtime-chosen
// ones linked in (CMake's flatstep_add_kernels), the best that this machine has.
//
// Everything that depends on the choice lies in an inline namespace named by it
// (FLATSTEP_DISPATCH), so that units compiled for different instruction sets do not share kernels,
// engines or updaters. They do share what depends on none, schedules and the standard library: the
// linker keeps the copy of one unit, with that unit's instructions. A program that is to run on
// machines with less than its units are compiled for must take the runtime-chosen kernels.
#pragma once

#include <flatstep/kernels/kernel_table.hpp>

#include <cstdlib>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#if defined(FLATSTEP_RUNTIME_KERNELS)
#define FLATSTEP_DISPATCH on_runtime
#else
#include <flatstep/kernels/make_kernel_table.hpp>
#include <flatstep/simd/native.hpp>
#define FLATSTEP_DISPATCH FLATSTEP_NATIVE_NAMESPACE
#endif

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

#if defined(FLATSTEP_RUNTIME_KERNELS)

/// An instruction set: its name and its kernels.
struct Target {
  const char* name;
  const KernelTable<float>* float_kernels;
  const KernelTable<double>* double_kernels;

  template <class T>
  const KernelTable<T>& kernels() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return *float_kernels;
    } else {
      return *double_kernels;
    }
  }
};

/// The targets that this program holds and this machine can run, best first. Defined in
/// cpp/kernels/dispatch.cpp.
std::span<const Target> targets();

/// The target in use: the best one, or the one that FLATSTEP_ISA names, or that set_target chose.
/// @throws std::invalid_argument where FLATSTEP_ISA names no target of targets().
const Target& active_target();

/// Uses that target from the next step on.
/// @throws std::invalid_argument where targets() has none of that name.
void set_target(std::string_view name);

#else

namespace native_tables {
template <class T>
inline constexpr KernelTable<T> kernels =
    make_kernel_table<native::Vector<T>, native::Vector<double>>(Updaters{});
}  // namespace native_tables

/// The instruction set that the including unit is compiled for. Only the element types that are
/// used are compiled.
struct Target {
  const char* name;

  template <class T>
  const KernelTable<T>& kernels() const {
    return native_tables::kernels<T>;
  }
};

inline constexpr Target native_target[] = {{native::Target::name}};

/// Header-only: the one target that the including unit is compiled for.
inline std::span<const Target> targets() { return native_target; }
inline const Target& active_target() { return native_target[0]; }
inline void set_target(std::string_view name) {
  if (name != targets()[0].name) {
    throw std::invalid_argument("instruction set: expected \"" + std::string(targets()[0].name) +
                                "\", the one this program is compiled for, got \"" +
                                std::string(name) +
                                "\"; add the others with CMake's flatstep_add_kernels(target)");
  }
}

#endif

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
