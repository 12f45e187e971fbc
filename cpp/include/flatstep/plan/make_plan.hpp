// make_plan: settings and layout become a plan.
//
// The orders differ here in what the rules of their row say: what is divided by the batch, and
// where regularisation stands. Both are two ways of filling the constants of one fused pass.
#pragma once

#include <flatstep/hash.hpp>
#include <flatstep/plan/layout.hpp>
#include <flatstep/plan/plan.hpp>
#include <flatstep/plan/shares.hpp>
#include <flatstep/schedule.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flatstep {

namespace detail {

inline bool same_bits(const std::optional<double>& a, const std::optional<double>& b) {
  if (!a || !b) return a.has_value() == b.has_value();
  return std::bit_cast<std::uint64_t>(*a) == std::bit_cast<std::uint64_t>(*b);
}

inline std::size_t hash_of(const RateState& rate) {
  Hash hash;
  for (const std::optional<double>& value : {rate.learning_rate, rate.momentum}) {
    hash.add(value.has_value()).add(std::bit_cast<std::uint64_t>(value.value_or(0.0)));
  }
  return hash.get();
}

inline std::size_t hash_of(const SlotSettings& slot) {
  Hash hash;
  hash.add(reinterpret_cast<std::uintptr_t>(slot.updater.kind)).add(slot.updater.weight_decay);
  for (const Schedule& value : slot.updater.values) hash.add(value.hash());
  hash.add(slot.learning_rate_scale);
  hash.add(static_cast<std::uint64_t>(slot.policy.kind)).add(slot.policy.decay_rate);
  for (const auto& [iteration, momentum] : slot.momentum_schedule) {
    hash.add(static_cast<std::uint64_t>(iteration)).add(momentum);
  }
  return hash.get();
}

inline std::size_t hash_of(const Run& run) {
  Hash hash;
  hash.add(run.rate_group)
      .add(reinterpret_cast<std::uintptr_t>(run.updater))
      .add(run.trusting_slot);
  for (const double number :
       {run.clamp, run.l1_before, run.l2_before, run.l1_after, run.l2_after}) {
    hash.add(number);
  }
  return hash.get();
}

class PlanBuilder {
 public:
  PlanBuilder(const Layout& layout, const NetworkSettings& settings,
              std::span<const RateState> rates, std::size_t cached_elements,
              std::span<const Piece> pieces, std::span<const Bucket> buckets)
      : layout_(layout),
        settings_(settings),
        rates_(rates),
        cached_elements_(cached_elements),
        pieces_(pieces),
        buckets_(buckets) {}

  Plan build() {
    plan_.on_nonfinite = settings_.on_nonfinite;
    plan_.rules = &settings_.rules();
    plan_.average_decay = settings_.average_decay;
    plan_.storage_seed = settings_.storage_seed;
    plan_.slots.resize(layout_.slots.size());
    rate_group_places_.reserve(layout_.slots.size());
    run_places_.reserve(layout_.slots.size());
    for (std::size_t i = 0; i < layout_.slots.size(); ++i) {
      if (!settings_.slots[i].frozen) add_slot(i);
    }
    make_groups();
    plan_.looks_first = settings_.on_nonfinite != OnNonfinite::propagate ||
                        !plan_.callback_slots.empty() || !plan_.trusting_slots.empty() ||
                        has_global_group() || is_part();
    order_chunks();
    make_stages();
    return std::move(plan_);
  }

 private:
  /// By hash.
  using Places = std::unordered_multimap<std::size_t, std::size_t>;

  /// What learns in pretraining only stops after normalisation at other times.
  bool stops_early(std::size_t i) const {
    return settings_.slots[i].pretrain_only && !settings_.slots[i].pretrain;
  }

  static Trusted trusted_by(const UpdaterConfiguration& updater) {
    if (updater.kind->trusts == nullptr) return Trusted::nothing;
    return updater.kind->trusts(updater.first_values().data());
  }

