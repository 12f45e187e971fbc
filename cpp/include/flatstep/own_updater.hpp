// An updater of the user's own in C++: a struct with a formula (updater.hpp says of what form),
// compiled for the instruction set of the including unit.
//
//   struct SignSgd { ... };
//   configuration.updater = flatstep::own_updater<SignSgd>({{"learning_rate", 1e-3}});
#pragma once

#include <flatstep/configuration/updater_configuration.hpp>
#include <flatstep/kernels/make_kernel_table.hpp>
#include <flatstep/simd/native.hpp>

namespace flatstep {
inline namespace FLATSTEP_NATIVE_NAMESPACE {

/// The UpdaterInfo of the user's own updater U.
template <class U>
const UpdaterInfo& own_updater_info() {
  static constexpr auto float_kernels = make_kernel_row<native::Vector<float>, U>();
  static constexpr auto double_kernels = make_kernel_row<native::Vector<double>, U>();
  // Never destroyed, as the registry.
  static const UpdaterInfo* const info = [] {
    auto* const own = new UpdaterInfo(describe_updater<U>(-1));
    own->float_kernels = &float_kernels;
    own->double_kernels = &double_kernels;
    return own;
  }();
  return *info;
}

/// U with its defaults, but for the hyper-parameters that are given.
template <class U>
UpdaterConfiguration own_updater(
    std::initializer_list<std::pair<std::string_view, Schedule>> given = {}) {
  return make_updater(own_updater_info<U>(), given);
}

}  // namespace FLATSTEP_NATIVE_NAMESPACE
}  // namespace flatstep
