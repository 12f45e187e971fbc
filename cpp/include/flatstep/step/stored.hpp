// Stored: parameters and state as they are kept, and the way from there to the numbers that steps
// compute with, and back.
#pragma once

#include <flatstep/kernels/dispatch.hpp>
#include <flatstep/parameter_memory.hpp>
#include <flatstep/plan/layout.hpp>
#include <flatstep/state.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

/// A state array: numbers, or codes.
template <class T>
struct StoredArray {
  StateCode code = StateCode::none;
  T* numbers = nullptr;
  std::byte* codes = nullptr;
  float* scales = nullptr;
  std::size_t first_block = 0;  ///< the number of its first one in the whole slot

  /// Those of the block that begins there; nullptr where there are none.
  float* scales_of(std::size_t offset) const {
    return scales == nullptr ? nullptr : scales + offset / code_block;
  }
};

/// A slot's parameter and state.
template <class T>
struct StoredSlot {
  void* parameter = nullptr;
  ElementType type = ElementType::same;
  /// The parameter as numbers: itself, or its master; nullptr where that is split.
  T* numbers = nullptr;
  std::uint16_t* lower = nullptr;  ///< the lower halves, where it is split
  std::vector<StoredArray<T>> state{};

  bool is_split() const { return lower != nullptr; }
  bool is_narrow() const {
    return type != ElementType::same || std::ranges::any_of(state, [](const auto& array) {
             return array.code != StateCode::none;
           });
  }
};

template <class T>
std::vector<StoredSlot<T>> stored_slots(const Layout& layout,
                                        std::span<const ParameterMemory<T>> parameters,
                                        const StateMemory<T>& memory) {
  std::vector<StoredSlot<T>> stored(layout.slots.size());
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const LayoutSlot& slot = layout.slots[i];
    StoredSlot<T>& s = stored[i];
    s.parameter = parameters[i].data();
    s.type = slot.type;
    if (slot.type == ElementType::same) {
      s.numbers = static_cast<T*>(s.parameter);
    } else if (slot.master == Master::split) {
      s.lower = reinterpret_cast<std::uint16_t*>(memory.bytes.data() + slot.master_place);
    } else {
      s.numbers = memory.numbers.data() + slot.master_place;
    }
    for (const StateArray& array : slot.state) {
      StoredArray<T> a;
      a.code = array.code;
      a.first_block = slot.first_block;
      if (array.code == StateCode::none) {
        a.numbers = memory.numbers.data() + array.place;
      } else {
        a.codes = memory.bytes.data() + array.place;
        if (has_scales(array.code)) {
          a.scales = reinterpret_cast<float*>(memory.bytes.data() + array.scales);
        }
      }
      s.state.push_back(a);
    }
  }
  return stored;
}

/// A stretch of a parameter as numbers.
template <class T>
void read_parameter(const KernelTable<T>& kernels, const StoredSlot<T>& slot, std::size_t offset,
                    std::size_t size, T* to) {
  if (slot.numbers != nullptr) {
    std::copy_n(slot.numbers + offset, size, to);
    return;
  }
  if constexpr (std::is_same_v<T, float>) {
    kernels.storage.join(static_cast<const std::uint16_t*>(slot.parameter) + offset,
                         slot.lower + offset, to, size);
  }
}

/// Numbers, which are its master where that is full, become a stretch of a parameter of another type.
template <class T>
void write_parameter(const KernelTable<T>& kernels, const StoredSlot<T>& slot, std::size_t offset,
                     std::size_t size, const T* from) {
  if constexpr (std::is_same_v<T, float>) {
    auto* const elements = static_cast<std::uint16_t*>(slot.parameter) + offset;
    if (slot.is_split()) {
      kernels.storage.split(from, elements, slot.lower + offset, size);
    } else {
      kernels.elements.narrow(slot.type, from, elements, size);
    }
  }
}

/// A stretch of a state array as numbers, and numbers as such a stretch, from a block's beginning on.
template <class T>
void read_state(const KernelTable<T>& kernels, const StoredArray<T>& array, std::size_t offset,
                std::size_t size, T* to) {
  if (array.code == StateCode::none) {
    std::copy_n(array.numbers + offset, size, to);
    return;
  }
  if constexpr (std::is_same_v<T, float>) {
    const std::size_t code = static_cast<std::size_t>(array.code);
    kernels.storage.codes[code].decode(array.codes + offset * bytes_of(array.code),
                                       array.scales_of(offset), to, size);
  }
}
template <class T>
void write_state(const KernelTable<T>& kernels, const StoredArray<T>& array, std::size_t offset,
                 std::size_t size, const T* from, const Dither& dither) {
  if (array.code == StateCode::none) {
    std::copy_n(from, size, array.numbers + offset);
    return;
  }
  if constexpr (std::is_same_v<T, float>) {
    const std::size_t code = static_cast<std::size_t>(array.code);
    kernels.storage.codes[code].encode(from, array.codes + offset * bytes_of(array.code),
                                       array.scales_of(offset), size, dither,
                                       array.first_block + offset / code_block);
  }
}

/// Where a parameter of another type is not what its full master rounds to, it becomes the master.
template <class T>
void adopt_parameter(const KernelTable<T>& kernels, const StoredSlot<T>& slot, std::size_t size) {
  if constexpr (std::is_same_v<T, float>) {
    if (slot.type == ElementType::same || slot.is_split()) return;
    constexpr std::size_t most = 1024;
    const auto* const elements = static_cast<const std::uint16_t*>(slot.parameter);
    std::uint16_t rounded[most];
    float given[most];
    for (std::size_t at = 0; at < size; at += most) {
      const std::size_t n = std::min(most, size - at);
      kernels.elements.narrow(slot.type, slot.numbers + at, rounded, n);
      kernels.elements.widen(slot.type, elements + at, given, n);
      for (std::size_t k = 0; k < n; ++k) {
        if (elements[at + k] != rounded[k]) slot.numbers[at + k] = given[k];
      }
    }
  }
}

/// Sets masters, averages and every state array to what they start at.
template <class T>
void initialize_stored(const Layout& layout, const NetworkSettings& settings,
                       std::span<const StoredSlot<T>> stored, std::span<T> averages) {
  const FlushSubnormals flush;
  const KernelTable<T>& kernels = active_target().kernels<T>();
  constexpr std::size_t most = 64 * code_block;  // memory is short where codes are asked for
  std::vector<T> numbers;
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const LayoutSlot& slot = layout.slots[i];
    const StoredSlot<T>& s = stored[i];
    if (s.is_split()) {
      std::fill_n(s.lower, slot.size, std::uint16_t{0});
    } else if (s.type != ElementType::same) {
      kernels.elements.widen(s.type, s.parameter, s.numbers, slot.size);
    }
    if (!averages.empty()) {
      read_parameter(kernels, s, 0, slot.size, averages.data() + slot.offset);
    }
    for (std::size_t a = 0; a < s.state.size(); ++a) {
      const StateArray& array = slot.state[a];
      if (array.description.start == StateStart::parameter) {
        read_parameter(kernels, s, 0, array.size, s.state[a].numbers);
      } else if (array.code == StateCode::none) {
        std::fill_n(s.state[a].numbers, array.size, static_cast<T>(array.initial));
      } else {
        numbers.assign(std::min(most, array.size), static_cast<T>(array.initial));
        const Dither dither(settings.storage_seed, 0, i, a);
        for (std::size_t at = 0; at < array.size; at += most) {
          write_state(kernels, s.state[a], at, std::min(most, array.size - at), numbers.data(),
                      dither);
        }
      }
    }
  }
}

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