  void add_slot(std::size_t i) {
    const SlotSettings& s = settings_.slots[i];
    const OrderRules& rules = settings_.rules();
    PlanSlot& slot = plan_.slots[i];
    slot.active = true;
    slot.scaled = s.statistic                                      ? ScaledBefore::not_at_all
                  : rules.divides_gradient && settings_.mini_batch ? ScaledBefore::by_scale_of_mean
                                                                   : ScaledBefore::by_scale;
    slot.negates = settings_.maximize && !s.statistic;

    Run run{};
    run.rate_group = rate_group_of(i);
    run.updater = s.updater.kind;
    run.trusting_slot = none;
    run.clamp = rules_of(settings_.strategy_of(i)).group == NormalizationGroup::element
                    ? settings_.layer_of(i).threshold
                    : std::numeric_limits<double>::infinity();
    if (stops_early(i)) {
      run.updater = &registered<NoOp>();
    } else {
      (rules.regularizes_gradient ? run.l1_before : run.l1_after) = s.l1;
      (rules.regularizes_gradient ? run.l2_before : run.l2_after) = s.l2;
      if (rules.has_weight_decay) {
        run.l2_after = s.weight_decay;
        run.l2_after_applies_rate =
            s.weight_decay_apply_lr && s.updater.kind->has_learning_rate() && s.weight_decay != 0;
      }
      run.divides_after = !rules.divides_gradient && settings_.mini_batch;
      if (s.updater.kind->is_callback()) {
        run.callback = s.updater.kind;
        run.updater = &registered<NoOp>();
        plan_.callback_slots.push_back(i);
      }
      run.trusts = trusted_by(s.updater);
      if (run.trusts != Trusted::nothing) {
        run.trusting_slot = i;
        plan_.trusting_slots.push_back(i);
      }
    }
    slot.run =
        place_of(hash_of(run), run_places_, [&](std::size_t k) { return plan_.runs[k] == run; });
    if (slot.run == plan_.runs.size()) plan_.runs.push_back(run);
  }

  /// Where it stands that `is_it(place)` knows, among all that were ever asked for; behind them all
  /// where it is new. Things that are the same have the same hash.
  template <class IsIt>
  static std::size_t place_of(std::size_t hash, Places& places, IsIt&& is_it) {
    const auto [begin, end] = places.equal_range(hash);
    for (auto found = begin; found != end; ++found) {
      if (is_it(found->second)) return found->second;
    }
    return places.emplace(hash, places.size())->second;
  }

  std::size_t rate_group_of(std::size_t i) {
    const SlotSettings& s = settings_.slots[i];
    const bool follows_policy = !stops_early(i);
    const std::size_t hash = Hash{}.add(hash_of(rates_[i])).add(hash_of(s)).get();
    const std::size_t place = place_of(hash, rate_group_places_, [&](std::size_t k) {
      const RateGroup& group = plan_.rate_groups[k];
      const RateState& rate = rates_[group.slots.front()];
      return group.follows_policy == follows_policy &&
             same_bits(rate.learning_rate, rates_[i].learning_rate) &&
             same_bits(rate.momentum, rates_[i].momentum) && group.settings->updater == s.updater &&
             group.settings->learning_rate_scale == s.learning_rate_scale &&
             group.settings->policy == s.policy &&
             group.settings->momentum_schedule == s.momentum_schedule;
    });
    if (place == plan_.rate_groups.size()) {
      const bool has_state = rates_[i].learning_rate || rates_[i].momentum;
      plan_.rate_groups.push_back({&s, {}, follows_policy, has_state});
    }
    plan_.rate_groups[place].slots.push_back(i);
    return place;
  }

  void make_groups() {
    std::size_t of_network = none;
    std::size_t of_layer = none;
    for (std::size_t i = 0; i < plan_.slots.size(); ++i) {
      if (i == 0 || settings_.slots[i].layer != settings_.slots[i - 1].layer) of_layer = none;
      if (!plan_.slots[i].active) continue;
      const GradientNormalization strategy = settings_.strategy_of(i);
      const StrategyRules& rules = rules_of(strategy);
      if (!rules.has_norm()) continue;
      std::size_t of_param = none;
      std::size_t& group = rules.group == NormalizationGroup::network ? of_network
                           : rules.group == NormalizationGroup::layer ? of_layer
                                                                      : of_param;
      if (group == none) {
        group = plan_.groups.size();
        const LayerSettings& layer = settings_.layer_of(i);
        plan_.groups.push_back({strategy, layer.threshold, layer.epsilon, {}});
      }
      plan_.groups[group].slots.push_back(i);
      plan_.slots[i].group = group;
    }
  }

  bool has_global_group() const {
    return std::any_of(plan_.groups.begin(), plan_.groups.end(), [](const Group& group) {
      return rules_of(group.strategy).group == NormalizationGroup::network;
    });
  }

