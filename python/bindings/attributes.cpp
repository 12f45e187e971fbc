#include "attributes.hpp"

#include <pybind11/stl.h>

namespace py = pybind11;

namespace flatstep::python {

double number(py::handle object, const char* name) {
  const py::object value = object.attr(name);
  if (!is_number(value)) wrong_type(class_name(object) + ": " + name, "a float", value);
  return py::cast<double>(value);
}

std::int64_t to_integer(py::handle value, const std::string& argument) {
  if (PyLong_Check(value.ptr()) == 0) wrong_type(argument, "an integer", value);
  int overflow = 0;
  const long long result = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow != 0) {
    throw py::value_error(argument + ": expected an integer of 64 bits, got " +
                          shown(py::repr(value)));
  }
  return result;
}

std::int64_t integer(py::handle object, const char* name) {
  return to_integer(object.attr(name), class_name(object) + ": " + name);
}

bool flag(py::handle object, const char* name) { return py::cast<bool>(object.attr(name)); }

std::string string(py::handle object, const char* name) {
  const py::object value = object.attr(name);
  return to_text(value, class_name(object) + ": " + name);
}

Points to_points(py::handle mapping) {
  Points points;
  for (const py::handle key : mapping) {
    points[to_integer(key, "iteration")] = py::cast<double>(mapping[key]);
  }
  return points;
}

}  // namespace flatstep::python
