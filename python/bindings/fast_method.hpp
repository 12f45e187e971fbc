// A method that Python calls without pybind11's dispatcher, for calls of a few hundred nanoseconds.
//
// One optional positional argument and keywords, each an object; the C++ exceptions of its body
// become Python's as they do in any other method.
#pragma once

#include "interpreter.hpp"

#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <string>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace flatstep::python {

/// The names of a method's arguments; the first may be given by position.
template <std::size_t N>
class ArgumentNames {
 public:
  ArgumentNames(const char* method, const std::array<const char*, N>& names) : method_(method) {
    for (std::size_t k = 0; k < N; ++k) names_[k] = PyUnicode_InternFromString(names[k]);
  }

  /// The arguments by the order of the names, null where they are not given.
  std::array<PyObject*, N> sort(PyObject* const* given, Py_ssize_t positional,
                                PyObject* keywords) const {
    std::array<PyObject*, N> sorted{};
    if (positional > 1) {
      throw pybind11::type_error(text() + ": expected at most 1 positional argument, got " +
                                 std::to_string(positional) + "; name the others");
    }
    if (positional == 1) sorted[0] = given[0];
    const Py_ssize_t count = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
    for (Py_ssize_t k = 0; k < count; ++k) {
      PyObject*& place = sorted[find(PyTuple_GET_ITEM(keywords, k))];
      if (place != nullptr) {
        throw pybind11::type_error(text() + ": expected \"" +
                                   std::string(pybind11::str(PyTuple_GET_ITEM(keywords, k))) +
                                   "\" once, got it twice");
      }
      place = given[positional + k];
    }
    return sorted;
  }

 private:
  std::size_t find(PyObject* keyword) const {
    for (std::size_t k = 0; k < N; ++k) {
      if (keyword == names_[k]) return k;
    }
    for (std::size_t k = 0; k < N; ++k) {
      if (PyUnicode_Compare(keyword, names_[k]) == 0) return k;
    }
    std::string expected;
    for (PyObject* const name : names_) {
      expected += (expected.empty() ? "" : ", ") + std::string(pybind11::str(name));
    }
    throw pybind11::type_error(text() + ": expected the arguments " + expected + ", got \"" +
                               std::string(pybind11::str(keyword)) + '"');
  }

  std::string text() const { return std::string(method_) + "()"; }

  const char* method_;
  std::array<PyObject*, N> names_;  ///< interned; as long-lived as the module
};

/// The C++ object behind `self`, whose type Python has checked.
template <class C>
C& object_of(PyObject* self) {
  auto* const instance = reinterpret_cast<pybind11::detail::instance*>(self);
  // The usual layout, without the call that knows all of them.
  void* const object = instance->simple_layout ? instance->simple_value_holder[0]
                                               : instance->get_value_and_holder().value_ptr();
  if (object == nullptr) {
    throw pybind11::type_error(std::string(Py_TYPE(self)->tp_name) +
                               ": expected __init__ to have run; a subclass must call "
                               "super().__init__");
  }
  return *static_cast<C*>(object);
}

/// Runs the body of a method that returns None.
template <class Body>
PyObject* call(Body&& body) noexcept {
  try {
    body();
    Py_RETURN_NONE;
#if defined(__GLIBCXX__)
  } catch (const abi::__forced_unwind&) {
    sleep_for_ever();  // see interpreter.hpp; to end the handler would abort the process
#endif
  } catch (pybind11::error_already_set& error) {
    error.restore();
  } catch (...) {
    pybind11::detail::try_translate_exceptions();
  }
  return nullptr;
}

/// Adds it to the class. `definition` outlives the class.
template <class Class>
void add_fast_method(Class& type, PyMethodDef& definition) {
  PyObject* const method =
      PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), &definition);
  if (method == nullptr) throw pybind11::error_already_set();
  type.attr(definition.ml_name) = pybind11::reinterpret_steal<pybind11::object>(method);
}

}  // namespace flatstep::python
