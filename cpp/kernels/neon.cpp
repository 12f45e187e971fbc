// The kernels for NEON, the baseline of AArch64; compiled with that target's flags.
#include <flatstep/kernels/make_kernel_table.hpp>
#include <flatstep/simd/neon.hpp>

#include "tables.hpp"

namespace flatstep::neon {

constinit const KernelTable<float> float_kernels =
    make_kernel_table<Vector<float>, Vector<double>>(Updaters{});
constinit const KernelTable<double> double_kernels =
    make_kernel_table<Vector<double>, Vector<double>>(Updaters{});

}  // namespace flatstep::neon
