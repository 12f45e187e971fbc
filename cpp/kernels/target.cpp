// The kernels of one instruction set. Compiled once for each in targets.cmake, with that set's flags;
// FLATSTEP_TARGET is its name and namespace, FLATSTEP_TARGET_HEADER the header of its vectors.
#include <flatstep/kernels/make_kernel_table.hpp>

#include FLATSTEP_TARGET_HEADER

namespace flatstep::FLATSTEP_TARGET {

// Declared first: a constant is otherwise its unit's own.
extern const KernelTable<float> float_kernels;
extern const KernelTable<double> double_kernels;

constinit const KernelTable<float> float_kernels =
    make_kernel_table<Vector<float>, Vector<double>>(Updaters{});
constinit const KernelTable<double> double_kernels =
    make_kernel_table<Vector<double>, Vector<double>>(Updaters{});

}  // namespace flatstep::FLATSTEP_TARGET
