// Ctrl-C that waits for the end of a block.
#pragma once

#include <pybind11/pybind11.h>

namespace flatstep::python {

void register_interrupts(pybind11::module_& module);

}  // namespace flatstep::python
