// Shares: which elements of a network each of several engines takes, and what it then has of layout
// and state.
//
// Slots of one kind, that is with equally many state arrays, are shared out like one long vector: each
// part takes neighbouring chunks, about equally many elements. So every part has its share of the
// gradients, and of the state, whatever updaters a network mixes; and of a network with one kind of
// slots it has one stretch of the flat view. A callback's slots are not cut, as it may do what it
// likes with a whole array; a frozen slot's elements have state to be kept, but nothing to do.
#pragma once

#include <flatstep/configuration/settings.hpp>
#include <flatstep/kernels/sum_of_squares.hpp>
#include <flatstep/plan/layout.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

namespace flatstep {

/// Which part of a network an engine takes, where several share one. By itself it takes all.
struct Share {
  std::size_t part = 0;
  std::size_t parts = 1;
};

/// The elements of one slot that a part takes: from a chunk's border on; none where size is 0.
struct Piece {
  std::size_t begin = 0;
  std::size_t size = 0;
  std::size_t whole = 0;  ///< the elements of the slot

  /// An empty slot is everybody's.
  bool is_whole() const { return size == whole; }
  friend bool operator==(const Piece&, const Piece&) = default;
};

/// Neighbouring chunks of one part, which travel together: in one message, or in as many as there are
/// places in memory.
struct Bucket {
  struct Stretch {
    std::size_t slot;
    std::size_t begin;  ///< in the whole slot
    std::size_t size;
  };
  std::vector<Stretch> stretches;
  std::size_t size = 0;
};

namespace detail {

/// Where a part ends, were there no chunks to be kept whole.
inline std::size_t end_of_part(std::size_t size, std::size_t part, std::size_t parts) {
  return size / parts * (part + 1) + size % parts * (part + 1) / parts;
}

/// Shares out the slots at these places like one vector; pieces[part][place] are theirs.
inline void share_out_kind(const Layout& layout, const std::vector<std::size_t>& places,
                           bool by_slot, std::vector<std::vector<Piece>>& pieces) {
  const std::size_t parts = pieces.size();
  std::size_t size = 0;
  for (const std::size_t i : places) size += layout.slots[i].size;
  std::size_t part = 0;
  std::size_t before = 0;  // elements of this kind
  for (const std::size_t i : places) {
    const std::size_t whole = layout.slots[i].size;
    const std::size_t grain = by_slot ? std::max<std::size_t>(whole, 1) : chunk_size;
    for (std::size_t offset = 0; offset < whole; offset += grain) {
      const std::size_t taken = std::min(grain, whole - offset);
      // The part in which its middle lies.
      while (part + 1 < parts && before + taken / 2 > end_of_part(size, part, parts)) ++part;
      Piece& piece = pieces[part][i];
      if (piece.size == 0) piece.begin = offset;
      piece.size += taken;
      before += taken;
    }
  }
}

}  // namespace detail

/// What each of that many parts takes of every slot.
inline std::vector<std::vector<Piece>> share_out(const Layout& layout,
                                                 const NetworkSettings& settings,
                                                 std::size_t parts) {
  std::vector<Piece> none_of(layout.slots.size());
  using Kind = std::tuple<bool, bool, std::size_t>;  // frozen, a callback's, state arrays
  std::map<Kind, std::vector<std::size_t>> kinds;
  for (std::size_t i = 0; i < layout.slots.size(); ++i) {
    const SlotSettings& slot = settings.slots[i];
    none_of[i].whole = layout.slots[i].size;
    kinds[{slot.frozen, slot.updater.kind->is_callback(), layout.slots[i].state.size()}].push_back(
        i);
  }
  std::vector<std::vector<Piece>> pieces(parts, none_of);
  for (const auto& [kind, places] : kinds) {
    detail::share_out_kind(layout, places, std::get<1>(kind), pieces);
  }
  return pieces;
}

/// The layout of a part: every slot of the network's with the elements and the state that the part
/// has of it.
inline Layout layout_of_part(const Layout& whole, const std::vector<Piece>& pieces,
                             const NetworkSettings& settings) {
  Layout layout = whole;
  layout.size = 0;
  layout.state_size = 0;
  for (std::size_t i = 0; i < layout.slots.size(); ++i) {
    LayoutSlot& slot = layout.slots[i];
    slot.offset = layout.size;
    slot.size = pieces[i].size;
    slot.first_block = pieces[i].begin / code_block;
    if (!pieces[i].is_whole()) slot.shape = {slot.size};
    layout.size += slot.size;
  }
  for (UpdaterBlock& block : layout.blocks) {
    block.param_start = layout.slots[block.slot_begin].offset;
    block.param_end =
        layout.slots[block.slot_end - 1].offset + layout.slots[block.slot_end - 1].size;
    block.state_start = layout.state_size;
    const std::size_t arrays = layout.slots[block.slot_begin].state.size();
    for (std::size_t a = 0; a < arrays; ++a) {
      for (std::size_t i = block.slot_begin; i < block.slot_end; ++i) {
        StateArray& array = layout.slots[i].state[a];
        array.offset = layout.state_size;
        if (!pieces[i].is_whole()) {
          array.size = settings.slots[i].updater.kind->is_callback() ? 0 : pieces[i].size;
        }
        layout.state_size += array.size;
      }
    }
    block.state_end = layout.state_size;
  }
  detail::place_state(layout, settings);
  return layout;
}

/// A part's chunks in buckets of at most so many elements, or of one chunk. Large slots have buckets of
/// their own: these lie in one place in memory, wherever the arrays are.
inline std::vector<Bucket> buckets_of_part(const std::vector<Piece>& pieces,
                                           const NetworkSettings& settings,
                                           std::size_t most_elements) {
  constexpr std::size_t parts_of_large = 2;  // such a part of a bucket is worth one of its own
  const std::size_t most = std::max(most_elements / chunk_size, std::size_t{1}) * chunk_size;
  std::vector<Bucket> buckets;
  bool is_open = false;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    if (settings.slots[i].frozen || piece.size == 0) continue;
    const bool is_large = piece.size >= most / parts_of_large;
    for (std::size_t taken = 0; taken < piece.size;) {
      const std::size_t size = std::min(most, piece.size - taken);
      if (!is_open || is_large || buckets.back().size + size > most) buckets.emplace_back();
      buckets.back().stretches.push_back({i, piece.begin + taken, size});
      buckets.back().size += size;
      is_open = !is_large;
      taken += size;
    }
  }
  return buckets;
}

}  // namespace flatstep
