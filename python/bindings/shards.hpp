// Shards: what a process has of a network that it shares with others, as Python's transport between
// them sees it: pieces, buckets of them, and the memory that they lie in.
//
// The transport (flatstep.mpi) knows buckets by part and number and moves arrays. Where the elements
// of a bucket lie in one place in memory, their array is that memory; elsewhere they are copied.
#pragma once

#include "arrays.hpp"

#include <pybind11/pybind11.h>

#include <flatstep/multi_layer_updater.hpp>

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace flatstep::python {

/// How the updater of one process takes part, as the transport says it.
struct Ranks {
  Share share;               ///< of the gradients, and of the parameters' way back
  bool shards_state = true;  ///< else every process has all of it
  std::size_t bucket_bytes = 0;
  pybind11::object hooks;  ///< exchange, agree, arrive, leave; see flatstep.mpi

  bool are_several() const { return share.parts > 1; }
};

/// @param ranks None for an updater by itself
/// @throws TypeError, ValueError
Ranks to_ranks(pybind11::handle ranks);

/// What the core is told of the others. The hooks must outlive it.
/// @param element_size of the parameters' dtype
Shared shared_of(const Ranks& ranks, std::size_t element_size);

/// out = (((a + b) + c) + ...)·scale, each operation rounded, for any number of arrays of one size.
void add_in_order(const pybind11::list& arrays, double scale, const pybind11::array& out);

template <class T>
class Shards {
 public:
  Shards(const Ranks& ranks, const Layout& layout, const NetworkSettings& settings)
      : share_(ranks.share), shards_state_(ranks.shards_state), settings_(settings) {
    pieces_ = share_out(layout, settings, share_.parts);
    for (const std::vector<Piece>& pieces : pieces_) {
      buckets_.push_back(buckets_of_part(pieces, settings, ranks.bucket_bytes / sizeof(T)));
    }
    std::size_t size = 0;
    std::vector<std::size_t> offsets(layout.slots.size(), 0);
    for (std::size_t i = 0; i < layout.slots.size(); ++i) {
      offsets[i] = size;
      if (!settings.slots[i].frozen) size += shards_state_ ? own(i).size : layout.slots[i].size;
    }
    reduced_ = AlignedBuffer<T>(size);
    for (std::size_t i = 0; i < layout.slots.size(); ++i) {
      const bool is_there = !settings.slots[i].frozen;
      reduced_pointers_.push_back(is_there ? reduced_.data() + offsets[i] : nullptr);
    }
  }

  std::size_t parts() const { return share_.parts; }
  std::size_t part() const { return share_.part; }
  const std::vector<std::vector<Piece>>& pieces() const { return pieces_; }
  const std::vector<Bucket>& buckets(std::size_t part) const { return buckets_.at(part); }

  /// The gradients after the reduction, one pointer per slot: of the own pieces, or of whole slots
  /// where the state is not sharded. Null for what is frozen.
  std::span<T* const> reduced() const { return reduced_pointers_; }

  /// Where a stretch of a bucket lies in that memory; `memory` has a pointer per slot.
  T* place(std::span<T* const> memory, const Bucket::Stretch& stretch) const {
    const bool has_own_alone = memory.data() == reduced_pointers_.data() && shards_state_;
    return memory[stretch.slot] + stretch.begin - (has_own_alone ? own(stretch.slot).begin : 0);
  }

  /// A bucket's elements as one array, which `owner` keeps alive: the memory itself, or `staging`
  /// with a copy in it; None where that is needed and not given.
  pybind11::object bucket(std::span<T* const> memory, std::size_t part, std::size_t k,
                          pybind11::handle staging, pybind11::handle owner) const {
    const Bucket& bucket = buckets_.at(part).at(k);
    if (lies_together(memory, bucket)) {
      return view(place(memory, bucket.stretches.front()), form_of_size(bucket.size), owner);
    }
    if (staging.is_none()) return pybind11::none();
    T* out = gradient_memory<T>(staging, form_of_size(bucket.size), true);
    for (const Bucket::Stretch& stretch : bucket.stretches) {
      out = std::copy_n(place(memory, stretch), stretch.size, out);
    }
    return pybind11::reinterpret_borrow<pybind11::object>(staging);
  }

  /// Puts a bucket's elements where they belong.
  void put(std::span<T* const> memory, std::size_t part, std::size_t k,
           pybind11::handle values) const {
    const Bucket& bucket = buckets_.at(part).at(k);
    const T* from = gradient_memory<T>(values, form_of_size(bucket.size), false);
    for (const Bucket::Stretch& stretch : bucket.stretches) {
      T* const to = place(memory, stretch);
      if (to != from) std::copy_n(from, stretch.size, to);
      from += stretch.size;
    }
  }

  static ArrayForm form_of_size(std::size_t size) {
    return {"bucket", {static_cast<pybind11::ssize_t>(size)}, true, true};
  }

 private:
  const Piece& own(std::size_t slot) const { return pieces_[share_.part][slot]; }

  bool lies_together(std::span<T* const> memory, const Bucket& bucket) const {
    const T* end = nullptr;
    for (const Bucket::Stretch& stretch : bucket.stretches) {
      const T* const begin = place(memory, stretch);
      if (end != nullptr && begin != end) return false;
      end = begin + stretch.size;
    }
    return true;
  }

  Share share_;
  bool shards_state_;
  const NetworkSettings& settings_;
  std::vector<std::vector<Piece>> pieces_;    ///< per part, per slot
  std::vector<std::vector<Bucket>> buckets_;  ///< per part
  AlignedBuffer<T> reduced_{0};
  std::vector<T*> reduced_pointers_;
};

}  // namespace flatstep::python
