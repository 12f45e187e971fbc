// The kernels for SSE2, the baseline of x86-64; compiled with that target's flags.
#include <flatstep/kernels/make_kernel_table.hpp>
#include <flatstep/simd/sse2.hpp>

#include "tables.hpp"

namespace flatstep::sse2 {

constinit const KernelTable<float> float_kernels =
    make_kernel_table<Vector<float>, Vector<double>>(Updaters{});
constinit const KernelTable<double> double_kernels =
    make_kernel_table<Vector<double>, Vector<double>>(Updaters{});

}  // namespace flatstep::sse2
