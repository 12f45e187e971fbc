// MultiLayerUpdater, ComputationGraphUpdater, LayerUpdater: the updaters of a network, of a graph,
// of one layer. They differ in how keys name layers; the Updater below does the work.
//
//   flatstep::NetworkConfiguration configuration;
//   configuration.updater = flatstep::make_updater("Adam", {{"learning_rate", 1e-3}});
//   flatstep::MultiLayerUpdater<float> updater(configuration,
//                                              {{"0_W", W, {4, 32}}, {"0_b", b, {32}}});
//   if (updater.step({gW, gb}).status != flatstep::StepStatus::done) ...
//
// Parameters and gradients stay the caller's; the state is owned, or lies in memory that the caller
// gives.
#pragma once

#include <flatstep/configuration.hpp>
#include <flatstep/configuration/representable.hpp>
#include <flatstep/engine.hpp>
#include <flatstep/plan/cache.hpp>
#include <flatstep/plan/layout.hpp>
#include <flatstep/plan/make_plan.hpp>
#include <flatstep/slots.hpp>

#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace flatstep {

inline namespace FLATSTEP_DISPATCH {

template <class T>
class Updater {
 public:
  /// @param slots in the order of the flat view; the slots of one layer are neighbours
  /// @param state_memory where the state view lies: for each slot its size times its updater's
  ///   number of state arrays; empty to own it
  /// @param shared where several updaters take a part each of every step of one network: this one's
  ///   part, and how their sums meet. It is given the whole parameters and works on its pieces() of
  ///   them; gradients, updates, state and averages are those of its pieces alone
  /// @throws std::invalid_argument, InvalidKey
  Updater(const NetworkConfiguration& configuration, std::vector<NamedSlot<T>> slots,
          bool monitor = false, std::span<T> state_memory = {}, Shared shared = {})
      : monitor_(monitor), shared_(std::move(shared)) {
    std::vector<SlotName> names;
    std::vector<std::span<const std::size_t>> shapes;
    for (NamedSlot<T>& slot : slots) {
      if (slot.shape.empty()) slot.shape.push_back(slot.parameters.size());
      names.push_back(slot.name);
      shapes.emplace_back(slot.shape);
    }
    check_slot_order(names);
    detail::check_memory(slots);
    settings_ = resolve(configuration, names, shapes);
    for (const SlotSettings& slot : settings_.slots) check_updater(*slot.updater.kind);
    validate_numbers<T>(settings_, names);
    detail::check_masters(settings_, slots);
    check_shared();
    std::vector<LayoutSlot> layout_slots;
    for (NamedSlot<T>& slot : slots) {
      parameters_.push_back(slot.parameters);
      LayoutSlot layout_slot;
      layout_slot.name = std::move(slot.name);
      layout_slot.shape = std::move(slot.shape);
      layout_slot.column_major = slot.column_major;
      layout_slot.size = slot.parameters.size();
      layout_slot.type = slot.parameters.type();
      layout_slot.master = settings_.slots[layout_slots.size()].master;
      layout_slots.push_back(std::move(layout_slot));
    }
    layout_ = make_layout(std::move(layout_slots), settings_);
    own_parameters_ = parameters_;
    if (shared_.share.parts > 1) take_part();
    const Layout& own = own_layout();
    if (own.is_narrow) {
      if (!state_memory.empty()) {
        throw std::invalid_argument(
            "state_memory: expected none, as an updater with parameters or state in fewer bits "
            "keeps these itself");
      }
      owned_bytes_ = std::make_shared<AlignedBuffer<std::byte>>(own.kept_bytes);
      std::ranges::fill(owned_bytes_->view(), std::byte{0});
      state_.memory.bytes = owned_bytes_->view();
    }
    if (state_memory.empty()) {
      owned_state_ = std::make_shared<AlignedBuffer<T>>(own.kept_numbers);
      state_.memory.numbers = owned_state_->view();
    } else if (state_memory.size() != own.state_size) {
      throw std::invalid_argument("state_memory: expected " + std::to_string(own.state_size) +
                                  " elements, got " + std::to_string(state_memory.size()));
    } else {
      detail::check_apart(state_memory, layout_, parameters_);
      state_.memory.numbers = state_memory;
    }
    if (settings_.average_decay) {
      owned_averages_ = std::make_shared<AlignedBuffer<T>>(own.size);
      state_.averages = owned_averages_->view();
    }
    state_.initialize_rates(settings_);
    stored_ = stored_slots<T>(own, own_parameters_, state_.memory);
    initialize_stored<T>(own, settings_, stored_, state_.averages);
    engine_ = make_engine(state_.rates);
    gradients_.assign(layout_.slots.size(), nullptr);
    updates_.assign(layout_.slots.size(), nullptr);
    kept_reports_.resize(layout_.slots.size());
  }

  Updater(Updater&&) = default;
  Updater& operator=(Updater&&) = default;

  /// params −= update, in one pass; the gradients, one pointer per slot, are left as they are. A
  /// frozen slot's may be nullptr. Of an updater with a part of a network they are its pieces'.
  [[nodiscard]] StepReport step(std::span<const T* const> gradients,
                                const StepOptions& options = {}) noexcept {
    if (gradients.size() != layout_.slots.size()) return invalid();
    return run({gradients, {}}, options);
  }

  /// The gradients become the updates, in place; the parameters are left as they are.
  [[nodiscard]] StepReport update(std::span<T* const> gradients,
                                  const StepOptions& options = {}) noexcept {
    if (gradients.size() != layout_.slots.size()) return invalid();
    return run({gradients, gradients}, options);
  }

  /// The same where gradients are of other types: per slot what its pointer really points to.
  [[nodiscard]] StepReport step(std::span<const T* const> gradients,
                                std::span<const ElementType> types,
                                const StepOptions& options = {}) noexcept {
    if (!are_typed(gradients.size(), types)) return invalid();
    return run({gradients, {}, types}, options);
  }
  [[nodiscard]] StepReport update(std::span<T* const> gradients, std::span<const ElementType> types,
                                  const StepOptions& options = {}) noexcept {
    if (!are_typed(gradients.size(), types)) return invalid();
    return run({gradients, gradients, types}, options);
  }

  /// The same where gradients have sizes, which must be those of the slots.
  [[nodiscard]] StepReport step(std::span<const std::span<const T>> gradients,
                                const StepOptions& options = {}) noexcept {
    if (!take(gradients, gradients_)) return invalid();
    return step(std::span<const T* const>(gradients_), options);
  }
  [[nodiscard]] StepReport step(std::initializer_list<std::span<const T>> gradients,
                                const StepOptions& options = {}) noexcept {
    return step(std::span(gradients.begin(), gradients.size()), options);
  }
  [[nodiscard]] StepReport update(std::span<const std::span<T>> gradients,
                                  const StepOptions& options = {}) noexcept {
    if (!take(gradients, updates_)) return invalid();
    return update(std::span<T* const>(updates_), options);
  }

  /// sums[slot] += gradients[slot], for gradients of several backward passes. One that is not finite
  /// is treated as a step's: under "raise" and "skip" nothing of these gradients is added, and under
  /// "skip" they count as a skipped step.
  /// @param types what the gradients' pointers really point to, as of step()
  [[nodiscard]] StepStatus accumulate(std::span<T* const> sums, std::span<const T* const> gradients,
                                      std::span<const ElementType> types = {}) noexcept {
    if (settings_.on_nonfinite != OnNonfinite::propagate) {
      for (std::size_t i = 0; i < gradients.size(); ++i) {
        if (is_finite(i, gradients[i], types.empty() ? ElementType::same : types[i])) continue;
        if (settings_.on_nonfinite == OnNonfinite::raise) return StepStatus::nonfinite;
        state_.counters.count_skipped();
        return StepStatus::skipped;
      }
    }
    accumulate_gradients(layout_, sums, gradients, types);
    return StepStatus::done;
  }

  /// Whether a gradient of that slot is all finite numbers; a frozen slot's always counts as such.
  bool is_finite(std::size_t slot, const T* gradient,
                 ElementType type = ElementType::same) const noexcept {
    return settings_.slots[slot].frozen || all_finite(gradient, type, layout_.slots[slot].size);
  }

  /// The network's, also where this updater has a part of it.
  const Layout& layout() const { return layout_; }

  /// What of it this updater has: all of it, or the elements and state of its pieces.
  const Layout& own_layout() const { return own_layout_ ? *own_layout_ : layout_; }

  /// Which part that is.
  const Share& share() const { return shared_.share; }
  /// Its piece of every slot; empty where it has all of them.
  std::span<const Piece> pieces() const { return pieces_; }
  /// And these in buckets, as Shared's hooks number them.
  std::span<const Bucket> buckets() const { return buckets_; }

  const NetworkSettings& settings() const { return settings_; }
  /// Where the network's parameters lie.
  std::span<const ParameterMemory<T>> parameters() const { return parameters_; }

  /// The flat state view: live, in the order of the semantics. Empty where some of it is in codes:
  /// read_state() gives their numbers.
  std::span<T> state_view() const {
    const Layout& own = own_layout();
    return own.has_codes ? std::span<T>{} : state_.memory.numbers.first(own.state_size);
  }

  /// Parameters and state as they are kept, per slot: live.
  std::span<const StoredSlot<T>> stored() const { return stored_; }

  /// The bytes that are kept besides the parameters: state, masters, averages.
  std::size_t kept_bytes() const {
    return state_.memory.numbers.size_bytes() + state_.memory.bytes.size() +
           state_.averages.size_bytes();
  }
  /// All memory of state that a step changes.
  const StateMemory<T>& memory() const { return state_.memory; }

  /// What keeps the state view's memory alive, beyond this updater too; null where that is the
  /// caller's.
  std::shared_ptr<const void> state_memory() const { return owned_state_; }
  /// And that of codes and lower halves.
  std::shared_ptr<const void> code_memory() const { return owned_bytes_; }

  /// One state array of one slot, or of this updater's piece of it: live. Empty where it is in codes.
  /// @throws std::out_of_range
  std::span<T> state(std::size_t slot, std::size_t array) const {
    const StateArray& a = own_layout().slots.at(slot).state.at(array);
    if (a.code != StateCode::none) return {};
    return state_.memory.numbers.subspan(a.place, a.size);
  }

  /// The numbers of one state array.
  /// @param out of its size
  /// @throws std::out_of_range
  void read_state(std::size_t slot, std::size_t array, std::span<T> out) const {
    const StateArray& a = own_layout().slots.at(slot).state.at(array);
    if (out.size() != a.size) throw std::out_of_range("out: expected the size of the state array");
    const FlushSubnormals flush;
    flatstep::read_state(active_target().kernels<T>(), stored_[slot].state[array], 0, a.size,
                         out.data());
  }

  /// Replaces one state array by these numbers, which are rounded where it is kept as codes.
  /// @param numbers of its size
  /// @throws std::out_of_range
  void write_state(std::size_t slot, std::size_t array, std::span<const T> numbers) {
    const StateArray& a = own_layout().slots.at(slot).state.at(array);
    if (numbers.size() != a.size) {
      throw std::out_of_range("numbers: expected the size of the state array");
    }
    const FlushSubnormals flush;
    const auto iteration = static_cast<std::uint64_t>(state_.counters.iteration);
    flatstep::write_state(active_target().kernels<T>(), stored_[slot].state[array], 0, a.size,
                          numbers.data(), Dither(settings_.storage_seed, iteration, slot, array));
  }

  /// Makes full masters what their parameters are now, but where an element is what its master rounds
  /// to.
  void adopt_parameters() {
    const FlushSubnormals flush;
    for (std::size_t i = 0; i < stored_.size(); ++i) {
      adopt_parameter(active_target().kernels<T>(), stored_[i], own_layout().slots[i].size);
    }
  }

  /// The numbers of one parameter, of its master where it has one.
  /// @param out of its size
  /// @throws std::out_of_range
  void read_parameter(std::size_t slot, std::span<T> out) const {
    const std::size_t size = own_layout().slots.at(slot).size;
    if (out.size() != size) throw std::out_of_range("out: expected the size of the parameter");
    flatstep::read_parameter(active_target().kernels<T>(), stored_[slot], 0, size, out.data());
  }

  /// The moving average of one slot's parameter: live. Empty where none is kept.
  /// @throws std::out_of_range
  std::span<T> average(std::size_t slot) const {
    const LayoutSlot& s = own_layout().slots.at(slot);
    return state_.averages.empty() ? std::span<T>{} : state_.averages.subspan(s.offset, s.size);
  }

  /// Writes where the slot's updater says that a network is to be evaluated; false, and nothing
  /// written, where that is the parameter itself.
  /// @param out of the slot's size
  /// @throws std::out_of_range
  bool evaluation_point(std::size_t slot, std::span<T> out) const {
    const UpdaterConfiguration& updater = settings_.slots.at(slot).updater;
    const LayoutSlot& s = own_layout().slots[slot];
    if (updater.kind->evaluation_point == nullptr || s.state.empty()) return false;
    if (out.size() != s.size) throw std::out_of_range("out: expected the size of the slot");
    const EvaluationPoint point = updater.kind->evaluation_point(updater.first_values().data());
    const std::span<const T> kept = state(slot, 0);
    read_parameter(slot, out);
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = static_cast<T>(point.of_parameter * static_cast<double>(out[i]) +
                              point.of_state * static_cast<double>(kept[i]));
    }
    return true;
  }

  /// What keeps the averages' memory alive; null where there are none.
  std::shared_ptr<const void> average_memory() const { return owned_averages_; }

  Counters& counters() { return state_.counters; }
  const Counters& counters() const { return state_.counters; }

  /// Rates and momenta that are state, per slot; nothing where they are not.
  const std::vector<RateState>& rates() const { return state_.rates; }

  /// Replaces them, as a restored checkpoint does; all of it or nothing.
  /// @throws std::invalid_argument
  void set_rates(std::vector<RateState> rates) {
    if (rates.size() != layout_.slots.size()) {
      throw std::invalid_argument("rates: expected " + std::to_string(layout_.slots.size()) +
                                  ", one per slot, got " + std::to_string(rates.size()));
    }
    for (std::size_t i = 0; i < rates.size(); ++i) check_rates(i, rates[i]);
    std::unique_ptr<Engine<T>> engine = make_engine(rates);
    keep_reports();  // a new engine has seen nothing
    state_.rates = std::move(rates);
    engine_ = std::move(engine);
  }

  /// What the policy "Score" does where a score has stopped getting better: lowers the rates of the
  /// slots that follow it. How many those are.
  std::size_t apply_learning_rate_score_decay() {
    std::vector<RateState> rates = state_.rates;
    std::size_t count = 0;
    for (std::size_t i = 0; i < rates.size(); ++i) {
      const LearningRatePolicy& policy = settings_.slots[i].policy;
      if (policy.kind != LearningRatePolicy::Kind::Score || !rates[i].learning_rate) continue;
      rates[i].learning_rate = policy.after_score(*rates[i].learning_rate);
      ++count;
    }
    if (count > 0) set_rates(std::move(rates));
    return count;
  }

  /// The rate of a slot as a step uses it: a schedule's at that iteration and epoch, or what a
  /// policy or a plateau rule last left, be it NaN, times the slot's scale. Nothing where its
  /// updater has none.
  std::optional<double> learning_rate(std::size_t slot, std::int64_t iteration,
                                      std::int64_t epoch) const {
    const std::optional<double> rate = unscaled_learning_rate(slot, iteration, epoch);
    const double scale = settings_.slots[slot].learning_rate_scale;
    return rate && scale != 1.0 ? *rate * scale : rate;
  }

  /// The same before the slot's scale: what RateState holds where it is state.
  std::optional<double> unscaled_learning_rate(std::size_t slot, std::int64_t iteration,
                                               std::int64_t epoch) const {
    return current(slot, Role::learning_rate, &RateState::learning_rate, iteration, epoch);
  }

  /// The momentum of a slot, likewise.
  std::optional<double> momentum(std::size_t slot, std::int64_t iteration,
                                 std::int64_t epoch) const {
    return current(slot, Role::momentum, &RateState::momentum, iteration, epoch);
  }

  /// What the last step saw of a slot.
  /// @throws std::out_of_range
  SlotReport report(std::size_t slot) const {
    if (slot >= kept_reports_.size()) {
      throw std::out_of_range("slot: expected one of " + std::to_string(kept_reports_.size()) +
                              ", got " + std::to_string(slot));
    }
    return keeps_ ? kept_reports_.at(slot) : engine_->report(slot);
  }
  /// The norm of its whole normalisation group.
  double group_norm(std::size_t slot) const { return report(slot).group_norm; }

 private:
  StepReport run(const StepMemory<T>& memory, const StepOptions& options) noexcept {
    // A callback, or the exchange, may fail after the engine has taken its norms.
    if (!engine_->plan().callback_slots.empty() || shared_.exchange) keep_reports();
    const StepReport report = engine_->step(own_layout(), memory, state_, options);
    if (report.status != StepStatus::abandoned && report.status != StepStatus::invalid) {
      keeps_ = false;
    }
    return report;
  }

  void keep_reports() noexcept {
    if (keeps_) return;
    for (std::size_t i = 0; i < kept_reports_.size(); ++i) kept_reports_[i] = engine_->report(i);
    keeps_ = true;
  }

  std::unique_ptr<Engine<T>> make_engine(std::span<const RateState> rates) const {
    return std::make_unique<Engine<T>>(
        own_layout(),
        make_plan(own_layout(), settings_, rates, cached_bytes() / sizeof(T), pieces_, buckets_),
        stored_, state_.averages, monitor_, shared_);
  }

  /// Leaves of the network the pieces of this updater's part.
  void take_part() {
    pieces_ = share_out(layout_, settings_, shared_.share.parts)[shared_.share.part];
    own_layout_ = layout_of_part(layout_, pieces_, settings_);
    if (shared_.bucket_elements > 0) {
      buckets_ = buckets_of_part(pieces_, settings_, shared_.bucket_elements);
    }
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const ParameterMemory<T>& whole = parameters_[i];
      const std::size_t begin = pieces_[i].size > 0 ? pieces_[i].begin : 0;
      own_parameters_[i] = {
          static_cast<char*>(whole.data()) + begin * bytes_of(whole.type(), sizeof(T)),
          pieces_[i].size, whole.type()};
    }
  }

  static constexpr StepReport invalid() { return {StepStatus::invalid, 0, 0}; }

  bool are_typed(std::size_t gradients, std::span<const ElementType> types) const {
    return gradients == layout_.slots.size() && (types.empty() || types.size() == gradients);
  }

  /// Takes the pointers of gradients whose sizes are those of the slots; false where they are not.
  template <class X>
  bool take(std::span<const std::span<X>> gradients, std::vector<X*>& pointers) const {
    const std::vector<LayoutSlot>& slots = own_layout().slots;
    const bool fits =
        std::equal(gradients.begin(), gradients.end(), slots.begin(), slots.end(),
                   [](std::span<X> gradient, const auto& slot) {
                     return gradient.size() == slot.size || gradient.data() == nullptr;
                   });
    if (!fits) return false;
    std::transform(gradients.begin(), gradients.end(), pointers.begin(),
                   [](std::span<X> gradient) { return gradient.data(); });
    return true;
  }

  std::optional<double> current(std::size_t slot, Role role,
                                std::optional<double> RateState::* of_state, std::int64_t iteration,
                                std::int64_t epoch) const {
    const UpdaterConfiguration& updater = settings_.slots.at(slot).updater;
    const int place = updater.kind->find(role);
    if (place < 0) return {};
    if (const auto& value = state_.rates[slot].*of_state) return value;
    return updater.values[static_cast<std::size_t>(place)].at(iteration, epoch);
  }

  /// That what a policy moves is there, and that what is set by hand is a number of T; what a
  /// policy has left may be any.
  void check_rates(std::size_t slot, const RateState& rates) const {
    const SlotSettings& settings = settings_.slots[slot];
    const auto check = [&](const char* name, const std::optional<double>& value, bool moves,
                           double scale = 1.0) {
      const double used = value.value_or(0.0) * scale;
      if (moves ? value.has_value() : detail::is_representable<T>(used)) return;
      const std::string where = "parameter " + text::quoted(layout_.slots[slot].name.key);
      if (value) require_representable<T>(where, name, used);
      detail::refuse(where, std::string(name) + ": expected a number, as it is state, got none");
    };
    check("learning_rate", rates.learning_rate,
          settings.policy.kind != LearningRatePolicy::Kind::None, settings.learning_rate_scale);
    check("momentum", rates.momentum, !settings.momentum_schedule.empty());
  }

  /// That an updater of the user's own fits the engine's arrays and computes in T.
  static void check_updater(const UpdaterInfo& info) {
    const auto at_most = [&](std::size_t count, std::size_t most, const char* what) {
      if (count <= most) return;
      throw std::invalid_argument(std::string(info.name) + ": expected at most " +
                                  std::to_string(most) + " " + what + ", got " +
                                  std::to_string(count));
    };
    at_most(info.state.size(), max_callback_state_arrays, "state arrays");
    at_most(info.hyper_parameters.size(), max_hyper_parameters, "hyper-parameters");
    for (const StateDescription& array : info.state) {
      if (info.is_callback() || array.is_plain()) continue;
      throw std::invalid_argument(std::string(info.name) + ": state array " +
                                  text::quoted(array.name) +
                                  ": expected its parameter's shape, as a fused updater's");
    }
    constexpr bool single = sizeof(T) == sizeof(float);
    const bool computes =
        info.template callback<T>() != nullptr || info.template own_kernels<T>() != nullptr;
    if (info.index < 0 && !computes) {
      throw std::invalid_argument(std::string(info.name) + ": expected a callback for " +
                                  (single ? "float" : "double") + ", the type of the parameters");
    }
  }

  void check_shared() const {
    const Share& share = shared_.share;
    const Exchange& exchange = shared_.exchange;
    if (share.parts < 1 || share.part >= share.parts ||
        (share.parts > 1) != (exchange != nullptr)) {
      throw std::invalid_argument(
          "shared: expected a part < parts, and an exchange where there are several, got part " +
          std::to_string(share.part) + " of " + std::to_string(share.parts) +
          (exchange ? " with" : " without") + " an exchange");
    }
    for (const SlotSettings& slot : settings_.slots) {
      if (share.parts > 1 && slot.updater.kind->is_callback() && !shared_.agree) {
        throw std::invalid_argument("shared: expected agree, as the callback " +
                                    name_of(slot.updater) +
                                    " may fail in one part alone; give it a function that says "
                                    "whether all parts say yes");
      }
    }
  }

  bool monitor_;
  Shared shared_;
  NetworkSettings settings_;
  Layout layout_;
  std::optional<Layout> own_layout_;  ///< of a part of the network
  std::vector<Piece> pieces_;
  std::vector<Bucket> buckets_;
  std::vector<ParameterMemory<T>> parameters_;
  std::vector<ParameterMemory<T>> own_parameters_;  ///< where its pieces of them lie
  bool keeps_ = false;  ///< the last step's reports, which the engine no longer has
  std::vector<SlotReport> kept_reports_;
  std::shared_ptr<AlignedBuffer<T>> owned_state_;
  std::shared_ptr<AlignedBuffer<std::byte>> owned_bytes_;
  std::shared_ptr<AlignedBuffer<T>> owned_averages_;
  State<T> state_;
  std::vector<StoredSlot<T>> stored_;
  std::unique_ptr<Engine<T>> engine_;
  // Of a call that gave spans.
  std::vector<const T*> gradients_;
  std::vector<T*> updates_;
};

