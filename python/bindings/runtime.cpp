// Threads, instruction sets and build information of the module flatstep._core.
#include "runtime.hpp"

#include "values.hpp"

#include <flatstep/kernels/dispatch.hpp>
#include <flatstep/state.hpp>
#include <flatstep/threads.hpp>
#include <flatstep/version.hpp>

#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace py = pybind11;

namespace flatstep::python {
namespace {

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Target& target : targets()) names.emplace_back(target.name);
  return names;
}

void set_num_threads(py::handle threads) {
  const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(threads.ptr()));
  if (!index) {
    if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) throw py::error_already_set();
    PyErr_Clear();
    throw py::type_error("num_threads: expected an integer >= 1, got " + class_name(threads));
  }
  const long value = PyLong_AsLong(index.ptr());
  if (PyErr_Occurred() != nullptr) PyErr_Clear();
  if (value < 1 || value > long{max_num_threads}) {
    throw py::value_error("num_threads: expected an integer from 1 to " +
                          std::to_string(max_num_threads) + ", got " + std::string(py::str(index)));
  }
  ThreadPool::instance().set_num_threads(static_cast<unsigned>(value));
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return "unknown";
#endif
}

}  // namespace

void register_runtime(py::module_& module) {
  // A bad FLATSTEP_ISA or FLATSTEP_NUM_THREADS is an error at import.
  try {
    active_target();
    ThreadPool::instance();
  } catch (const std::invalid_argument& error) {
    // The variable's bytes are in it, which need not be text.
    throw std::invalid_argument(shown(message(error.what())));
  }
  module.attr("__version__") = std::string(version);
  module.attr("compiler") = compiler();
  module.attr("chunk_size") = chunk_size;
  module.attr("code_block") = code_block;
  module.attr("max_counter") = max_counter;
  module.def("available_isas", &available_isas,
             "The instruction sets that this machine can run, best first.");
  module.def(
      "isa", [] { return std::string(active_target().name); }, "The instruction set in use.");
  module.def(
      "set_isa",
      [](py::handle name) {
        if (!py::isinstance<py::str>(name)) {
          throw py::type_error("name: expected a str, such as \"avx2\", got " + class_name(name));
        }
        set_target(to_text(name, "name"));
      },
      py::arg("name"), "Use that instruction set from the next step on.");
  module.def(
      "get_num_threads", [] { return ThreadPool::instance().num_threads(); },
      "How many threads a large step uses.");
  module.def("set_num_threads", &set_num_threads, py::arg("n"),
             "Set how many threads a large step uses.");
}

}  // namespace flatstep::python
