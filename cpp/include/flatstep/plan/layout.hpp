// The layout: slots in order, updater blocks, and the state arrays of each slot: what they are and
// where they lie in the state view.
#pragma once

#include <flatstep/configuration/registry.hpp>
#include <flatstep/configuration/settings.hpp>
#include <flatstep/kernels/storage_kernels.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flatstep {

/// A key is missing, unknown, or not of the form that the updater takes.
class InvalidKey : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// How a parameter's key names layer and parameter.
enum class KeyStyle {
  multi_layer,        ///< "0_W": split at the first '_', the layer an integer
  computation_graph,  ///< "fc_1_W": split at the last '_', the layer a vertex name
  layer,              ///< "W": one layer, no separator
};

/// Splits a key; throws InvalidKey.
inline SlotName parse_key(std::string key, KeyStyle style) {
  if (style == KeyStyle::layer) return {key, "0", key};
  const bool graph = style == KeyStyle::computation_graph;
  const std::size_t separator = graph ? key.rfind('_') : key.find('_');
  if (separator == std::string::npos) {
    throw InvalidKey(
        "Invalid key: " + std::string(graph ? "ComputationGraph" : "MultiLayerNetwork") +
        " Gradient key does not have layer separator: \"" + key + "\"");
  }
  std::string layer = key.substr(0, separator);
  std::string param = key.substr(separator + 1);
  if (param.empty() || layer.empty()) {
    throw InvalidKey("Invalid key: \"" + key +
                     "\": expected a layer, '_' and a parameter type, such as \"0_W\"");
  }
  return {std::move(key), std::move(layer), std::move(param)};
}

/// Checks that the layer of a MultiLayerUpdater's slot is an integer; throws InvalidKey.
inline void check_layer_index(const SlotName& name) {
  unsigned index = 0;
  const char* const end = name.layer.data() + name.layer.size();
  const auto [stop, error] = std::from_chars(name.layer.data(), end, index);
  const bool padded =
      name.layer.size() > 1 && name.layer.front() == '0';  // would be another's twin
  if (error != std::errc{} || stop != end || padded) {
    throw InvalidKey("Invalid key: \"" + name.key + "\": expected an integer layer, got \"" +
                     name.layer + "\"; a ComputationGraphUpdater takes any layer names");
  }
}

/// A state array of one slot: what its updater says of it, and where it lies.
struct StateArray {
  StateDescription description;
  double initial = 0.0;    ///< what every element starts at, unless that is the parameter
  std::size_t offset = 0;  ///< in the state view
  std::size_t size = 0;
  StateCode code = StateCode::none;
  std::size_t place = 0;   ///< in the numbers that are kept, or in the bytes where it has a code
  std::size_t scales = 0;  ///< place of its blocks' scales in the bytes, where its code has them
  std::vector<std::size_t> own_shape{};  ///< where its shape is StateShape::own
};

/// One parameter's range in the flat vector, and its state.
struct LayoutSlot {
  SlotName name;
  std::vector<std::size_t> shape;
  bool column_major = false;  ///< Fortran's order; only callbacks look at it
  std::size_t offset = 0;
  std::size_t size = 0;
  std::size_t layer = 0;  ///< place among the layers
  ElementType type = ElementType::same;
  std::optional<Master> master{};  ///< where `type` is another than steps compute in
  std::size_t master_place = 0;    ///< in the numbers that are kept; split: in the bytes
  std::size_t first_block = 0;     ///< of codes, where it is a part of a slot
  std::vector<StateArray> state{};

  /// The shape of one of its state arrays.
  std::vector<std::size_t> state_shape(std::size_t array) const {
    const std::size_t rank = shape.size();
    switch (state[array].description.shape) {
      case StateShape::parameter:
        return shape;
      case StateShape::row:
        return {shape.begin() + (rank > 0 ? 1 : 0), shape.end()};
      case StateShape::column:
        return {shape.begin(), shape.end() - (rank > 0 ? 1 : 0)};
      case StateShape::own:
        return state[array].own_shape;
      case StateShape::number:
        break;
    }
    return {};
  }
};

