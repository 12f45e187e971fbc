// The methods step, update and accumulate of flatstep._core.Updater, which are called in every
// iteration.
#pragma once

#include "core.hpp"

#include <pybind11/pybind11.h>

namespace flatstep::python {

void add_step_methods(pybind11::class_<Core>& type);

}  // namespace flatstep::python
