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

template <class T>
void add_in_order_of(const std::vector<py::array>& arrays, T scale, const py::array& out) {
  constexpr std::size_t block_size = 2048;
  const auto size = static_cast<std::size_t>(out.size());
  T* const sum = static_cast<T*>(py::array(out).mutable_data());
  std::vector<const T*> terms;
  for (const py::array& array : arrays) terms.push_back(static_cast<const T*>(array.data()));
  for (std::size_t begin = 0; begin < size; begin += block_size) {
    const std::size_t end = std::min(begin + block_size, size);
    std::array<T, block_size> block;  // the sum may be one of the terms
    std::copy(terms[0] + begin, terms[0] + end, block.data());
    for (std::size_t k = 1; k < terms.size(); ++k) {
      const T* const term = terms[k] + begin;
      for (std::size_t i = 0; i < end - begin; ++i) block[i] += term[i];
    }
    if (scale != T{1}) {
      for (std::size_t i = 0; i < end - begin; ++i) block[i] *= scale;
    }
    std::copy_n(block.data(), end - begin, sum + begin);
  }
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

void add_in_order(const py::list& arrays, double scale, const py::array& out) {
  std::vector<py::array> terms;
  for (const py::handle array : arrays) terms.push_back(py::cast<py::array>(array));
  const auto fits = [&](const py::array& array) {
    return array.dtype().is(out.dtype()) && array.size() == out.size() && array.ndim() == 1 &&
           (array.flags() & py::array::c_style) != 0;
  };
  if (terms.empty() || !std::ranges::all_of(terms, fits) || !fits(out)) {
    throw py::value_error("add_in_order: expected contiguous arrays of one dtype and size");
  }
  if (out.dtype().is(py::dtype::of<float>())) {
    add_in_order_of<float>(terms, static_cast<float>(scale), out);
  } else if (out.dtype().is(py::dtype::of<double>())) {
    add_in_order_of<double>(terms, scale, out);
  } else {
    throw py::type_error("add_in_order: expected dtype float32 or float64");
  }
}

}  // namespace flatstep::python
