#include "shards.hpp"

#include "interpreter.hpp"
#include "values.hpp"

#include <pybind11/numpy.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>

namespace py = pybind11;

namespace flatstep::python {
namespace {

/// Calls Python while a step is under way. False where it raises; the error is then the thread's, to
/// be raised when the step has come back.
template <class Call>
bool call_back(const Call& call) {
  const Locked lock;
  ThreadEndsHere end;
  bool done = false;
  try {
    call();
    done = true;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::exception& error) {
    py::set_error(PyExc_RuntimeError, error.what());
  }
  end.returned();
  return done;
}

void call_method_of(py::handle hooks, PyObject* name, py::handle argument) {
  PyObject* const given[] = {hooks.ptr(), argument.ptr()};
  static_cast<void>(call_method(name, given, 2));
}

/// The thread's error, which is its no longer; None where there is none.
py::object taken_error() {
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  if (type == nullptr) return py::none();
  PyErr_NormalizeException(&type, &value, &trace);
  if (trace != nullptr) PyException_SetTraceback(value, trace);
  Py_XDECREF(type);
  Py_XDECREF(trace);
  return py::reinterpret_steal<py::object>(value);
}

}  // namespace

Ranks to_ranks(py::handle ranks) {
  Ranks made;
  if (ranks.is_none()) return made;
  made.share = {static_cast<std::size_t>(to_integer(ranks.attr("rank"), "rank", 0)),
                static_cast<std::size_t>(to_integer(ranks.attr("size"), "size", 1))};
  made.shards_state = to_flag(ranks.attr("shard"), "shard");
  made.bucket_bytes =
      static_cast<std::size_t>(to_integer(ranks.attr("bucket_bytes"), "bucket_bytes", 1));
  made.hooks = py::reinterpret_borrow<py::object>(ranks);
  return made;
}

Shared shared_of(const Ranks& ranks, std::size_t element_size) {
  Shared shared;
  if (!ranks.are_several()) return shared;
  const py::handle hooks = ranks.hooks;
  shared.agree = [hooks](bool yes) {
    return call_back([&] {
      const py::object error = yes ? py::none() : taken_error();
      static PyObject* const name = interned("agree");
      call_method_of(hooks, name, error);
    });
  };
  if (!ranks.shards_state) return shared;
  shared.share = ranks.share;
  shared.bucket_elements = std::max<std::size_t>(ranks.bucket_bytes / element_size, 1);
  shared.exchange = [hooks](std::span<double> sums) {
    return call_back([&] {
      const ArrayForm form{"", {static_cast<py::ssize_t>(sums.size())}, true, true};
      static PyObject* const name = interned("exchange");
      call_method_of(hooks, name, view(sums.data(), form, py::none()));
    });
  };
  shared.arrive = [hooks](std::size_t bucket) {
    return call_back([&] {
      static PyObject* const name = interned("arrive");
      call_method_of(hooks, name, py::int_(bucket));
    });
  };
  shared.leave = [hooks](std::size_t bucket) {
    call_back([&] {
      static PyObject* const name = interned("leave");
      call_method_of(hooks, name, py::int_(bucket));
    });
  };
  return shared;
}

}  // namespace flatstep::python
