// The module flatstep._core: registers what the other files define, and does nothing else.
#include "configuration.hpp"
#include "interrupts.hpp"
#include "runtime.hpp"
#include "updater.hpp"

#include <pybind11/pybind11.h>

PYBIND11_MODULE(_core, module) {
  module.doc() = "The native part of flatstep. Use the package flatstep instead.";
  flatstep::python::register_runtime(module);
  flatstep::python::register_interrupts(module);
  flatstep::python::register_configuration(module);
  flatstep::python::register_updater(module);
}