  /// Chunks follow the slots, so that a stage is a stretch of them; but where the whole network
  /// fits the cache, run by run, so that equal slots that are no neighbours share one kernel call.
  void order_chunks() {
    std::vector<std::size_t>& order = plan_.order;
    for (std::size_t i = 0; i < plan_.slots.size(); ++i) {
      if (!plan_.slots[i].active) continue;
      order.push_back(i);
      find_places(i);
    }
    if (fits_cache() && !is_part()) {
      std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return std::pair(plan_.slots[a].run, a) < std::pair(plan_.slots[b].run, b);
      });
    }
    for (const std::size_t i : order) {
      PlanSlot& slot = plan_.slots[i];
      slot.chunk_begin = plan_.chunks.size();
      for (std::size_t offset = 0; offset < layout_.slots[i].size; offset += chunk_size) {
        plan_.chunks.push_back({i, offset, std::min(chunk_size, layout_.slots[i].size - offset),
                                slot.place_begin + (begin_of(i) + offset) / chunk_size});
      }
      slot.chunk_end = plan_.chunks.size();
    }
    make_buckets();
  }

  /// Whether this is the plan of one part of a network.
  bool is_part() const { return !pieces_.empty(); }

  std::size_t begin_of(std::size_t i) const { return is_part() ? pieces_[i].begin : 0; }

  /// Numbers the chunks of the whole slot.
  void find_places(std::size_t i) {
    PlanSlot& slot = plan_.slots[i];
    slot.whole_size = is_part() ? pieces_[i].whole : layout_.slots[i].size;
    slot.is_whole = !is_part() || pieces_[i].is_whole();
    slot.place_begin = plan_.places;
    plan_.places += (slot.whole_size + chunk_size - 1) / chunk_size;
    slot.place_end = plan_.places;
  }

  /// The chunks of each bucket: those of a part stand in the order of its buckets.
  void make_buckets() {
    std::size_t chunk = 0;
    for (const Bucket& bucket : buckets_) {
      const std::size_t begin = chunk;
      for (std::size_t size = 0; size < bucket.size; size += plan_.chunks[chunk++].size) {
      }
      plan_.buckets.push_back({begin, chunk, 0, 0});
    }
    if (buckets_.empty() && !plan_.chunks.empty()) {
      plan_.buckets.push_back({0, plan_.chunks.size(), 0, 0});
    }
  }

  bool fits_cache() const { return layout_.size <= cached_elements_; }

  /// A stage is one group, or a stretch without norms; neighbouring small groups share one.
  void make_stages() {
    if (plan_.looks_first || fits_cache()) {
      plan_.stages.push_back({0, plan_.chunks.size(), 0, plan_.groups.size()});
      plan_.stretches.push_back({0, 1, false});
      return;
    }
    std::size_t elements = 0;  // of the last stage
    for (std::size_t i = 0; i < plan_.slots.size();) {
      if (!plan_.slots[i].active) {
        ++i;
        continue;
      }
      const std::size_t group = plan_.slots[i].group;
      const std::size_t begin = i;
      std::size_t size = 0;
      for (; i < plan_.slots.size() && plan_.slots[i].active && plan_.slots[i].group == group;
           ++i) {
        size += layout_.slots[i].size;
      }
      const std::size_t chunk_begin = plan_.slots[begin].chunk_begin;
      const std::size_t chunk_end = plan_.slots[i - 1].chunk_end;
      const bool normed = group != none;
      const bool joins = !plan_.stages.empty() && normed == plan_.stages.back().is_normed() &&
                         (!normed || elements + size <= chunk_size);
      if (!joins) {
        const bool fits = normed && size <= cached_elements_;
        if (!fits || plan_.stretches.empty() || !plan_.stretches.back().by_thread) {
          plan_.stretches.push_back({plan_.stages.size(), plan_.stages.size(), fits});
        }
        ++plan_.stretches.back().stage_end;
        plan_.stages.push_back({chunk_begin, chunk_begin, normed ? group : 0, normed ? group : 0});
        elements = 0;
      }
      plan_.stages.back().chunk_end = chunk_end;
      if (normed) plan_.stages.back().group_end = group + 1;
      elements += size;
    }
  }

  const Layout& layout_;
  const NetworkSettings& settings_;
  std::span<const RateState> rates_;
  std::size_t cached_elements_;
  std::span<const Piece> pieces_;
  std::span<const Bucket> buckets_;
  Plan plan_;
  Places rate_group_places_;
  Places run_places_;
};

}  // namespace detail

/// @param cached_elements how many elements of a gradient may be expected to stay in the cache
///   between norm and pass
/// @param pieces where the layout is that of one part of a network: what it has of every slot
/// @param buckets that part's chunks, as they come and go; empty where they do not
inline Plan make_plan(const Layout& layout, const NetworkSettings& settings,
                      std::span<const RateState> rates, std::size_t cached_elements,
                      std::span<const Piece> pieces = {}, std::span<const Bucket> buckets = {}) {
  return detail::PlanBuilder(layout, settings, rates, cached_elements, pieces, buckets).build();
}

}  // namespace flatstep
