// Values between Python and C++: integers of a range, NaN for what is None, classes by name.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>
#include <string>

namespace flatstep::python {

/// An integer, or anything that stands for one, from `least` on.
/// @throws TypeError, ValueError
std::int64_t to_integer(pybind11::handle value, const char* name, std::int64_t least);

/// An iteration, an epoch or a count of steps: at most max_counter.
std::int64_t to_counter(pybind11::handle value, const char* name);

/// A Python bool, or NumPy's.
bool to_flag(pybind11::handle value, const char* name);

/// What a step multiplies gradients by: a number that StepOptions takes.
double to_gradient_scale(pybind11::handle value);

/// A number, or nothing for NaN.
std::optional<double> optional_of(double value);

/// A new object of the interpreter's own, as PyDict_New() gives it.
/// @throws what the interpreter says where there is none: MemoryError, of which pybind11's constructors
///   make a RuntimeError, and in a build with assertions the end of the process
template <class X>
X taken(PyObject* made) {
  if (made == nullptr) throw pybind11::error_already_set();
  return pybind11::reinterpret_steal<X>(made);
}

/// A name that is looked up again and again, as long-lived as the interpreter.
/// @throws MemoryError
PyObject* interned(const char* name);

std::string class_name(pybind11::handle object);

/// A str in UTF-8, for names that are used again.
/// @throws ValueError, naming the argument, for one that has no UTF-8
std::string to_text(pybind11::handle string, const std::string& argument);

/// Any str in UTF-8, with escapes where it has none: for messages.
std::string shown(pybind11::handle string);

/// A C++ exception's text as Python's, with escapes for what is no UTF-8.
pybind11::object message(const char* text);

/// Whether it is an instance of that class of that module.
bool is_instance(pybind11::handle object, const char* module, const char* name);

/// Throws a TypeError that says what was expected and what came.
[[noreturn]] void wrong_type(const std::string& argument, const std::string& expected,
                             pybind11::handle got);

}  // namespace flatstep::python
