// The Python configuration objects as C++ configuration, and what Python asks the core about them.
#pragma once

#include <pybind11/pybind11.h>

#include <flatstep/configuration.hpp>

namespace flatstep::python {

/// A flatstep.MultiLayerConfiguration, read by attribute names. Updaters written in Python become
/// callback updaters: their UpdaterConfiguration owns them, so it must outlive what is built from
/// it. A callback that fails returns false and leaves Python's error indicator set: after a step
/// that was abandoned, throw pybind11::error_already_set.
///
/// Throws pybind11::type_error for objects of other types and std::invalid_argument for values that
/// no configuration can have; what is legal together is for validate() and resolve() to say.
NetworkConfiguration to_network_configuration(pybind11::handle configuration);

/// Registers schedule_value, policy_next, the validate_ functions and the updater registry.
void register_configuration(pybind11::module_& module);

}  // namespace flatstep::python
