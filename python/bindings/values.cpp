#include "values.hpp"

#include <flatstep/state.hpp>
#include <flatstep/step/record.hpp>

#include <cmath>
#include <cstring>
#include <string>

namespace py = pybind11;

namespace flatstep::python {

std::int64_t to_integer(py::handle value, const char* name, std::int64_t least) {
  const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!index) {
    // Whatever else its __index__ raises, an interrupt for one, is not about its type.
    if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) throw py::error_already_set();
    PyErr_Clear();
    throw py::type_error(std::string(name) + ": expected an integer >= " + std::to_string(least) +
                         ", got " + std::string(py::repr(value)));
  }
  int overflow = 0;
  const long long integer = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow != 0 || integer < least) {
    throw py::value_error(std::string(name) + ": expected an integer >= " + std::to_string(least) +
                          (overflow > 0 ? " and < 2**63" : "") + ", got " +
                          std::string(py::str(index)));
  }
  return integer;
}

std::int64_t to_counter(py::handle value, const char* name) {
  const std::int64_t counter = to_integer(value, name, 0);
  if (!is_counter(counter)) {
    throw py::value_error(std::string(name) + ": expected an integer >= 0 and < 2**63 - 1, got " +
                          std::to_string(counter));
  }
  return counter;
}

bool to_flag(py::handle value, const char* name) {
  if (value.ptr() == Py_True) return true;
  if (value.ptr() == Py_False) return false;
  if (!is_instance(value, "numpy", "bool_")) wrong_type(name, "True or False", value);
  return py::cast<bool>(value);
}

double to_gradient_scale(py::handle value) {
  const double scale = PyFloat_AsDouble(value.ptr());
  const char* const expected = "gradient_scale: expected a number from 1e-30 to 1e30, got ";
  if (scale == -1.0 && PyErr_Occurred() != nullptr) {
    if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) throw py::error_already_set();
    PyErr_Clear();
    throw py::type_error(expected + std::string(py::repr(value)));
  }
  if (!is_gradient_scale(scale)) throw py::value_error(expected + std::string(py::repr(value)));
  return scale;
}

std::optional<double> optional_of(double value) {
  return std::isnan(value) ? std::nullopt : std::optional(value);
}

PyObject* interned(const char* name) {
  PyObject* const made = PyUnicode_InternFromString(name);
  if (made == nullptr) throw py::error_already_set();
  return made;
}

std::string class_name(py::handle object) {
  return shown(py::type::handle_of(object).attr("__name__"));
}

std::string to_text(py::handle string, const std::string& argument) {
  if (!PyUnicode_Check(string.ptr())) wrong_type(argument, "a string", string);
  Py_ssize_t size = 0;
  const char* const utf8 = PyUnicode_AsUTF8AndSize(string.ptr(), &size);
  if (utf8 != nullptr) return {utf8, static_cast<std::size_t>(size)};
  if (PyErr_ExceptionMatches(PyExc_UnicodeError) == 0) throw py::error_already_set();
  PyErr_Clear();
  throw py::value_error(argument + ": expected text that UTF-8 can write, got \"" + shown(string) +
                        "\" with a lone surrogate; use another name");
}

std::string shown(py::handle string) {
  const auto bytes = py::reinterpret_steal<py::object>(
      PyUnicode_AsEncodedString(string.ptr(), "utf-8", "backslashreplace"));
  if (!bytes) throw py::error_already_set();
  return py::cast<std::string>(bytes);
}

py::object message(const char* text) {
  auto decoded = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(std::strlen(text)), "backslashreplace"));
  if (!decoded) throw py::error_already_set();
  return decoded;
}

void wrong_type(const std::string& argument, const std::string& expected, py::handle got) {
  throw py::type_error(argument + ": expected " + expected + ", got " + shown(py::repr(got)) +
                       " of type " + class_name(got));
}

bool is_instance(py::handle object, const char* module, const char* name) {
  return py::isinstance(object, py::module_::import(module).attr(name));
}

}  // namespace flatstep::python
