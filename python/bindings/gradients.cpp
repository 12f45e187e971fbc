#include "gradients.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <utility>

namespace py = pybind11;

namespace flatstep::python {
namespace {

/// Any accepted form of gradients as one object per slot; errors of keys come from there.
std::vector<py::object> in_slot_order(py::handle self, py::handle gradients) {
  return self.attr("_in_slot_order")(gradients).cast<std::vector<py::object>>();
}

}  // namespace

template <class T>
Gradients<T>::Gradients(SlotForms slots, const Layout& layout, const NetworkSettings& settings,
                        std::span<T* const> parameters, bool keeps_alive)
    : slots_(std::move(slots)),
      layout_(layout),
      parameters_(parameters.begin(), parameters.end()),
      keeps_alive_(keeps_alive),
      pointers_(parameters.size(), nullptr),
      apart_(parameters.size(), nullptr) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    frozen_.push_back(settings.slots[i].frozen);
    const std::size_t size = layout.slots[i].size;
    if (size > 0) parameter_ranges_.push_back({parameters[i], size, i, "parameter"});
  }
  std::ranges::sort(parameter_ranges_, {}, &Range::begin);
}

template <class T>
void Gradients<T>::take(py::handle self, py::handle gradients, bool written) {
  if (PyDict_CheckExact(gradients.ptr()) && take_dict(gradients.ptr(), written)) return;
  kept_ = in_slot_order(self, gradients);
  for (std::size_t i = 0; i < kept_.size(); ++i) take_array(i, kept_[i], written);
  if (written) require_lasting(self, gradients);
}

template <class T>
bool Gradients<T>::take_bound(bool written) {
  if (bound_.empty()) return false;
  pointers_ = bound_;
  if (written) {
    for (std::size_t i = 0; i < bound_.size(); ++i) take_array(i, bound_arrays_[i], true);
  }
  return true;
}

template <class T>
void Gradients<T>::take_own(std::span<T* const> memory) {
  std::ranges::copy(memory, pointers_.begin());
}

template <class T>
void Gradients<T>::bind(py::handle self, py::handle gradients) {
  std::vector<py::object> arrays = in_slot_order(self, gradients);
  for (std::size_t i = 0; i < arrays.size(); ++i) take_array(i, arrays[i], false);
  bound_ = pointers_;
  bound_arrays_ = std::move(arrays);
}

/// A dict of arrays by key: no lookup where the keys are ours and in order. False where it is
/// anything else, or not complete.
template <class T>
bool Gradients<T>::take_dict(PyObject* gradients, bool written) {
  const std::size_t count = slots_.keys.size();
  std::size_t found = 0;
  std::size_t i = 0;
  Py_ssize_t position = 0;
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  for (; i < count && PyDict_Next(gradients, &position, &key, &value); ++i) {
    if (key != slots_.keys[i].ptr() || !is_array(value)) break;
    if (keeps_alive_) kept_.push_back(py::reinterpret_borrow<py::object>(value));
    take_array(i, value, written);
    ++found;
  }
  for (; i < count; ++i) {
    value = PyDict_GetItemWithError(gradients, slots_.keys[i].ptr());
    if (value == nullptr) {
      if (PyErr_Occurred() != nullptr) throw py::error_already_set();
      if (!frozen_[i]) return false;
      pointers_[i] = nullptr;
      continue;
    }
    ++found;
    if (value == Py_None && frozen_[i]) {
      pointers_[i] = nullptr;
    } else if (is_array(value)) {
      if (keeps_alive_) kept_.push_back(py::reinterpret_borrow<py::object>(value));
      take_array(i, value, written);
    } else {
      return false;
    }
  }
  return found == static_cast<std::size_t>(PyDict_GET_SIZE(gradients));
}

template <class T>
void Gradients<T>::take_array(std::size_t i, py::handle value, bool written) {
  pointers_[i] = nullptr;
  if (value.is_none()) return;
  T* const memory = gradient_memory<T>(value, slots_.forms[i], written);
  // Usually where the last one was. What is written is checked against all others: require_apart.
  if (!written && memory != apart_[i]) {
    require_apart_from_parameters(i, memory);
    apart_[i] = memory;
  }
  pointers_[i] = memory;
}

/// That a mapping gives the same arrays again: an update written into a temporary would be lost.
template <class T>
void Gradients<T>::require_lasting(py::handle self, py::handle gradients) const {
  const std::vector<py::object> again = in_slot_order(self, gradients);
  for (std::size_t i = 0; i < again.size(); ++i) {
    if (pointers_[i] == nullptr ||
        gradient_memory<T>(again[i], slots_.forms[i], true) == pointers_[i]) {
      continue;
    }
    throw py::type_error("gradient \"" + slots_.forms[i].key +
                         "\": expected an array that the mapping keeps, got a new one at each "
                         "access; update() would write into a temporary: give it a dict (dict(…))");
  }
}

/// A step changes parameters while it reads gradients: these may share memory with none but their
/// own, element for element.
template <class T>
void Gradients<T>::require_apart_from_parameters(std::size_t i, const T* memory) const {
  const std::size_t size = layout_.slots[i].size;
  if (size == 0 || memory == parameters_[i]) return;
  const auto end_of = [](const Range& range) { return range.begin + range.size; };
  const auto found =
      std::upper_bound(parameter_ranges_.begin(), parameter_ranges_.end(), memory,
                       [&](const T* begin, const Range& range) { return begin < end_of(range); });
  if (found == parameter_ranges_.end() || found->begin >= memory + size) return;
  refuse_overlap({memory, size, i, "gradient"}, *found,
                 "a step changes the parameters while it reads the gradients: expected gradients "
                 "of their own (np.copy)");
}

template <class T>
void Gradients<T>::require_apart() {
  ranges_.clear();
  for (std::size_t i = 0; i < pointers_.size(); ++i) {
    const std::size_t size = layout_.slots[i].size;
    if (size == 0) continue;
    ranges_.push_back({parameters_[i], size, i, "parameter"});
    if (pointers_[i] != nullptr) ranges_.push_back({pointers_[i], size, i, "gradient"});
  }
  std::ranges::sort(ranges_, {}, &Range::begin);
  for (std::size_t k = 1; k < ranges_.size(); ++k) {
    const Range& a = ranges_[k - 1];
    const Range& b = ranges_[k];
    if (b.begin < a.begin + a.size) {
      refuse_overlap(a, b,
                     "update() writes into the gradients: expected arrays of their own (np.copy)");
    }
  }
}

template <class T>
void Gradients<T>::refuse_overlap(const Range& a, const Range& b, const std::string& why) const {
  throw py::value_error(std::string(a.what) + " \"" + slots_.forms[a.slot].key + "\" and " +
                        b.what + " \"" + slots_.forms[b.slot].key + "\" overlap in memory; " + why);
}

template class Gradients<float>;
template class Gradients<double>;

}  // namespace flatstep::python