/// DL4J's updater block: neighbouring slots with equal updaters.
struct UpdaterBlock {
  std::size_t slot_begin, slot_end;
  std::size_t param_start, param_end;
  std::size_t state_start, state_end;
};

struct Layout {
  std::vector<LayoutSlot> slots;
  std::vector<UpdaterBlock> blocks;
  std::size_t size = 0;
  std::size_t state_size = 0;
  /// What is kept of state: numbers as steps compute with them, of which the first are the state view
  /// where nothing is coded, and bytes.
  std::size_t kept_numbers = 0;
  std::size_t kept_bytes = 0;
  bool has_codes = false;  ///< some state array is not kept as numbers
  bool is_narrow = false;  ///< that, or some parameter has another type

  /// All keys, for messages.
  std::string keys() const {
    constexpr std::size_t most = 12;
    std::string text;
    for (std::size_t i = 0; i < std::min(slots.size(), most); ++i) {
      text += (i ? ", \"" : "\"") + slots[i].name.key + '"';
    }
    if (slots.size() > most) text += ", … (" + std::to_string(slots.size()) + " in all)";
    return text;
  }
};

/// Checks what resolve() does not see: keys occur once and a layer's slots are neighbours.
inline void check_slot_order(std::span<const SlotName> names) {
  if (names.empty()) {
    throw std::invalid_argument("params: expected at least one parameter, got none");
  }
  std::unordered_set<std::string_view> keys;
  std::unordered_set<std::string_view> finished_layers;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!keys.insert(names[i].key).second) {
      throw InvalidKey("params: the key \"" + names[i].key + "\" occurs twice");
    }
    if (i > 0 && names[i].layer != names[i - 1].layer) {
      finished_layers.insert(names[i - 1].layer);
    }
    if (finished_layers.contains(names[i].layer)) {
      throw std::invalid_argument(
          "params: \"" + names[i].key + "\" stands apart from the other parameters of layer \"" +
          names[i].layer + "\"; the slots of one layer must be neighbours: reorder them");
    }
  }
}

namespace detail {

[[noreturn]] inline void refuse_size(const LayoutSlot& slot) {
  throw std::length_error("parameter \"" + slot.name.key +
                          "\": expected fewer elements and state arrays: with it the network has "
                          "more than an address can count");
}

/// The elements of one of a slot's state arrays.
inline std::size_t state_array_size(const LayoutSlot& slot, std::size_t array) {
  const std::vector<std::size_t> shape = slot.state_shape(array);
  if (std::ranges::count(shape, std::size_t{0}) != 0) return 0;
  std::size_t size = 1;
  for (const std::size_t extent : shape) {
    if (size > std::numeric_limits<std::size_t>::max() / extent) refuse_size(slot);
    size *= extent;
  }
  return size;
}

/// total += size, of a slot.
inline void add_size(std::size_t& total, std::size_t size, const LayoutSlot& slot) {
  if (size > std::numeric_limits<std::size_t>::max() - total) refuse_size(slot);
  total += size;
}

/// What each of an updater's state arrays starts at.
inline std::vector<double> initial_values(const UpdaterConfiguration& updater,
                                          const OrderRules& rules) {
  const UpdaterInfo& info = *updater.kind;
  std::vector<double> initial(info.state.size(), 0.0);
  if (!info.initial_state) return initial;
  std::vector<double> values;
  for (const Schedule& value : updater.values) values.push_back(value.at(0, 0));
  for (std::size_t a = 0; a < initial.size(); ++a) {
    initial[a] = info.initial_state(a, values.data(), rules);
  }
  return initial;
}

/// The code of a state array, as its slot's settings and its updater say.
inline StateCode code_of(const SlotSettings& slot, const StateDescription& array) {
  if (slot.state_storage == StateStorage::full || !array.may_be_coded()) return StateCode::none;
  return state_code(slot.state_storage == StateStorage::bits_16 ? 16 : 8, array.never_negative,
                    array.keeps_maximum);
}

/// Where what is kept of a network's state lies: each in a place of its own, codes and scales at
/// multiples of 64 bytes.
inline void place_state(Layout& layout, const NetworkSettings& settings) {
  layout.kept_numbers = layout.kept_bytes = 0;
  const auto take_bytes = [&](std::size_t size, const LayoutSlot& slot) {
    const std::size_t place = layout.kept_bytes;
    add_size(layout.kept_bytes, size, slot);
    add_size(layout.kept_bytes, (64 - layout.kept_bytes % 64) % 64, slot);
    return place;
  };
  const auto take_numbers = [&](std::size_t size, const LayoutSlot& slot) {
    const std::size_t place = layout.kept_numbers;
    add_size(layout.kept_numbers, size, slot);
    return place;
  };
  for (std::size_t i = 0; i < layout.slots.size(); ++i) {
    for (StateArray& array : layout.slots[i].state) {
      array.code = code_of(settings.slots[i], array.description);
      layout.has_codes = layout.has_codes || array.code != StateCode::none;
    }
    layout.is_narrow = layout.is_narrow || layout.slots[i].type != ElementType::same;
  }
  layout.is_narrow = layout.is_narrow || layout.has_codes;
  if (!layout.has_codes) layout.kept_numbers = layout.state_size;
  for (LayoutSlot& slot : layout.slots) {
    for (StateArray& array : slot.state) {
      if (array.code == StateCode::none) {
        array.place = layout.has_codes ? take_numbers(array.size, slot) : array.offset;
        continue;
      }
      array.place = take_bytes(array.size * bytes_of(array.code), slot);
      if (!has_scales(array.code)) continue;
      array.scales = take_bytes(blocks_of(array.size) * sizeof(float), slot);
    }
    if (slot.type == ElementType::same) continue;
    slot.master_place = slot.master == Master::split
                            ? take_bytes(slot.size * sizeof(std::uint16_t), slot)
                            : take_numbers(slot.size, slot);
  }
}

}  // namespace detail

