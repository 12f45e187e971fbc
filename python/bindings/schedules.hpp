// The schedules of flatstep.schedules as C++ schedules.
#pragma once

#include <pybind11/pybind11.h>

#include <flatstep/schedule.hpp>

namespace flatstep::python {

/// A number or a schedule, read by attribute names.
/// @throws TypeError for anything else, std::invalid_argument for what its formula cannot take
Schedule to_schedule(pybind11::handle object);

}  // namespace flatstep::python
