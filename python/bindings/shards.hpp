// Shards: what a process has of a network that it shares with others, as Python's transport between
// them sees it: pieces, buckets of them, and the memory that they lie in.
//
// The transport (flatstep.mpi) knows buckets by part and number and moves bytes. Where the elements of
// a bucket lie in one place in memory, their array is that memory; elsewhere they are copied. Each
// slot's elements travel in their own type, from a multiple of their size on.
#pragma once

#include "arrays.hpp"

#include <pybind11/pybind11.h>

#include <flatstep/multi_layer_updater.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
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

  /// Where elements of buckets lie: one pointer per slot, and what it really points to.
  struct Memory {
    std::span<T* const> pointers;
    std::span<const ElementType> types{};  ///< empty: T

    ElementType type_of(std::size_t slot) const {
      return types.empty() ? ElementType::same : types[slot];
    }
    std::size_t element_size(std::size_t slot) const { return bytes_of(type_of(slot), sizeof(T)); }
  };

  /// The gradients after the reduction, one pointer per slot: of the own pieces, or of whole slots
  /// where the state is not sharded. Null for what is frozen.
  std::span<T* const> reduced() const { return reduced_pointers_; }

  /// The bytes of a bucket on its way.
  std::size_t bytes(const Memory& memory, std::size_t part, std::size_t k) const {
    return lay_out(memory, buckets_.at(part).at(k), [](const Bucket::Stretch&, std::size_t) {});
  }

  /// A bucket's bytes as one array, which `owner` keeps alive: the memory itself, or `staging` with a
  /// copy in it; None where that is needed and not given.
  pybind11::object bucket(const Memory& memory, std::size_t part, std::size_t k,
                          pybind11::handle staging, pybind11::handle owner) const {
    const Bucket& bucket = buckets_.at(part).at(k);
    const ArrayForm form = form_of_size(bytes(memory, part, k));
    if (lies_together(memory, bucket)) {
      auto* const begin = reinterpret_cast<std::uint8_t*>(place(memory, bucket.stretches.front()));
      return view(begin, form, owner);
    }
    if (staging.is_none()) return pybind11::none();
    std::byte* const out = bytes_in(staging, form);
    lay_out(memory, bucket, [&](const Bucket::Stretch& stretch, std::size_t at) {
      std::copy_n(place(memory, stretch), stretch.size * memory.element_size(stretch.slot),
                  out + at);
    });
    return pybind11::reinterpret_borrow<pybind11::object>(staging);
  }

  /// Puts a bucket's bytes where they belong.
  void put(const Memory& memory, std::size_t part, std::size_t k, pybind11::handle values) const {
    const Bucket& bucket = buckets_.at(part).at(k);
    const std::byte* const from = bytes_in(values, form_of_size(bytes(memory, part, k)));
    lay_out(memory, bucket, [&](const Bucket::Stretch& stretch, std::size_t at) {
      std::byte* const to = place(memory, stretch);
      if (to == from + at) return;
      std::copy_n(from + at, stretch.size * memory.element_size(stretch.slot), to);
    });
  }

  /// Of a bucket of the own part: reduced = (((a + b) + c) + ...)·scale, each operation rounded.
  /// @param terms by rank; None for this process's gradients
  void add_in_order(const Memory& gradients, std::size_t k, const pybind11::list& terms,
                    T scale) const {
    const Bucket& bucket = buckets_[share_.part].at(k);
    const ArrayForm form = form_of_size(bytes(gradients, share_.part, k));
    std::vector<const std::byte*> others;
    for (const pybind11::handle term : terms) {
      others.push_back(term.is_none() ? nullptr : bytes_in(term, form));
    }
    if (others.empty()) throw std::invalid_argument("bucket: expected terms, got none");
    const Memory sums{reduced_pointers_};
    lay_out(gradients, bucket, [&](const Bucket::Stretch& stretch, std::size_t at) {
      add_stretch(gradients, stretch, at, others, scale,
                  reinterpret_cast<T*>(place(sums, stretch)));
    });
  }

  /// The gradients of a bucket as numbers.
  void widen(const Memory& gradients, std::size_t part, std::size_t k,
             pybind11::handle numbers) const {
    const Bucket& bucket = buckets_.at(part).at(k);
    T* out = gradient_memory<T>(numbers, form_of_size(bucket.size), true);
    for (const Bucket::Stretch& stretch : bucket.stretches) {
      const ElementType type = gradients.type_of(stretch.slot);
      const T* const found = numbers_of(type, place(gradients, stretch), stretch.size, out);
      if (found != out) std::copy_n(found, stretch.size, out);
      out += stretch.size;
    }
  }

  /// Updates, which lie where the reduced gradients were, into the caller's gradients, rounded to
  /// their types.
  void write_updates(const Memory& gradients, std::size_t part, std::size_t k) const {
    const FlushSubnormals flush;  // as a step that writes them itself
    const Memory updates{reduced_pointers_};
    for (const Bucket::Stretch& stretch : buckets_.at(part).at(k).stretches) {
      const auto* const from = reinterpret_cast<const T*>(place(updates, stretch));
      std::byte* const to = place(gradients, stretch);
      const ElementType type = gradients.type_of(stretch.slot);
      if (type == ElementType::same) {
        std::copy_n(from, stretch.size, reinterpret_cast<T*>(to));
      } else {
        active_target().kernels<T>().elements.narrow(type, from, to, stretch.size);
      }
    }
  }

 private:
  const Piece& own(std::size_t slot) const { return pieces_[share_.part][slot]; }

  static ArrayForm form_of_size(std::size_t size) {
    return {"bucket", {static_cast<pybind11::ssize_t>(size)}, true, true};
  }

  static std::byte* bytes_in(pybind11::handle array, const ArrayForm& form) {
    auto* const found = is_array(array) ? memory_of<std::uint8_t>(array, form) : nullptr;
    if (found == nullptr && form.size() > 0) {
      throw std::invalid_argument("bucket: expected an array of " + std::to_string(form.size()) +
                                  " bytes");
    }
    return reinterpret_cast<std::byte*>(found);
  }

  /// Where a stretch of a bucket lies in that memory.
  std::byte* place(const Memory& memory, const Bucket::Stretch& stretch) const {
    const bool has_own_alone = memory.pointers.data() == reduced_pointers_.data() && shards_state_;
    const std::size_t begin = stretch.begin - (has_own_alone ? own(stretch.slot).begin : 0);
    return reinterpret_cast<std::byte*>(memory.pointers[stretch.slot]) +
           begin * memory.element_size(stretch.slot);
  }

  /// use(stretch, where it begins among a bucket's bytes) for each; how many bytes these are.
  template <class Use>
  static std::size_t lay_out(const Memory& memory, const Bucket& bucket, const Use& use) {
    std::size_t end = 0;
    for (const Bucket::Stretch& stretch : bucket.stretches) {
      const std::size_t size = memory.element_size(stretch.slot);
      const std::size_t begin = (end + size - 1) / size * size;
      use(stretch, begin);
      end = begin + stretch.size * size;
    }
    return end;
  }

  bool lies_together(const Memory& memory, const Bucket& bucket) const {
    const std::byte* end = nullptr;
    for (const Bucket::Stretch& stretch : bucket.stretches) {
      const std::byte* const begin = place(memory, stretch);
      if (end != nullptr && begin != end) return false;
      end = begin + stretch.size * memory.element_size(stretch.slot);
    }
    return true;
  }

  /// Elements as numbers: themselves, or in `room`.
  static const T* numbers_of(ElementType type, const std::byte* from, std::size_t size, T* room) {
    if (type == ElementType::same) return reinterpret_cast<const T*>(from);
    active_target().kernels<T>().elements.widen(type, from, room, size);
    return room;
  }

  void add_stretch(const Memory& gradients, const Bucket::Stretch& stretch, std::size_t at,
                   std::span<const std::byte* const> terms, T scale, T* sum) const {
    constexpr std::size_t block_size = 2048;
    const ElementType type = gradients.type_of(stretch.slot);
    const std::size_t element_size = gradients.element_size(stretch.slot);
    const std::byte* const own = place(gradients, stretch);
    std::array<T, block_size> block;
    std::array<T, block_size> room;
    for (std::size_t begin = 0; begin < stretch.size; begin += block_size) {
      const std::size_t size = std::min(block_size, stretch.size - begin);
      const auto numbers = [&](std::size_t rank, T* to) {
        const std::byte* const term = terms[rank] == nullptr ? own : terms[rank] + at;
        return numbers_of(type, term + begin * element_size, size, to);
      };
      const T* const first = numbers(0, block.data());
      if (first != block.data()) std::copy_n(first, size, block.data());
      for (std::size_t rank = 1; rank < terms.size(); ++rank) {
        const T* const term = numbers(rank, room.data());
        for (std::size_t i = 0; i < size; ++i) block[i] += term[i];
      }
      if (scale != T{1}) {
        for (std::size_t i = 0; i < size; ++i) block[i] *= scale;
      }
      std::copy_n(block.data(), size, sum + begin);
    }
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
