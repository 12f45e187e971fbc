// NumPy arrays at the border: what is taken as it is, and what is refused by name.
#pragma once

#include <pybind11/numpy.h>

#include <cstddef>
#include <string>
#include <vector>

namespace flatstep::python {

/// What an array must be to stand for a parameter or its gradient.
struct ArrayForm {
  std::string key;
  std::vector<pybind11::ssize_t> shape;
  bool c_contiguous;
  bool f_contiguous;

  pybind11::ssize_t size() const {
    pybind11::ssize_t size = 1;
    for (const auto extent : shape) size *= extent;
    return size;
  }
};

/// The memory of an array that is a parameter: NumPy, of dtype T, contiguous, writable.
/// @throws TypeError, ValueError
template <class T>
T* parameter_memory(pybind11::handle array, const std::string& key);

/// Its form, to which gradients must conform.
ArrayForm form_of(pybind11::handle array, std::string key);

/// The memory of a gradient: of its parameter's dtype, shape and memory order.
/// @throws TypeError, ValueError
template <class T>
T* gradient_memory(pybind11::handle array, const ArrayForm& form, bool written);

/// An array on memory that `owner` keeps alive.
template <class T>
pybind11::array view(T* memory, const ArrayForm& form, pybind11::handle owner);

/// Whether the parameters' dtype is float64; any but float32 and float64 is a TypeError.
bool is_float64(pybind11::handle array, const std::string& key);

bool is_array(pybind11::handle object);

}  // namespace flatstep::python
