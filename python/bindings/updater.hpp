// The class flatstep._core.Updater.
#pragma once

#include <pybind11/pybind11.h>

namespace flatstep::python {

void register_updater(pybind11::module_& module);

}  // namespace flatstep::python
