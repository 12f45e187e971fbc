#include "gradients.hpp"

#include "interpreter.hpp"
#include "values.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <utility>

namespace py = pybind11;

namespace flatstep::python {
namespace {

/// Any accepted form of gradients as one object per slot; errors of keys come from there.
std::vector<py::object> in_slot_order(py::handle self, py::handle gradients, Taking taking) {
  static PyObject* const method = interned("_in_slot_order");
  PyObject* const arguments[] = {self.ptr(), gradients.ptr(),
                                 taking == Taking::writes ? Py_False : Py_True,
                                 taking == Taking::copies ? Py_True : Py_False};
  return call_method(method, arguments, 4).cast<std::vector<py::object>>();
}

constexpr const char* own_gradients = "expected gradients of their own (np.copy)";

}  // namespace

template <class T>
Gradients<T>::Gradients(SlotForms slots, const Layout& layout, const NetworkSettings& settings,
                        std::span<const ParameterMemory<T>> parameters, bool keeps_alive)
    : slots_(std::move(slots)),
      layout_(layout),
      keeps_alive_(keeps_alive),
      pointers_(parameters.size(), nullptr),
      types_(parameters.size(), ElementType::same),
      apart_(parameters.size(), nullptr) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    frozen_.push_back(settings.slots[i].frozen);
    parameters_.push_back(parameters[i].data());
    if (!parameters[i].empty()) {
      forbidden_.push_back({static_cast<const char*>(parameters[i].data()), parameters[i].bytes(),
                            i, "parameter",
                            "a step changes the parameters while it reads the gradients"});
    }
  }
  std::ranges::sort(forbidden_, {}, &Range::begin);
}

template <class T>
void Gradients<T>::take(py::handle self, py::handle gradients, Taking taking) {
  take_given(self, gradients, taking);
  taken_ = pointers_;
  taken_types_ = has_types_ ? std::span<const ElementType>(types_) : std::span<const ElementType>{};
}

template <class T>
void Gradients<T>::take_given(py::handle self, py::handle gradients, Taking taking) {
  const bool copies = taking == Taking::copies;
  const bool written = taking == Taking::writes;
  if (!copies && PyDict_CheckExact(gradients.ptr()) && take_dict(gradients.ptr(), written)) return;
  kept_ = in_slot_order(self, gradients, taking);
  for (std::size_t i = 0; i < kept_.size(); ++i) take_array(i, kept_[i], written);
  if (written) require_lasting(self, gradients);
}

template <class T>
bool Gradients<T>::take_bound(bool written) {
  if (bound_.empty()) return false;
  taken_ = bound_;
  taken_types_ = bound_types_;
  if (!written && TakenArray::are_as_taken(bound_as_taken_)) return true;
  for (std::size_t k = 0; k < bound_as_taken_.size(); ++k) {
    const ArrayForm& form = slots_.forms[bound_slots_[k]];
    const std::string change = bound_as_taken_[k].change_of(form, written);
    if (change.empty()) continue;
    throw py::value_error("gradient \"" + form.key +
                          "\": expected the bound array as it was when it was bound, got " +
                          change + "; call bind_gradients again");
  }
  return true;
}

template <class T>
void Gradients<T>::bind(py::handle self, py::handle gradients) {
  // Temporaries would be all that is bound: as where updates are written.
  std::vector<py::object> arrays = in_slot_order(self, gradients, Taking::writes);
  std::vector<TakenArray> as_taken;
  std::vector<std::size_t> slots;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    take_array(i, arrays[i], false);
    if (pointers_[i] == nullptr) continue;
    as_taken.emplace_back(arrays[i]);
    slots.push_back(i);
  }
  std::vector<T*> bound = pointers_;
  std::vector<ElementType> types;
  if (has_types_) types = types_;
  bound_.swap(bound);
  bound_types_.swap(types);
  bound_as_taken_.swap(as_taken);
  bound_slots_.swap(slots);
  bound_arrays_.swap(arrays);  // the old ones go last: that may run Python
}

template <class T>
void Gradients<T>::unbind() {
  std::vector<py::object> arrays;
  bound_.clear();
  bound_as_taken_.clear();
  bound_slots_.clear();
  bound_arrays_.swap(arrays);
}

template <class T>
void Gradients<T>::forbid(std::span<const std::byte> memory, const char* what, const char* why) {
  if (memory.empty()) return;
  forbidden_.push_back(
      {reinterpret_cast<const char*>(memory.data()), memory.size(), no_slot, what, why});
  std::ranges::sort(forbidden_, {}, &Range::begin);
  std::ranges::fill(apart_, nullptr);  // something else may have lain there
}

