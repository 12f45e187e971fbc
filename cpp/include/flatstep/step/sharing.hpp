// Sharing: how the work of a step is cut into parts, and what waking a thread is worth. Chunks are
// the grain of everything: their results do not depend on the thread that computes them.
#pragma once

#include <flatstep/kernels/dispatch.hpp>
#include <flatstep/plan/plan.hpp>
#include <flatstep/threads.hpp>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace flatstep {
inline namespace FLATSTEP_DISPATCH {

class Sharing {
 public:
  explicit Sharing(const Plan& plan) {
    costs_.reserve(plan.chunks.size() + 1);
    costs_.push_back(0);
    for (const Chunk& chunk : plan.chunks) {
      costs_.push_back(costs_.back() + chunk.size + cost_of_chunk);
    }
  }

  /// body(begin, end) over the stage's chunks, in as many parts as pay, cut at fixed places.
  template <class Body>
  void by_chunk(const Stage& stage, Body&& body) const {
    const unsigned parts = parts_worth(costs_[stage.chunk_end] - costs_[stage.chunk_begin]);
    if (parts < 2) {
      body(stage.chunk_begin, stage.chunk_end);
    } else {
      in_parts(stage, parts, body);
    }
  }

  /// body(stage) over the stages of a stretch, each on one thread: no thread waits for another in
  /// between. False where that does not serve, because the shares would be too unequal.
  template <class Body>
  bool by_stage(const std::vector<Stage>& stages, const Stretch& stretch, Body&& body) const {
    const std::size_t first = costs_[stages[stretch.stage_begin].chunk_begin];
    const std::size_t cost = costs_[stages[stretch.stage_end - 1].chunk_end] - first;
    const unsigned parts = parts_worth(cost);
    // The stage with which a part begins: the one nearest to an equal share.
    const auto cut = [&](unsigned part) {
      if (part == parts) return stretch.stage_end;
      const std::size_t target = first + share_of(cost, part, parts);
      std::size_t k = stretch.stage_begin;
      while (k < stretch.stage_end && middle_of(stages[k]) < target) ++k;
      return k;
    };
    for (unsigned part = 0; part < parts; ++part) {
      const std::size_t begin = cut(part);
      const std::size_t end = cut(part + 1);
      if (begin == end) continue;
      const std::size_t own = costs_[stages[end - 1].chunk_end] - costs_[stages[begin].chunk_begin];
      if (own > cost / parts + cost / parts / unequal_share) return false;
    }
    ThreadPool::instance().run(parts, [&](unsigned part) {
      for (std::size_t k = cut(part), end = cut(part + 1); k < end; ++k) body(stages[k]);
    });
    return true;
  }

  /// body(begin, end) over that many elements.
  template <class Body>
  static void by_element(std::size_t size, Body&& body) {
    const unsigned parts = parts_worth(size);
    ThreadPool::instance().run(parts, [&](unsigned part) {
      body(share_of(size, part, parts), share_of(size, part + 1, parts));
    });
  }

 private:
  /// What a chunk costs besides its elements, in elements.
  static constexpr std::size_t cost_of_chunk = 64;
  /// A thread is worth waking for this many elements.
  static constexpr std::size_t elements_per_thread = 32768;
  /// Threads take whole stages where no share is more than 1/8 above the average.
  static constexpr std::size_t unequal_share = 8;

  /// by_chunk in several parts; apart from it, so that the step on one thread stays small.
  template <class Body>
  void in_parts(const Stage& stage, unsigned parts, const Body& body) const {
    ThreadPool::instance().run(parts, [&](unsigned part) {
      body(part == 0 ? stage.chunk_begin : cut(stage, part, parts),
           part + 1 == parts ? stage.chunk_end : cut(stage, part + 1, parts));
    });
  }

  /// The chunk of a stage that is nearest to an equal share.
  std::size_t cut(const Stage& stage, unsigned part, unsigned parts) const {
    const std::size_t first = costs_[stage.chunk_begin];
    const std::size_t target = first + share_of(costs_[stage.chunk_end] - first, part, parts);
    const auto found =
        std::lower_bound(costs_.begin() + static_cast<std::ptrdiff_t>(stage.chunk_begin),
                         costs_.begin() + static_cast<std::ptrdiff_t>(stage.chunk_end), target);
    const auto chunk = static_cast<std::size_t>(found - costs_.begin());
    const bool earlier =
        chunk > stage.chunk_begin && target - costs_[chunk - 1] < costs_[chunk] - target;
    return earlier ? chunk - 1 : chunk;
  }

  std::size_t middle_of(const Stage& stage) const {
    return costs_[stage.chunk_begin] + (costs_[stage.chunk_end] - costs_[stage.chunk_begin]) / 2;
  }

  /// cost·part/parts, without overflow.
  static std::size_t share_of(std::size_t cost, unsigned part, unsigned parts) {
    return cost / parts * part + cost % parts * part / parts;
  }

  /// In how many parts that much work is done: one where waking a thread does not pay.
  static unsigned parts_worth(std::size_t cost) {
    const std::size_t worth = cost / elements_per_thread;
    if (worth < 2) return 1;
    return static_cast<unsigned>(
        std::min<std::size_t>(ThreadPool::instance().num_threads(), worth));
  }

  std::vector<std::size_t> costs_;  ///< of the chunks before each
};

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