/// Lays out slots (name, shape, size, type and master given) and their state.
///
/// dl4j-1.0: block by block, within a block the first state array of all its slots, then the
/// second; a block ends where the updater changes, between what learns in pretraining only and any
/// other slot, and between two such slots of different layers. dl4j-0.8: every slot is a block of its
/// own.
/// @throws std::length_error where the sizes add up to more than a std::size_t.
inline Layout make_layout(std::vector<LayoutSlot> slots, const NetworkSettings& settings) {
  Layout layout;
  layout.slots = std::move(slots);
  for (std::size_t i = 0; i < layout.slots.size(); ++i) {
    LayoutSlot& slot = layout.slots[i];
    slot.layer = settings.slots[i].layer;
    slot.offset = layout.size;
    detail::add_size(layout.size, slot.size, slot);
  }
  const auto same_block = [&](const SlotSettings& a, const SlotSettings& b) {
    if (!settings.rules().state_in_blocks || !(a.updater == b.updater)) return false;
    return !(a.pretrain_only || b.pretrain_only) ||
           (a.pretrain_only && b.pretrain_only && a.layer == b.layer);
  };
  for (std::size_t begin = 0; begin < layout.slots.size();) {
    std::size_t end = begin + 1;
    while (end < layout.slots.size() && same_block(settings.slots[end - 1], settings.slots[end])) {
      ++end;
    }
    const LayoutSlot& last = layout.slots[end - 1];
    UpdaterBlock block{begin,
                       end,
                       layout.slots[begin].offset,
                       last.offset + last.size,
                       layout.state_size,
                       layout.state_size};
    const UpdaterConfiguration& updater = settings.slots[begin].updater;
    const std::vector<double> initial = detail::initial_values(updater, settings.rules());
    for (std::size_t a = 0; a < initial.size(); ++a) {
      for (std::size_t i = begin; i < end; ++i) {
        LayoutSlot& slot = layout.slots[i];
        slot.state.push_back({updater.kind->state[a], initial[a], block.state_end, 0});
        if (updater.kind->state[a].shape == StateShape::own) {
          slot.state.back().own_shape = updater.kind->own_shape(a, slot.shape);
        }
        slot.state.back().size = detail::state_array_size(slot, a);
        detail::add_size(block.state_end, slot.state.back().size, slot);
      }
    }
    layout.state_size = block.state_end;
    layout.blocks.push_back(block);
    begin = end;
  }
  detail::place_state(layout, settings);
  return layout;
}

}  // namespace flatstep