/// A dict of arrays by key: no lookup where the keys are ours and in order. False where it is
/// anything else, or not complete.
template <class T>
bool Gradients<T>::take_dict(PyObject* gradients, bool written) {
  const std::size_t count = slots_.keys.size();
  std::size_t i = 0;
  Py_ssize_t position = 0;
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  for (; i < count && PyDict_Next(gradients, &position, &key, &value); ++i) {
    if (key != slots_.keys[i].ptr() || !is_plain_array(value)) break;
    if (keeps_alive_) kept_.push_back(py::reinterpret_borrow<py::object>(value));
    take_array(i, value, written);
  }
  if (i == count) return count == static_cast<std::size_t>(PyDict_GET_SIZE(gradients));

  // To look up a key may run Python, of a key's class, which may do with the dict and its arrays
  // what it likes: hold on to all of them first, look at them last.
  kept_.clear();
  std::size_t found = 0;
  for (i = 0; i < count; ++i) {
    value = PyDict_GetItemWithError(gradients, slots_.keys[i].ptr());
    if (value == nullptr) {
      if (PyErr_Occurred() != nullptr) throw py::error_already_set();
      if (!frozen_[i]) return false;
      kept_.push_back(py::none());
      continue;
    }
    ++found;
    kept_.push_back(py::reinterpret_borrow<py::object>(value));
    if (!(value == Py_None && frozen_[i]) && !is_array(value)) return false;
  }
  if (found != static_cast<std::size_t>(PyDict_GET_SIZE(gradients))) return false;
  for (i = 0; i < count; ++i) take_array(i, kept_[i], written);
  return true;
}

template <class T>
void Gradients<T>::take_array(std::size_t i, py::handle value, bool written) {
  if (i == 0) has_types_ = false;
  pointers_[i] = nullptr;
  types_[i] = ElementType::same;
  if (value.is_none()) return;
  T* const memory = gradient_memory<T>(value, slots_.forms[i], written, types_[i]);
  has_types_ = has_types_ || types_[i] != ElementType::same;
  // Usually where the last one was. What is written is checked against all others: require_apart.
  if (!written && memory != apart_[i]) {
    require_apart_from_forbidden(i, memory);
    apart_[i] = memory;
  }
  pointers_[i] = memory;
}

/// That a mapping gives the same arrays again: an update written into a temporary would be lost.
template <class T>
void Gradients<T>::require_lasting(py::handle self, py::handle gradients) {
  std::vector<py::object> again = in_slot_order(self, gradients, Taking::writes);
  for (std::size_t i = 0; i < again.size(); ++i) {
    if (pointers_[i] == nullptr ||
        gradient_memory<T>(again[i], slots_.forms[i], true, types_[i]) == pointers_[i]) {
      continue;
    }
    throw py::type_error("gradient \"" + slots_.forms[i].key +
                         "\": expected an array that the mapping keeps, got a new one at each "
                         "access; update() would write into a temporary: give it a dict (dict(…))");
  }
  kept_.swap(again);  // Python has run since the first ones were looked at
}

/// A step changes parameters and state while it reads gradients: these may share memory with none
/// but their own parameter, element for element.
template <class T>
void Gradients<T>::require_apart_from_forbidden(std::size_t i, const T* memory) const {
  const Range own = range_of(i, memory, types_[i]);
  if (own.size == 0 || memory == parameters_[i]) return;
  const auto found =
      std::upper_bound(forbidden_.begin(), forbidden_.end(), own.begin,
                       [](const char* begin, const Range& range) { return begin < range.end(); });
  if (found == forbidden_.end() || found->begin >= own.end()) return;
  refuse_overlap(own, *found, found->why + std::string(": ") + own_gradients);
}

template <class T>
Gradients<T>::Range Gradients<T>::range_of(std::size_t i, const T* memory, ElementType type) const {
  return {reinterpret_cast<const char*>(memory), layout_.slots[i].size * bytes_of(type, sizeof(T)),
          i, "gradient", ""};
}

template <class T>
void Gradients<T>::require_apart() {
  ranges_ = forbidden_;
  for (std::size_t i = 0; i < taken_.size(); ++i) {
    if (layout_.slots[i].size == 0 || taken_[i] == nullptr) continue;
    const ElementType type = taken_types_.empty() ? ElementType::same : taken_types_[i];
    ranges_.push_back(range_of(i, taken_[i], type));
  }
  std::ranges::sort(ranges_, {}, &Range::begin);
  for (std::size_t k = 1; k < ranges_.size(); ++k) {
    const Range& a = ranges_[k - 1];
    const Range& b = ranges_[k];
    if (b.begin < a.end()) {
      refuse_overlap(a, b,
                     "update() writes into the gradients: expected arrays of their own (np.copy)");
    }
  }
}

template <class T>
void Gradients<T>::refuse_overlap(const Range& a, const Range& b, const std::string& why) const {
  throw py::value_error(name_of(a) + " and " + name_of(b) + " overlap in memory; " + why);
}

template <class T>
std::string Gradients<T>::name_of(const Range& range) const {
  if (range.slot == no_slot) return range.what;
  return std::string(range.what) + " \"" + slots_.forms[range.slot].key + '"';
}

template class Gradients<float>;
template class Gradients<double>;

}  // namespace flatstep::python
