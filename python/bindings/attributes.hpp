// The attributes of configuration objects: numbers, integers, texts, and which class an object is of.
// What is of another type is a TypeError that names the class and the attribute.
#pragma once

#include "values.hpp"

#include <pybind11/pybind11.h>

#include <cstdint>
#include <iterator>
#include <map>
#include <string>

namespace flatstep::python {

using Points = std::map<std::int64_t, double>;

inline bool is_number(pybind11::handle object) { return PyFloat_Check(object.ptr()) != 0; }

double number(pybind11::handle object, const char* name);
std::int64_t to_integer(pybind11::handle value, const std::string& argument);
std::int64_t integer(pybind11::handle object, const char* name);
bool flag(pybind11::handle object, const char* name);
std::string string(pybind11::handle object, const char* name);
Points to_points(pybind11::handle mapping);

/// The first entry of `table` that an object's class, or one that it derives from, is named by;
/// classes of other packages may have the same names.
template <class Table>
auto find_by_class(pybind11::handle object, const Table& table) -> decltype(&*std::begin(table)) {
  namespace py = pybind11;
  for (const py::handle type : py::type::handle_of(object).attr("__mro__")) {
    const std::string module = shown(py::str(type.attr("__module__")));
    if (!module.starts_with("flatstep.")) continue;
    const std::string name = shown(type.attr("__name__"));
    for (const auto& entry : table) {
      if (entry.name == name) return &entry;
    }
  }
  return nullptr;
}

}  // namespace flatstep::python
