#include "python_updater.hpp"

#include "arrays.hpp"
#include "interpreter.hpp"
#include "values.hpp"

#include <flatstep/text.hpp>

#include <pybind11/numpy.h>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <iterator>
#include <span>
#include <stdexcept>

namespace py = pybind11;

namespace flatstep::python {

PythonUpdater::PythonUpdater(py::handle instance)
    : instance_(py::reinterpret_borrow<py::object>(instance)), name_(class_name(instance)) {
  read_state();
  if (!instance.attr("learning_rate").is_none()) hyper_parameters_.push_back(learning_rate(1e-3));
  info_.name = name_;
  info_.hyper_parameters = hyper_parameters_;
  info_.initial_state = [this](std::size_t array, const double*, const OrderRules&) {
    return initial_state_[array];
  };
  info_.float_callback = [this](const CallbackArguments<float>& arguments) {
    return call(arguments);
  };
  info_.double_callback = [this](const CallbackArguments<double>& arguments) {
    return call(arguments);
  };
}

std::shared_ptr<const PythonUpdater> PythonUpdater::make(py::handle instance) {
  return {new PythonUpdater(instance), [](const PythonUpdater* updater) {
            drop_locked(
                [](const void* dropped) { delete static_cast<const PythonUpdater*>(dropped); },
                updater);
          }};
}

void PythonUpdater::read_state() {
  const py::object names = instance_.attr("state");
  if (!py::isinstance<py::tuple>(names) && !py::isinstance<py::list>(names)) {
    wrong_type(name_ + ": state", "a tuple of names", names);
  }
  for (const py::handle name : names) {
    if (!py::isinstance<py::str>(name)) wrong_type(name_ + ": state", "names as strings", name);
    names_.push_back(to_text(name, name_ + ": state"));
    if (names_.back().empty() || std::ranges::count(names_, names_.back()) > 1) {
      throw std::invalid_argument(name_ + ": state: expected different names, none of them " +
                                  "empty, got " + shown(py::repr(names)));
    }
  }
  for (const std::string& name : names_) info_.state.push_back({name});
  initial_state_.resize(names_.size(), 0.0);
  const py::object initial = instance_.attr("initial_state");
  for (const py::handle key : initial) {
    const std::string name = shown(py::str(key));
    const std::size_t place = text::place(name_ + ": initial_state", names_, name);
    const py::object value = initial[key];
    if (!PyNumber_Check(value.ptr())) {
      wrong_type(name_ + ": initial_state[" + text::quoted(name) + "]", "a number", value);
    }
    initial_state_[place] = py::cast<double>(py::float_(value));
  }
}

/// Calls get_gradient on arrays of its own, which Python may keep, and copies what it did to
/// them.
template <class T>
bool PythonUpdater::call(const CallbackArguments<T>& arguments) const {
  const Locked lock;
  ThreadEndsHere end;
  const bool done = call_locked(arguments);
  end.returned();
  return done;
}

/// Whoever calls it has the interpreter's lock.
template <class T>
bool PythonUpdater::call_locked(const CallbackArguments<T>& arguments) const {
  try {
    const std::vector<py::ssize_t> shape(arguments.shape.begin(), arguments.shape.end());
    const ArrayForm form{"", shape, !arguments.column_major, arguments.column_major};
    // The callback had the arrays, and may have done with them what it likes: resized them, given
    // them another dtype, shape, or state.
    const auto take_back = [&](const py::array_t<T>& array, std::span<T> to,
                               const std::string& what) {
      const T* const data = memory_of<T>(array, form);
      if (data == nullptr) {
        throw py::value_error(name_ + ".get_gradient: " + what +
                              ": expected it changed in place, got it resized or of another shape "
                              "or dtype; write " +
                              what + "[...] = value");
      }
      std::copy_n(data, to.size(), to.data());
    };
    const auto array_of = [&](const T* data) {
      const auto strides = arguments.column_major
                               ? py::detail::f_strides(shape, py::ssize_t{sizeof(T)})
                               : py::detail::c_strides(shape, py::ssize_t{sizeof(T)});
      return py::array_t<T>(shape, strides, data);
    };
    const py::array_t<T> gradient = array_of(arguments.gradient.data());
    std::vector<py::array_t<T>> arrays;
    py::dict state;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      arrays.push_back(array_of(arguments.state[i].data()));
      state[py::str(names_[i])] = arrays.back();
    }
    const py::object rate =
        hyper_parameters_.empty() ? py::none() : py::object(py::float_(arguments.learning_rate));
    const py::object method = instance_.attr("get_gradient");
    const py::int_ iteration(arguments.iteration);
    PyObject* const given[] = {gradient.ptr(), state.ptr(), rate.ptr(), iteration.ptr()};
    const py::object returned = call_python(method, given, std::size(given));
    if (!returned.is_none()) {
      wrong_type(name_ + ".get_gradient", "None, the update being left in g (g[...] = update)",
                 returned);
    }
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (!state.contains(names_[i]) || !py::object(state[py::str(names_[i])]).is(arrays[i])) {
        throw py::value_error(name_ + ".get_gradient: state[" + text::quoted(names_[i]) +
                              "]: expected it changed in place, got another array in its " +
                              "place; write state[" + text::quoted(names_[i]) + "][...] = value");
      }
      take_back(arrays[i], arguments.state[i], "state[" + text::quoted(names_[i]) + "]");
    }
    // A list of the keys, as a key's __str__ may change the dict.
    for (const py::handle key : py::reinterpret_steal<py::list>(PyDict_Keys(state.ptr()))) {
      const std::string name = shown(py::str(key));
      if (std::ranges::count(names_, name) == 0) {
        throw py::value_error(name_ + ".get_gradient: state[" + text::quoted(name) +
                              "]: expected a name that the class declares, got a new one, which "
                              "the next step would not see; name it in the class's state = (…)");
      }
    }
    take_back(gradient, arguments.gradient, "g");
    return true;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::exception& error) {
    py::set_error(PyExc_RuntimeError, error.what());
  }
  return false;
}

}  // namespace flatstep::python
