// NumPy arrays at the border: what is taken as it is, and what is refused by name.
#pragma once

#include <pybind11/numpy.h>

#include <flatstep/parameter_memory.hpp>

#include <cstddef>
#include <span>
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

/// An array as it was when its memory was taken. Python may change it in place: resize it, set its
/// shape, flags or state; then the memory is not what it was, or not there any more.
class TakenArray {
 public:
  explicit TakenArray(pybind11::handle array);

  /// Surely where and as large as it was. The other answer calls for change_of, which knows more than
  /// two dimensions.
  bool is_as_taken() const {
    const auto* const now = pybind11::detail::array_proxy(array_);
    return now->data == data_ && now->nd == dimensions_ && now->flags == flags_ &&
           now->dimensions[0] == extents_[0] && now->dimensions[1] == extents_[1];
  }
  static bool are_as_taken(std::span<const TakenArray> arrays) {
    for (const TakenArray& array : arrays) {
      if (!array.is_as_taken()) return false;
    }
    return true;
  }

  /// What is not as it was, as an error says it; empty where the memory serves as it did.
  std::string change_of(const ArrayForm& form, bool written) const;

 private:
  PyObject* array_;
  const char* data_;
  PyObject* descriptor_;
  int dimensions_;  ///< one or two, and -1 for any other number
  int flags_;
  pybind11::ssize_t extents_[2];  ///< of one dimension: its extent and its stride
};

/// The memory of an array that is a parameter: NumPy, of dtype T or of one that a float32 updater
/// takes with a master, contiguous, writable.
/// @throws TypeError, ValueError
template <class T>
ParameterMemory<T> parameter_memory(pybind11::handle array, const std::string& key);

/// Its form, to which gradients must conform.
ArrayForm form_of(pybind11::handle array, std::string key);

/// The memory of a gradient: of its parameter's dtype, shape and memory order.
/// @throws TypeError, ValueError
template <class T>
T* gradient_memory(pybind11::handle array, const ArrayForm& form, bool written);

/// The same of any dtype that gradients of T may have; of which type its elements are then.
template <class T>
T* gradient_memory(pybind11::handle array, const ArrayForm& form, bool written, ElementType& type);

/// The memory of an array of that form and of dtype T; null where it is anything else.
template <class T>
T* memory_of(pybind11::handle array, const ArrayForm& form);

/// The same of a shape and order.
template <class T>
T* memory_of(pybind11::handle array, std::span<const std::size_t> shape, bool column_major);

/// An array on memory that `owner` keeps alive.
template <class T>
pybind11::array view(T* memory, const ArrayForm& form, pybind11::handle owner);

/// Whether the parameters' dtype is float64; any but that, float32, bfloat16 and float16 is a
/// TypeError.
bool is_float64(pybind11::handle array, const std::string& key);

/// An array of NumPy's own class.
inline bool is_plain_array(pybind11::handle object) {
  return Py_TYPE(object.ptr()) == pybind11::detail::npy_api::get().PyArray_Type_;
}
/// Any array but a masked one.
bool is_array(pybind11::handle object);

}  // namespace flatstep::python