/// Keys such as "0_W": an integer layer, then the parameter type.
template <class T>
class MultiLayerUpdater : public Updater<T> {
 public:
  MultiLayerUpdater(const NetworkConfiguration& configuration, std::vector<Slot<T>> slots,
                    bool monitor = false, std::span<T> state_memory = {}, Shared shared = {})
      : Updater<T>(configuration, detail::named_slots(std::move(slots), KeyStyle::multi_layer),
                   monitor, state_memory, std::move(shared)) {}
};

/// Keys such as "fc_1_W": a vertex name, then the parameter type after the last '_'.
template <class T>
class ComputationGraphUpdater : public Updater<T> {
 public:
  ComputationGraphUpdater(const NetworkConfiguration& configuration, std::vector<Slot<T>> slots,
                          bool monitor = false, std::span<T> state_memory = {}, Shared shared = {})
      : Updater<T>(configuration,
                   detail::named_slots(std::move(slots), KeyStyle::computation_graph), monitor,
                   state_memory, std::move(shared)) {}
};

/// Keys such as "W": the parameter types of one layer.
template <class T>
class LayerUpdater : public Updater<T> {
 public:
  LayerUpdater(const NetworkConfiguration& configuration, std::vector<Slot<T>> slots,
               bool monitor = false, std::span<T> state_memory = {}, Shared shared = {})
      : Updater<T>(configuration, detail::named_slots(std::move(slots), KeyStyle::layer), monitor,
                   state_memory, std::move(shared)) {}
};

}  // namespace FLATSTEP_DISPATCH
}  // namespace flatstep
