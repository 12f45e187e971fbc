// Gradients: from whatever the caller gives to one pointer per slot, checked, and kept alive for the
// step.
//
// The usual way is short on purpose: keys are matched by identity first, and arrays are checked
// without temporaries. What is not a plain dict of arrays by key goes through the updater's method
// _in_slot_order, in Python.
#pragma once

#include "arrays.hpp"

#include <pybind11/pybind11.h>

#include <flatstep/configuration/settings.hpp>
#include <flatstep/plan/layout.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace flatstep::python {

/// The slots as Python knows them: the caller's own keys, to be matched by identity, and what an
/// array must be to stand for each.
struct SlotForms {
  std::vector<pybind11::object> keys;
  std::vector<ArrayForm> forms;
};

/// What is done with gradients that are taken.
enum class Taking {
  reads,
  writes,  ///< updates into them
  copies,  ///< reads, and those in another memory order are copied before
};

template <class T>
class Gradients {
 public:
  /// @param keeps_alive whether Python code, of this thread or another, may run during a step
  Gradients(SlotForms slots, const Layout& layout, const NetworkSettings& settings,
            std::span<const ParameterMemory<T>> parameters, bool keeps_alive);

  /// Takes what the caller gives. Where it is to be written, whatever is written must last.
  void take(pybind11::handle self, pybind11::handle gradients, Taking taking);
  /// Takes the arrays that are bound; false where none are.
  bool take_bound(bool written);
  /// Takes memory of our own.
  void take_own(std::span<T* const> memory) {
    taken_ = memory;
    taken_types_ = {};
  }
  void bind(pybind11::handle self, pybind11::handle gradients);
  /// Lets go of the arrays that are bound.
  void unbind();
  const std::vector<pybind11::object>& bound() const { return bound_arrays_; }
  /// From now on gradients may not lie in that memory, which the updater writes to.
  void forbid(std::span<const std::byte> memory, const char* what, const char* why);
  /// Throws where what is to be written overlaps with anything else.
  void require_apart();
  /// Lets go of the arrays that were kept alive for a step.
  void release() { kept_.clear(); }

  /// One per slot; null where a frozen one's is absent.
  std::span<T* const> pointers() const { return taken_; }
  /// Of which type each one's elements are; empty where all are T.
  std::span<const ElementType> types() const { return taken_types_; }
  const std::vector<pybind11::object>& keys() const { return slots_.keys; }
  const ArrayForm& form(std::size_t slot) const { return slots_.forms.at(slot); }

 private:
  /// Neighbouring bytes in memory, and whose they are.
  struct Range {
    const char* begin;
    std::size_t size;
    std::size_t slot;  ///< none where it is the whole updater's
    const char* what;
    const char* why;  ///< why gradients may not lie there

    const char* end() const { return begin + size; }
  };
  static constexpr std::size_t no_slot = static_cast<std::size_t>(-1);

  void take_given(pybind11::handle self, pybind11::handle gradients, Taking taking);
  bool take_dict(PyObject* gradients, bool written);
  void take_array(std::size_t slot, pybind11::handle value, bool written);
  void require_lasting(pybind11::handle self, pybind11::handle gradients);
  void require_apart_from_forbidden(std::size_t slot, const T* memory) const;
  Range range_of(std::size_t slot, const T* memory, ElementType type) const;
  [[noreturn]] void refuse_overlap(const Range& a, const Range& b, const std::string& why) const;
  std::string name_of(const Range& range) const;

  SlotForms slots_;
  const Layout& layout_;
  std::vector<const void*> parameters_;
  std::vector<bool> frozen_;
  bool keeps_alive_;
  std::span<T* const> taken_;                 ///< of the step under way
  std::span<const ElementType> taken_types_;  ///< likewise
  std::vector<T*> pointers_;                  ///< likewise, where they were given
  std::vector<ElementType> types_;            ///< likewise
  bool has_types_ = false;                    ///< whether any of them is not T
  std::vector<pybind11::object> kept_;        ///< likewise
  std::vector<const T*> apart_;   ///< what is known to be apart from the forbidden ranges
  std::vector<Range> forbidden_;  ///< in the order of their addresses
  std::vector<Range> ranges_;
  std::vector<T*> bound_;
  std::vector<ElementType> bound_types_;  ///< empty where all are T
  std::vector<pybind11::object> bound_arrays_;
  std::vector<TakenArray> bound_as_taken_;  ///< of the slots whose gradients are there
  std::vector<std::size_t> bound_slots_;    ///< which those are
};

extern template class Gradients<float>;
extern template class Gradients<double>;

}  // namespace flatstep::python
