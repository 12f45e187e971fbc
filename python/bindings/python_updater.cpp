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
  read_shapes();
  initial_state_.resize(names_.size(), 0.0);
  const py::object initial = instance_.attr("initial_state");
  for (const py::handle key : initial) {
    const std::string name = shown(py::str(key));
    const std::size_t place = text::place(name_ + ": initial_state", names_, name);
    const py::object value = initial[key];
    if (py::isinstance<py::str>(value) &&
        to_text(value, name_ + ": initial_state") == "parameter") {
      info_.state[place].start = StateStart::parameter;
      continue;
    }
    if (!PyNumber_Check(value.ptr())) {
      wrong_type(name_ + ": initial_state[" + text::quoted(name) + "]",
                 "a number, or \"parameter\"", value);
    }
    initial_state_[place] = py::cast<double>(py::float_(value));
  }
}

/// The shapes of state arrays are asked for where a layout is made, and whether to pass the parameter.
void PythonUpdater::read_shapes() {
  reads_parameter_ = py::cast<bool>(py::bool_(instance_.attr("reads_parameter")));
  for (StateDescription& array : info_.state) array.shape = StateShape::own;
  info_.own_shape = [this](std::size_t array, std::span<const std::size_t> parameter) {
    return own_shape(array, parameter);
  };
}

std::vector<std::size_t> PythonUpdater::own_shape(std::size_t array,
                                                  std::span<const std::size_t> parameter) const {
  const Locked lock;
  py::tuple given(parameter.size());
  for (std::size_t axis = 0; axis < parameter.size(); ++axis) given[axis] = parameter[axis];
  const std::string where = name_ + ".state_shapes";
  const py::object shapes = instance_.attr("state_shapes")(given);
  if (!py::isinstance<py::dict>(shapes)) wrong_type(where, "a dict {name: shape}", shapes);
  for (const auto& [key, shape] : py::reinterpret_borrow<py::dict>(shapes)) {
    static_cast<void>(text::place(where, names_, shown(py::str(key))));
  }
  if (!shapes.contains(names_[array])) return {parameter.begin(), parameter.end()};
  const py::object shape = shapes[py::str(names_[array])];
  if (!py::isinstance<py::tuple>(shape)) {
    wrong_type(where + "[" + text::quoted(names_[array]) + "]", "a tuple of integers", shape);
  }
  std::vector<std::size_t> extents;
  for (const py::handle extent : shape) {
    if (!py::isinstance<py::int_>(extent) || py::int_(0).attr("__gt__")(extent).cast<bool>()) {
      throw py::value_error(where + "[" + text::quoted(names_[array]) +
                            "]: expected integers >= 0, got " + shown(py::repr(shape)));
    }
    extents.push_back(py::cast<std::size_t>(extent));
  }
  return extents;
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
    using Shape = std::vector<py::ssize_t>;
    // The callback had the arrays, and may have done with them what it likes: resized them, given
    // them another dtype, shape, or state.
    const auto take_back = [&](const py::array_t<T>& array, const Shape& had, std::span<T> to,
                               const std::string& what) {
      const ArrayForm form{"", had, !arguments.column_major, arguments.column_major};
      const T* const data = memory_of<T>(array, form);
      if (data == nullptr) {
        throw py::value_error(name_ + ".get_gradient: " + what +
                              ": expected it changed in place, got it resized or of another shape "
                              "or dtype; write " +
                              what + "[...] = value");
      }
      std::copy_n(data, to.size(), to.data());
    };
    const auto array_of = [&](const T* data, const Shape& extents) {
      const auto strides = arguments.column_major
                               ? py::detail::f_strides(extents, py::ssize_t{sizeof(T)})
                               : py::detail::c_strides(extents, py::ssize_t{sizeof(T)});
      return py::array_t<T>(extents, strides, data);
    };
    const py::array_t<T> gradient = array_of(arguments.gradient.data(), shape);
    std::vector<py::array_t<T>> arrays;
    std::vector<Shape> shapes;
    py::dict state;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      shapes.emplace_back(arguments.state_shapes[i].begin(), arguments.state_shapes[i].end());
      arrays.push_back(array_of(arguments.state[i].data(), shapes[i]));
      state[py::str(names_[i])] = arrays.back();
    }
    py::object parameter = py::none();
    if (reads_parameter_) {
      parameter = array_of(arguments.parameter.data(), shape);
      parameter.attr("flags").attr("writeable") = false;
    }
    const py::object rate =
        hyper_parameters_.empty() ? py::none() : py::object(py::float_(arguments.learning_rate));
    const py::object method = instance_.attr("get_gradient");
    const py::int_ iteration(arguments.iteration);
    PyObject* const given[] = {gradient.ptr(), state.ptr(), rate.ptr(), iteration.ptr(),
                               parameter.ptr()};
    const py::object returned =
        call_python(method, given, std::size(given) - (reads_parameter_ ? 0 : 1));
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
      take_back(arrays[i], shapes[i], arguments.state[i], "state[" + text::quoted(names_[i]) + "]");
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
    take_back(gradient, shape, arguments.gradient, "g");
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
