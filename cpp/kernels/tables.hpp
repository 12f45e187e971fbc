// The kernel tables of all targets; each is defined in the unit of its name.
#pragma once

#include <flatstep/kernels/kernel_table.hpp>

namespace flatstep {

namespace avx512 {
extern const KernelTable<float> float_kernels;
extern const KernelTable<double> double_kernels;
}  // namespace avx512

namespace avx2 {
extern const KernelTable<float> float_kernels;
extern const KernelTable<double> double_kernels;
}  // namespace avx2

namespace neon {
extern const KernelTable<float> float_kernels;
extern const KernelTable<double> double_kernels;
}  // namespace neon

namespace sse2 {
extern const KernelTable<float> float_kernels;
extern const KernelTable<double> double_kernels;
}  // namespace sse2

namespace emulated {
extern const KernelTable<float> float_kernels;
extern const KernelTable<double> double_kernels;
}  // namespace emulated

}  // namespace flatstep
