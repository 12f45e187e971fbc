// Threads, instruction sets and build information of the module flatstep._core.
#pragma once

#include <pybind11/pybind11.h>

namespace flatstep::python {

void register_runtime(pybind11::module_& module);

}  // namespace flatstep::python
