// The kernels for any machine, in plain C++; compiled with that target's flags.
#include <flatstep/kernels/make_kernel_table.hpp>
#include <flatstep/simd/emulated.hpp>

#include "tables.hpp"

namespace flatstep::emulated {

constinit const KernelTable<float> float_kernels =
    make_kernel_table<Vector<float>, Vector<double>>(Updaters{});
constinit const KernelTable<double> double_kernels =
    make_kernel_table<Vector<double>, Vector<double>>(Updaters{});

}  // namespace flatstep::emulated
