#include "python_updater.hpp"

#include "arrays.hpp"
#include "interpreter.hpp"
#include "values.hpp"

#include <flatstep/text.hpp>

#include <pybind11/numpy.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <iterator>
#include <optional>
#include <span>
#include <stdexcept>
#include <type_traits>

namespace py = pybind11;

namespace flatstep::python {

namespace {

/// NumPy's own limit.
constexpr std::size_t most_dimensions = 64;

/// A new NumPy array with a copy of memory of ours, for Python to do with what it likes: resize it,
/// give it another dtype, shape, or state.
template <class X>
class Scratch {
  using T = std::remove_const_t<X>;

 public:
  Scratch(std::span<X> memory, std::span<const std::size_t> shape, bool column_major)
      : memory_(memory), shape_(shape), column_major_(column_major) {
    const auto& numpy = py::detail::npy_api::get();
    std::array<py::ssize_t, most_dimensions> extents;
    std::ranges::copy(shape, extents.begin());
    const int order = column_major ? py::detail::npy_api::NPY_ARRAY_F_CONTIGUOUS_ : 0;
    PyObject* const made = numpy.PyArray_NewFromDescr_(
        numpy.PyArray_Type_, py::dtype::of<T>().release().ptr(), static_cast<int>(shape.size()),
        extents.data(), nullptr, nullptr, order, nullptr);
    if (made == nullptr) throw py::error_already_set();
    array_ = py::reinterpret_steal<py::object>(made);
    std::ranges::copy(memory, reinterpret_cast<T*>(py::detail::array_proxy(made)->data));
  }

  const py::object& array() const { return array_; }
  void make_read_only() {
    py::detail::array_proxy(array_.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  }
  /// False where it is not any more what it was but for its elements.
  bool copy_back() const {
    const T* const data = memory_of<T>(array_, shape_, column_major_);
    if (data != nullptr) std::copy_n(data, memory_.size(), memory_.data());
    return data != nullptr;
  }

 private:
  std::span<X> memory_;
  std::span<const std::size_t> shape_;
  bool column_major_;
  py::object array_;
};

void set_item(const py::dict& dict, const py::object& key, const py::object& value) {
  if (PyDict_SetItem(dict.ptr(), key.ptr(), value.ptr()) != 0) throw py::error_already_set();
}

}  // namespace

PythonUpdater::PythonUpdater(py::handle instance)
    : instance_(py::reinterpret_borrow<py::object>(instance)),
      name_(class_name(instance)),
      reads_parameter_(py::cast<bool>(py::bool_(instance.attr("reads_parameter")))) {
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
  for (const std::string& name : names_) {
    info_.state.push_back({name});
    keys_.emplace_back(py::str(name));
  }
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

/// The shapes of state arrays are asked for where a layout is made.
void PythonUpdater::read_shapes() {
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
  if (extents.size() > most_dimensions) {
    throw py::value_error(where + "[" + text::quoted(names_[array]) + "]: expected at most " +
                          std::to_string(most_dimensions) + " dimensions, got " +
                          std::to_string(extents.size()));
  }
  return extents;
}

void PythonUpdater::refuse_change(const std::string& what) const {
  throw py::value_error(name_ + ".get_gradient: " + what +
                        ": expected it changed in place, got it resized or of another shape or "
                        "dtype; write " +
                        what + "[...] = value");
}

void PythonUpdater::refuse_new_name(const py::dict& state) const {
  // A list of the keys, as a key's __str__ may change the dict.
  for (const py::handle key : py::reinterpret_steal<py::list>(PyDict_Keys(state.ptr()))) {
    const std::string name = shown(py::str(key));
    if (std::ranges::count(names_, name) > 0 && py::isinstance<py::str>(key)) continue;
    throw py::value_error(name_ + ".get_gradient: state[" + text::quoted(name) +
                          "]: expected a name that the class declares, got a new one, which the "
                          "next step would not see; name it in the class's state = (…)");
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
    const bool column_major = arguments.column_major;
    const Scratch<T> gradient(arguments.gradient, arguments.shape, column_major);
    std::vector<Scratch<T>> arrays;
    arrays.reserve(names_.size());
    const auto state = taken<py::dict>(PyDict_New());
    for (std::size_t i = 0; i < names_.size(); ++i) {
      arrays.emplace_back(arguments.state[i], arguments.state_shapes[i], column_major);
      set_item(state, keys_[i], arrays.back().array());
    }
    std::optional<Scratch<const T>> parameter;
    if (reads_parameter_) {
      parameter.emplace(arguments.parameter, arguments.shape, column_major);
      parameter->make_read_only();
    }
    const py::object rate =
        hyper_parameters_.empty() ? py::none() : py::object(py::float_(arguments.learning_rate));
    const py::int_ iteration(arguments.iteration);
    PyObject* const given[] = {instance_.ptr(), gradient.array().ptr(),
                               state.ptr(),     rate.ptr(),
                               iteration.ptr(), parameter ? parameter->array().ptr() : nullptr};
    static PyObject* const method = interned("get_gradient");
    const py::object returned =
        call_method(method, given, std::size(given) - (reads_parameter_ ? 0 : 1));
    if (!returned.is_none()) {
      wrong_type(name_ + ".get_gradient", "None, the update being left in g (g[...] = update)",
                 returned);
    }
    for (std::size_t i = 0; i < names_.size(); ++i) {
      PyObject* const now = PyDict_GetItemWithError(state.ptr(), keys_[i].ptr());
      if (now == nullptr && PyErr_Occurred() != nullptr) throw py::error_already_set();
      if (now != arrays[i].array().ptr()) {
        throw py::value_error(name_ + ".get_gradient: state[" + text::quoted(names_[i]) +
                              "]: expected it changed in place, got another array in its " +
                              "place; write state[" + text::quoted(names_[i]) + "][...] = value");
      }
      if (!arrays[i].copy_back()) {
        refuse_change("state[" + text::quoted(names_[i]) + "]");
      }
    }
    if (static_cast<std::size_t>(PyDict_GET_SIZE(state.ptr())) != names_.size()) {
      refuse_new_name(state);
    }
    if (!gradient.copy_back()) refuse_change("g");
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
