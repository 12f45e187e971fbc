// Slots: parameters as a program gives them to an updater, and what may be wrong with their memory.
#pragma once

#include <flatstep/configuration/settings.hpp>
#include <flatstep/configuration/validate.hpp>
#include <flatstep/parameter_memory.hpp>
#include <flatstep/plan/layout.hpp>
#include <flatstep/text.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace flatstep {

/// A parameter as the caller has it: key, memory, shape (empty: one dimension).
template <class T>
struct Slot {
  std::string key;
  ParameterMemory<T> parameters;
  std::vector<std::size_t> shape{};
  bool column_major = false;
};

/// A slot whose layer and parameter type are given apart, where a key's text could be split in two
/// ways.
template <class T>
struct NamedSlot {
  SlotName name;
  ParameterMemory<T> parameters;
  std::vector<std::size_t> shape;
  bool column_major = false;
};

namespace detail {

template <class T>
std::vector<NamedSlot<T>> named_slots(std::vector<Slot<T>> slots, KeyStyle style) {
  std::vector<NamedSlot<T>> named;
  for (Slot<T>& slot : slots) {
    SlotName name = parse_key(std::move(slot.key), style);
    if (style == KeyStyle::multi_layer) check_layer_index(name);
    named.push_back({std::move(name), slot.parameters, std::move(slot.shape), slot.column_major});
  }
  return named;
}

/// That there is memory for what each shape says, and that no two parameters overlap.
template <class T>
void check_memory(const std::vector<NamedSlot<T>>& slots) {
  struct Range {
    const char* begin;
    const char* end;
    const std::string* key;
  };
  std::vector<Range> ranges;
  for (const NamedSlot<T>& slot : slots) {
    std::size_t size = 1;
    bool fits = true;
    for (const std::size_t extent : slot.shape) {
      fits = fits && (extent == 0 || size <= std::numeric_limits<std::size_t>::max() / extent);
      size *= extent;
    }
    if (!fits) {
      throw std::invalid_argument("\"" + slot.name.key + "\": expected a shape of fewer elements");
    }
    if (size != slot.parameters.size()) {
      throw std::invalid_argument("\"" + slot.name.key + "\": expected " + std::to_string(size) +
                                  " elements, as its shape says, got " +
                                  std::to_string(slot.parameters.size()));
    }
    if (slot.parameters.empty()) continue;
    const auto* const begin = static_cast<const char*>(slot.parameters.data());
    ranges.push_back({begin, begin + slot.parameters.bytes(), &slot.name.key});
  }
  std::ranges::sort(ranges, std::less<>{}, &Range::begin);
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    if (!std::less<>{}(ranges[i].begin, ranges[i - 1].end)) continue;
    throw std::invalid_argument(
        "parameters \"" + *ranges[i].key + "\" and \"" + *ranges[i - 1].key +
        "\" overlap in memory; expected parameters that are apart: give one "
        "of them an array of its own (np.copy), or pass tied parameters "
        "once");
  }
}

/// That what is narrower than steps compute in has a master that can hold the rest.
template <class T>
void check_masters(const NetworkSettings& settings, const std::vector<NamedSlot<T>>& slots) {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const std::string where = "parameter " + text::quoted(slots[i].name.key);
    const SlotSettings& slot = settings.slots[i];
    if (sizeof(T) != sizeof(float) && slot.state_storage != StateStorage::full) {
      refuse(where, "state_storage: expected \"full\" for a float64 parameter, got " +
                        text::quoted(to_string(slot.state_storage)) +
                        "; use float32 parameters, or full storage");
    }
    const ElementType type = slots[i].parameters.type();
    if (type == ElementType::same) continue;
    const char* const name = type == ElementType::bfloat16 ? "bfloat16" : "float16";
    if (!slot.master) {
      refuse(where, std::string("master: expected ") +
                        (type == ElementType::bfloat16 ? "\"split\" or \"full\"" : "\"full\"") +
                        " for a " + name +
                        " parameter, whose steps are smaller than its last place, got none; choose "
                        "one in the configuration, or use float32 parameters");
    }
    if (type == ElementType::float16 && slot.master == Master::split) {
      refuse(where,
             "master: expected \"full\" for a float16 parameter, which is no half of a float32, "
             "got \"split\"; use bfloat16 parameters, or master=\"full\"");
    }
  }
}

/// That the caller's memory for the state is not that of parameters.
template <class T>
void check_apart(std::span<T> state_memory, const Layout& layout,
                 const std::vector<ParameterMemory<T>>& parameters) {
  const std::less<const void*> before;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto* const begin = static_cast<const char*>(parameters[i].data());
    if (before(begin, state_memory.data() + state_memory.size()) &&
        before(state_memory.data(), begin + parameters[i].bytes())) {
      throw std::invalid_argument("state_memory: expected memory of its own, got that of \"" +
                                  layout.slots[i].name.key + "\"; give it a buffer of " +
                                  std::to_string(state_memory.size()) + " elements");
    }
  }
}

}  // namespace detail
}  // namespace flatstep
