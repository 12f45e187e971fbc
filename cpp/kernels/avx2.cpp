// The kernels for AVX2 with FMA; compiled with that target's flags.
#include <flatstep/kernels/make_kernel_table.hpp>
#include <flatstep/simd/avx2.hpp>

#include "tables.hpp"

namespace flatstep::avx2 {

constinit const KernelTable<float> float_kernels =
    make_kernel_table<Vector<float>, Vector<double>>(Updaters{});
constinit const KernelTable<double> double_kernels =
    make_kernel_table<Vector<double>, Vector<double>>(Updaters{});

}  // namespace flatstep::avx2
