// Makes the kernel tables of one instruction set from its vector type.
//
// Included by the one translation unit per target of cpp/kernels/, and by header-only users for the
// set of their own unit. Nothing here may call a function that another unit could emit too.
#pragma once

#include <flatstep/kernels/add.hpp>
#include <flatstep/kernels/all_finite.hpp>
#include <flatstep/kernels/average.hpp>
#include <flatstep/kernels/count_clipped.hpp>
#include <flatstep/kernels/elements.hpp>
#include <flatstep/kernels/kernel_table.hpp>
#include <flatstep/kernels/pass.hpp>
#include <flatstep/kernels/storage.hpp>
#include <flatstep/kernels/stored_pass.hpp>
#include <flatstep/kernels/sum_of_squares.hpp>

namespace flatstep {

template <unsigned... flags>
struct Flags {};

template <class V, class U, unsigned... flags>
constexpr KernelRow<typename V::value_type> make_kernel_row(Flags<flags...>) {
  if constexpr (sizeof(typename V::value_type) != sizeof(float)) {
    return {{&pass<V, U, flags>...}};
  } else if constexpr (V::has_stored_passes) {
    return {
        {&pass<V, U, flags>...},
        {&stored_pass<V, U, pass_applies>, &stored_pass<V, U, pass_applies | pass_regularizes>}};
  } else {
    return {{&pass<V, U, flags>...}, {nullptr, nullptr}};
  }
}

/// The kernels of the updater U on vectors V.
template <class V, class U>
constexpr KernelRow<typename V::value_type> make_kernel_row() {
  static_assert(pass_kinds == 8);
  return make_kernel_row<V, U>(Flags<0, 1, 2, 3, 4, 5, 6, 7>{});
}

template <class V>
constexpr StorageKernels<typename V::value_type> make_storage_kernels() {
  if constexpr (sizeof(typename V::value_type) == sizeof(float)) {
    return {&join<V>, &split<V>, code_kernels<V>};
  } else {
    return {};
  }
}

/// All kernels on vectors V, with D the vector of double of the same target.
template <class V, class D, class... U>
constexpr KernelTable<typename V::value_type> make_kernel_table(UpdaterList<U...>) {
  return {{make_kernel_row<V, U>()...},
          &sum_of_squares<D>,
          &all_finite<V>,
          &count_clipped<V>,
          &subtract<V>,
          &average<V>,
          &accumulate<V>,
          {&widen<V>, &narrow<V>, &sum_of_squares_of<V, D>, &all_finite_of<V>},
          make_storage_kernels<V>()};
}

}  // namespace flatstep
