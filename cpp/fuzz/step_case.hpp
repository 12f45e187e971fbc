// One case of the step fuzzer: bytes become a configuration, a layout and numbers, biased to the
// ends of their ranges, and a few steps. Every target with fused multiply-add, number of threads and
// size of cache must give the bits that the emulated target gives on one thread; and updaters whose
// formula is short are held to a scalar oracle in long double, within a running error bound.
#pragma once

#include <flatstep/flatstep.hpp>
#include <flatstep/threads.hpp>

#include "../tests/random_numbers.hpp"
#include "../tests/scalar_elements.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <optional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace flatstep::fuzz {

/// The bytes of a case, in order; 0 when there are no more.
class Bytes {
 public:
  explicit Bytes(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  std::uint8_t byte() {
    if (place_ == bytes_.size()) return 0;
    return bytes_[place_++];
  }
  std::uint64_t word(int bytes) {
    std::uint64_t word = 0;
    for (int i = 0; i < bytes; ++i) word = word << 8 | byte();
    return word;
  }
  /// Below `end`.
  std::size_t below(std::size_t end) { return byte() % end; }
  bool one_in(std::size_t n) { return below(n) == n - 1; }
  template <class Range>
  auto pick(const Range& choices) {
    return *std::next(std::begin(choices), static_cast<std::ptrdiff_t>(below(std::size(choices))));
  }
  template <class X>
  X pick(std::initializer_list<X> choices) {
    return *(choices.begin() + below(choices.size()));
  }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t place_ = 0;
};

/// What the numbers of an array are like.
struct Flavour {
  int exponent = 0;       ///< ordinary numbers are about 2^exponent
  unsigned ends = 0;      ///< of 256 elements so many are an end of the range
  bool infinite = false;  ///< NaN and infinities are among the ends
};

template <class T>
T number(tests::Random& random, const Flavour& flavour) {
  using Limits = std::numeric_limits<T>;
  const std::uint64_t x = random.next();
  const auto sign = static_cast<T>((x & 1) != 0 ? -1 : 1);
  if ((x >> 1 & 255) < flavour.ends) {
    const T ends[] = {T{0},
                      Limits::min(),
                      Limits::min() * T{1.5},
                      Limits::denorm_min(),
                      Limits::min() / 2,
                      std::sqrt(Limits::min()),
                      Limits::epsilon(),
                      T{1},
                      std::sqrt(Limits::max()),
                      Limits::max() / 4,
                      Limits::max(),
                      Limits::infinity(),
                      Limits::quiet_NaN()};
    const std::size_t count = std::size(ends) - (flavour.infinite ? 0 : 2);
    return sign * ends[(x >> 16) % count];
  }
  const T unit = static_cast<T>(1 + (x >> 40)) / static_cast<T>(1 << 24);
  return sign * std::ldexp(unit, flavour.exponent);
}

template <class T>
std::vector<T> numbers(std::size_t size, std::uint64_t seed, const Flavour& flavour) {
  tests::Random random(seed);
  std::vector<T> values(size);
  for (T& value : values) value = number<T>(random, flavour);
  return values;
}

/// A case, read from bytes.
struct Case {
  NetworkConfiguration configuration;
  std::vector<SlotName> names;
  std::vector<std::size_t> sizes;
  /// Of parameters and gradients, per slot. What a parameter cannot be without a master it is not.
  std::vector<ElementType> types, gradient_types;
  Flavour parameters, gradients;
  std::uint64_t seed = 0;
  std::int64_t iteration = 0;
  std::int64_t epoch = 0;
  std::int64_t batch_size = 1;
  double gradient_scale = 1.0;
  int steps = 1;
  bool applies = true;
  bool monitors = false;
  bool is_double = false;
  std::uint8_t turn = 0;  ///< which variants are run
};

inline Schedule rate(Bytes& in) {
  const double value = in.pick({1e-3, 0.1, 0.0, 1.0, 1e-30, 1e-45, 1e-300, 1e10, 1e30});
  switch (in.below(8)) {
    case 0:
      return Schedule::exponential(value, in.pick({0.5, 0.99, 0.0, 1.0}));
    case 1:
      return Schedule::step(value, 0.5, in.pick({1.0, 2.5, 1e9}));
    case 2:
      return Schedule::poly(value, in.pick({1.0, 0.5, 2.0}), in.pick<std::int64_t>({1, 3, 1000}),
                            ScheduleType::epoch);
    case 3:
      return Schedule::cosine(value, in.pick<std::int64_t>({1, 7, 1000}), 0.0);
    default:
      return value;
  }
}

inline UpdaterConfiguration updater(Bytes& in) {
  const auto registry = updater_registry();
  UpdaterConfiguration updater = make_updater(registry[in.below(registry.size())]);
  for (std::size_t i = 0; i < updater.values.size(); ++i) {
    const HyperParameter& parameter = updater.kind->hyper_parameters[i];
    if (in.one_in(2)) continue;  // the default
    if (parameter.kind != ValueKind::number) {
      updater.values[i] =
          static_cast<double>(in.below(static_cast<std::size_t>(parameter.high) + 1));
      continue;
    }
    switch (parameter.role) {
      case Role::learning_rate:
        updater.values[i] = rate(in);
        break;
      case Role::momentum:
        updater.values[i] = in.pick({0.0, 1.0, 0.5, 0.999999});
        break;
      default:
        updater.values[i] =
            parameter.high == 1.0
                ? in.pick({0.0, 0.5, 0.9, 0.999, 1 - 1e-6, 1 - 1e-16, 1e-300})
                : in.pick({0.0, 1e-14, 1e-8, 1e-3, 1.0, 1e-38, 1e-46, 1e-310, 1e30});
    }
  }
  return updater;
}

inline StateStorage state_storage(Bytes& in) {
  return in.pick({StateStorage::bits_8, StateStorage::bits_16, StateStorage::full});
}

/// How a case's numbers are kept: about half of them in fewer bits.
inline void read_storage(Bytes& in, Case& c) {
  NetworkConfiguration& configuration = c.configuration;
  configuration.storage_seed = in.byte();
  if (in.one_in(2) && !c.is_double) configuration.state_storage = state_storage(in);
  if (in.one_in(2)) configuration.master = in.pick({Master::split, Master::full});
  for (auto& [name, layer] : configuration.layers) {
    if (in.one_in(3) && !c.is_double) layer.state_storage = state_storage(in);
  }
  const bool mixes = in.one_in(2);
  for (std::size_t i = 0; i < c.names.size(); ++i) {
    const std::size_t of_parameter = in.below(configuration.master == Master::full ? 3 : 2);
    const bool is_narrow = configuration.master.has_value() && !c.is_double && of_parameter > 0;
    c.types.push_back(!is_narrow          ? ElementType::same
                      : of_parameter == 1 ? ElementType::bfloat16
                                          : ElementType::float16);
    const auto of_gradient =
        c.is_double ? in.pick({ElementType::same, ElementType::float32})
                    : in.pick({ElementType::same, ElementType::bfloat16, ElementType::float16});
    c.gradient_types.push_back(mixes ? of_gradient : ElementType::same);
  }
}

inline std::vector<double> coefficients() { return {0.0, 0.0, 0.0, 1e-3, 0.5, 1e-40, 1e30, 1e300}; }

inline Case read_case(std::span<const std::uint8_t> bytes) {
  Bytes in(bytes);
  Case c;
  c.seed = in.word(2);
  c.turn = in.byte();
  NetworkConfiguration& configuration = c.configuration;
  const std::uint8_t flags = in.byte();
  c.is_double = (flags & 1) != 0;
  c.applies = (flags & 2) != 0;
  c.monitors = (flags & 4) != 0;
  configuration.semantics = (flags & 8) != 0 ? Semantics::dl4j_0_8 : Semantics::dl4j_1_0;
  configuration.mini_batch = (flags & 16) != 0;
  configuration.on_nonfinite = in.pick(
      {OnNonfinite::propagate, OnNonfinite::raise, OnNonfinite::skip, OnNonfinite::propagate});
  c.steps = 1 + static_cast<int>(in.below(3));
  c.iteration = in.pick<std::int64_t>(
      {0, 1, 2, 9, 1000, std::int64_t{1} << 40, std::numeric_limits<std::int64_t>::max() - 8});
  c.epoch = in.pick<std::int64_t>({0, 1, 3, 1 << 20});
  c.batch_size = in.pick<std::int64_t>({1, 1, 2, 3, 32, std::numeric_limits<std::int64_t>::max()});
  c.gradient_scale = in.pick<double>({1.0, 1.0, 1.0, 0.5, 1e-3, 1e-30, 1e3, 1e30});
  const int exponents[] = {0, 0, 0, -10, 10, -60, 60, -120, 120, -600, 600, -1020, 1000};
  const std::size_t kinds = c.is_double ? std::size(exponents) : std::size(exponents) - 4;
  for (Flavour* flavour : {&c.parameters, &c.gradients}) {
    flavour->exponent = exponents[in.below(kinds)];
    flavour->ends = in.pick<unsigned>({0, 0, 8, 64, 256});
    flavour->infinite = in.one_in(4);
  }
  configuration.updater = updater(in);
  const std::size_t strategies_known = gradient_normalization_names.size();
  configuration.gradient_normalization =
      static_cast<GradientNormalization>(in.below(strategies_known));
  configuration.gradient_normalization_threshold = in.pick({1.0, 0.5, 1e-6, 1e6, 1e-300, 1e300});
  configuration.l1 = in.pick(coefficients());
  configuration.l2 = in.pick(coefficients());
  configuration.l2_bias = in.pick(coefficients());
  if (configuration.semantics == Semantics::dl4j_1_0) {
    configuration.weight_decay = in.pick(coefficients());
    configuration.weight_decay_apply_lr = in.one_in(2);
  }
  // A norm of all layers is the network's alone.
  std::vector<GradientNormalization> layer_strategies;
  for (std::size_t i = 0; i < strategies_known; ++i) {
    const auto strategy = static_cast<GradientNormalization>(i);
    if (rules_of(strategy).group == NormalizationGroup::network) continue;
    layer_strategies.push_back(strategy);
  }
  const std::size_t layers = 1 + in.below(4);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    LayerConfiguration own;
    const std::uint8_t what = in.byte();
    own.frozen = what % 16 == 1;
    own.pretrain = what % 16 == 2;
    if (what % 16 == 3) own.updater = updater(in);
    if (what % 16 == 4) {
      own.gradient_normalization = layer_strategies[in.below(layer_strategies.size())];
    }
    if (what % 16 == 5) own.kind = "BatchNormalization";
    const char* const params[][2] = {{"W", "b"}, {"W", ""}, {"W", "vb"}, {"gamma", "mean"}};
    for (const char* param : params[what / 16 % 4]) {
      if (*param == '\0') continue;
      c.names.push_back(parse_key(std::to_string(layer) + "_" + param, KeyStyle::multi_layer));
      const std::uint8_t size = in.byte();
      const std::size_t large[] = {
          chunk_size - 1, chunk_size, chunk_size + 1, 2 * chunk_size + 17, 3 * chunk_size, 1000, 0};
      c.sizes.push_back(size < 240 ? 1 + size % 80u : large[size % std::size(large)]);
    }
    configuration.layers[std::to_string(layer)] = own;
  }
  read_storage(in, c);
  return c;
}

inline NetworkSettings settings_of(const Case& c) {
  std::vector<std::span<const std::size_t>> shapes;
  for (const std::size_t& size : c.sizes) shapes.emplace_back(&size, 1);
  return resolve(c.configuration, c.names, shapes);
}

/// What a case's memory holds, as numbers: per slot, and of state per slot and array.
template <class T>
struct Numbers {
  std::vector<std::vector<T>> parameters, gradients;
  std::vector<std::vector<std::vector<T>>> state;
};

/// An array of elements of some type.
template <class T>
class Elements {
 public:
  Elements(ElementType type, std::size_t size)
      : type_(type), size_(size), bytes_(size * bytes_of(type, sizeof(T))) {}

  /// Takes the numbers, rounded.
  void set(const std::vector<T>& values) {
    for (std::size_t i = 0; i < size_; ++i) {
      switch (type_) {
        case ElementType::same:
          put(i, values[i]);
          break;
        case ElementType::float32:
          put(i, static_cast<float>(values[i]));
          break;
        case ElementType::bfloat16:
          put(i, tests::to_bfloat16(static_cast<float>(values[i])));
          break;
        case ElementType::float16:
          put(i, tests::to_float16(static_cast<float>(values[i])));
      }
    }
  }

  std::vector<T> numbers() const {
    std::vector<T> values(size_);
    for (std::size_t i = 0; i < size_; ++i) {
      switch (type_) {
        case ElementType::same:
          values[i] = get<T>(i);
          break;
        case ElementType::float32:
          values[i] = get<float>(i);
          break;
        case ElementType::bfloat16:
          values[i] = tests::of_bfloat16(get<std::uint16_t>(i));
          break;
        case ElementType::float16:
          values[i] = tests::of_float16(get<std::uint16_t>(i));
      }
    }
    return values;
  }

  ParameterMemory<T> memory() { return {bytes_.data(), size_, type_}; }
  /// A pointer as steps take it, whatever it points to.
  T* data() { return reinterpret_cast<T*>(bytes_.data()); }

 private:
  template <class E>
  void put(std::size_t i, E element) {
    std::memcpy(bytes_.data() + i * sizeof(E), &element, sizeof(E));
  }
  template <class E>
  E get(std::size_t i) const {
    E element;
    std::memcpy(&element, bytes_.data() + i * sizeof(E), sizeof(E));
    return element;
  }

  ElementType type_;
  std::size_t size_;
  std::vector<std::byte> bytes_;
};

/// A case on memory of its own, planned for a cache of that many elements.
template <class T>
class Network {
 public:
  Network(const Case& c, std::size_t cached_elements) : case_(c), settings_(settings_of(c)) {
    std::vector<LayoutSlot> slots;
    for (std::size_t i = 0; i < c.sizes.size(); ++i) {
      LayoutSlot slot;
      slot.name = c.names[i];
      slot.shape = {c.sizes[i]};
      slot.size = c.sizes[i];
      slot.type = c.types[i];
      slot.master = settings_.slots[i].master;
      slots.push_back(slot);
      parameters_.emplace_back(c.types[i], c.sizes[i]);
      parameters_[i].set(fuzz::numbers<T>(c.sizes[i], c.seed * 1000 + i, c.parameters));
      gradients_.emplace_back(c.gradient_types[i], c.sizes[i]);
    }
    layout = make_layout(std::move(slots), settings_);
    numbers_.resize(layout.kept_numbers);
    bytes_.resize(layout.kept_bytes);
    state_.memory = {numbers_, bytes_};
    for (auto& parameter : parameters_) memory_.push_back(parameter.memory());
    for (auto& gradient : gradients_) {
      read_.push_back(gradient.data());
      written_.push_back(gradient.data());
    }
    state_.initialize_rates(settings_);
    stored_ = stored_slots<T>(layout, std::span<const ParameterMemory<T>>(memory_), state_.memory);
    initialize_stored<T>(layout, settings_, stored_, {});
    state_.counters.iteration = c.iteration;
    engine_.emplace(layout, make_plan(layout, settings_, state_.rates, cached_elements), stored_,
                    state_.averages, c.monitors);
  }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  void draw_gradients(int step) {
    for (std::size_t i = 0; i < gradients_.size(); ++i) {
      gradients_[i].set(fuzz::numbers<T>(
          case_.sizes[i], c_seed() + static_cast<std::uint64_t>(100 * (step + 1)) + i,
          case_.gradients));
    }
  }

  StepStatus step() {
    StepOptions options;
    options.epoch = case_.epoch;
    options.batch_size = case_.batch_size;
    options.gradient_scale = case_.gradient_scale;
    const bool has_types =
        std::ranges::count(case_.gradient_types, ElementType::same) != std::ssize(gradients_);
    const StepMemory<T> given{
        read_, case_.applies ? std::span<T* const>() : written_,
        has_types ? std::span(case_.gradient_types) : std::span<const ElementType>()};
    return engine_->step(layout, given, state_, options).status;
  }

  Numbers<T> numbers() const {
    const FlushSubnormals flush;
    const KernelTable<T>& kernels = active_target().kernels<T>();
    Numbers<T> found;
    for (std::size_t i = 0; i < stored_.size(); ++i) {
      found.gradients.push_back(gradients_[i].numbers());
      found.parameters.emplace_back(layout.slots[i].size);
      read_parameter(kernels, stored_[i], 0, layout.slots[i].size, found.parameters[i].data());
      found.state.emplace_back();
      for (std::size_t a = 0; a < stored_[i].state.size(); ++a) {
        const std::size_t size = layout.slots[i].state[a].size;
        found.state[i].emplace_back(size);
        read_state(kernels, stored_[i].state[a], 0, size, found.state[i][a].data());
      }
    }
    return found;
  }

  /// All that a step leaves behind. Which NaN it is says nothing.
  std::vector<std::uint64_t> bits() const {
    std::vector<std::uint64_t> bits;
    const auto add = [&](auto x) {
      using X = decltype(x);
      using Bits = std::conditional_t<sizeof(X) == 4, std::uint32_t, std::uint64_t>;
      bits.push_back(std::isnan(x) ? ~std::uint64_t{0} : std::bit_cast<Bits>(x));
    };
    const auto add_all = [&](const std::vector<T>& values) {
      std::for_each(values.begin(), values.end(), add);
    };
    const Numbers<T> found = numbers();
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      add_all(found.parameters[i]);
      add_all(parameters_[i].numbers());
      add_all(found.gradients[i]);
      for (std::size_t a = 0; a < found.state[i].size(); ++a) {
        add_all(found.state[i][a]);
        const StoredArray<T>& array = stored_[i].state[a];
        if (array.scales == nullptr) continue;
        for (std::size_t k = 0; k < found.state[i][a].size(); ++k) {
          const float scale = array.scales[k / code_block];
          if (k % code_block == 0) add(scale);
          if (std::isnan(scale)) continue;
          for (std::size_t byte = 0; byte < bytes_of(array.code); ++byte) {
            bits.push_back(
                std::to_integer<std::uint64_t>(array.codes[k * bytes_of(array.code) + byte]));
          }
        }
      }
    }
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const SlotReport report = engine_->report(i);
      for (const double x :
           {report.gradient_norm, report.factor, report.update_norm, report.parameter_norm,
            report.group_norm, report.learning_rate, report.trust_ratio}) {
        add(x);
      }
      bits.push_back(static_cast<std::uint64_t>(report.clipped) << 1 |
                     static_cast<std::uint64_t>(report.nonfinite));
    }
    bits.push_back(static_cast<std::uint64_t>(state_.counters.iteration));
    bits.push_back(state_.counters.skipped_steps);
    return bits;
  }

  const NetworkSettings& settings() const { return settings_; }
  std::int64_t iteration() const { return state_.counters.iteration; }

  Layout layout;

 private:
  std::uint64_t c_seed() const { return case_.seed * 1000 + 7; }

  const Case& case_;
  NetworkSettings settings_;
  std::vector<Elements<T>> parameters_;
  std::vector<Elements<T>> gradients_;
  std::vector<T> numbers_;
  std::vector<std::byte> bytes_;
  State<T> state_;
  std::vector<ParameterMemory<T>> memory_;
  std::vector<StoredSlot<T>> stored_;
  std::vector<const T*> read_;
  std::vector<T*> written_;
  std::optional<Engine<T>> engine_;
};

/// A value in long double and how far an evaluation in T may be from it (Higham, Accuracy and
/// Stability of Numerical Algorithms, section 3.3). Not finite: nothing is known.
template <class T>
struct Bounded {
  using Limits = std::numeric_limits<T>;
  static constexpr long double unit = Limits::epsilon() / 2;
  static constexpr long double tiny = Limits::min();

  long double value = 0;
  long double error = 0;

  static Bounded exact(T x) {
    return {std::fabs(static_cast<long double>(x)) < tiny ? 0.0L : static_cast<long double>(x), 0};
  }
  /// A step scalar: a few operations in double, rounded to T once; what T cannot hold is unknown.
  static Bounded constant(long double x) {
    const long double magnitude = std::fabs(x);
    if (magnitude > Limits::max() / 2) return unknown();
    const long double relative = unit + 4 * 0x1p-53L;
    return {x, magnitude < 2 * tiny ? magnitude + tiny * (magnitude > 0) : magnitude * relative};
  }
  static Bounded unknown() { return {0, std::numeric_limits<long double>::infinity()}; }

  static Bounded rounded(long double value, long double inherited) {
    const long double magnitude = std::fabs(value) + inherited;
    if (!(magnitude < Limits::max() / 2)) return unknown();
    const bool vanishes = std::fabs(value) <= inherited + 2 * tiny;
    return {value, inherited + 1.01L * unit * magnitude + (vanishes ? tiny : 0)};
  }
  friend Bounded operator+(const Bounded& a, const Bounded& b) {
    return rounded(a.value + b.value, a.error + b.error);
  }
  friend Bounded operator-(const Bounded& a, const Bounded& b) {
    return rounded(a.value - b.value, a.error + b.error);
  }
  friend Bounded operator*(const Bounded& a, const Bounded& b) {
    if (!std::isfinite(a.error + b.error)) return unknown();
    return rounded(a.value * b.value,
                   std::fabs(a.value) * b.error + std::fabs(b.value) * a.error + a.error * b.error);
  }
  friend Bounded operator/(const Bounded& a, const Bounded& b) {
    const long double room = std::fabs(b.value) - b.error;
    if (!(room > 0) || !std::isfinite(a.error)) return unknown();
    const long double quotient = a.value / b.value;
    return rounded(quotient, (a.error + std::fabs(quotient) * b.error) / room);
  }
  friend Bounded sqrt(const Bounded& a) {
    if (!std::isfinite(a.error)) return unknown();
    const long double root = std::sqrt(std::max(a.value, 0.0L));
    const long double least = std::sqrt(std::max(a.value - a.error, 0.0L));
    return rounded(root, a.error == 0 ? 0 : a.error / std::max(root + least, 1e-4000L));
  }
  bool holds(T x) const {
    if (!std::isfinite(error)) return true;
    return std::fabs(static_cast<long double>(x) - value) <= error;
  }
};

/// One element of one slot, by the formulas of the documentation. False where the oracle has none.
template <class T>
class ScalarOracle {
 public:
  using B = Bounded<T>;

  ScalarOracle(const Case& c, const NetworkSettings& settings, std::size_t slot_place,
               std::int64_t iteration)
      : case_(c),
        slot_(settings.slots[slot_place]),
        layer_(settings.layers[slot_.layer]),
        name_(slot_.updater.kind->name) {
    const auto at = [&](std::size_t i) { return slot_.updater.values[i].at(iteration, c.epoch); };
    for (std::size_t i = 0; i < slot_.updater.values.size(); ++i) hyper_.push_back(at(i));
    t_ = static_cast<std::uint64_t>(iteration) + 1;
  }

  /// Whether it knows what becomes of such a slot.
  bool knows() const {
    if (case_.configuration.semantics != Semantics::dl4j_1_0) return false;
    if (slot_.frozen || slot_.statistic || slot_.pretrain_only) return false;
    if (case_.gradient_scale > 1) return false;  // it may leave the range
    const NormalizationGroup group = rules_of(layer_.strategy).group;
    if (group != NormalizationGroup::none && group != NormalizationGroup::element) return false;
    for (const std::string_view name : {"Sgd", "NoOp", "Nesterovs", "AdaGrad", "RmsProp", "Adam"}) {
      if (name_ == name) return true;
    }
    return false;
  }

  /// The update of g at p; `state` goes from before to after.
  B update(T g_bits, T p_bits, B* state) const {
    if (!std::isfinite(g_bits) || !std::isfinite(p_bits)) {
      state[0] = state[1] = B::unknown();
      return B::unknown();
    }
    B g = B::exact(g_bits);
    const B p = B::exact(p_bits);
    if (case_.gradient_scale != 1) {
      g = g * B::constant(static_cast<long double>(case_.gradient_scale));
    }
    if (case_.configuration.mini_batch && case_.batch_size != 1) {
      g = g * B::constant(1.0L / static_cast<long double>(case_.batch_size));
    }
    if (rules_of(layer_.strategy).group == NormalizationGroup::element) {
      const B threshold = B::constant(layer_.threshold);
      if (std::fabs(g.value) + g.error >= threshold.value - threshold.error) {
        if (std::fabs(g.value) - g.error <= threshold.value + threshold.error) {
          g.error += 2 * threshold.error + 2 * g.error;  // either side of the threshold
        } else {
          g = {std::copysign(threshold.value, g.value), threshold.error};
        }
      }
    }
    if (slot_.l2 != 0) g = g + B::constant(slot_.l2) * p;
    if (slot_.l1 != 0) {
      g = g + B::constant(slot_.l1) * B{p.value > 0 ? 1.0L : p.value < 0 ? -1.0L : 0.0L, 0};
    }
    B u = formula(g, state);
    if (slot_.weight_decay != 0) {
      const bool by_rate = slot_.weight_decay_apply_lr && slot_.updater.kind->has_learning_rate();
      const long double rate = by_rate ? hyper_[0] : 1.0L;
      u = u + B::constant(static_cast<long double>(slot_.weight_decay) * rate) * p;
    }
    return u;
  }

 private:
  B moving(double decay, const B& average, const B& x) const {
    return B::constant(decay) * average + B::constant(1.0L - static_cast<long double>(decay)) * x;
  }

  B formula(const B& g, B* state) const {
    if (name_ == "NoOp") return g;
    const B learning_rate = B::constant(hyper_[0]);
    if (name_ == "Sgd") return learning_rate * g;
    if (name_ == "Nesterovs") {
      const B decayed = B::constant(hyper_[1]) * state[0];
      state[0] = decayed - learning_rate * g;
      return decayed - B::constant(1.0L + hyper_[1]) * state[0];
    }
    if (name_ == "AdaGrad") {
      state[0] = state[0] + g * g;
      return learning_rate * g / (sqrt(state[0]) + B::constant(hyper_[1]));
    }
    if (name_ == "RmsProp") {
      state[0] = moving_of_squares(hyper_[1], state[0], g);
      return learning_rate * g / (sqrt(state[0]) + B::constant(hyper_[2]));
    }
    state[0] = moving(hyper_[1], state[0], g);
    state[1] = moving_of_squares(hyper_[2], state[1], g);
    const bool corrects = hyper_[5] != 0.0;
    const double root = corrects ? std::sqrt(1.0 - power(hyper_[2], t_)) : 1.0;
    const double alpha = hyper_[0] * root / (corrects ? 1.0 - power(hyper_[1], t_) : 1.0);
    const double epsilon = hyper_[4] != 0.0 ? hyper_[3] * root : hyper_[3];
    return B::constant(alpha) * state[0] / (sqrt(state[1]) + B::constant(epsilon));
  }

  B moving_of_squares(double decay, const B& average, const B& g) const {
    const B weight = B::constant(1.0L - static_cast<long double>(decay));
    return B::constant(decay) * average + weight * g * g;
  }

  const Case& case_;
  const SlotSettings& slot_;
  const LayerSettings& layer_;
  std::string_view name_;
  std::vector<double> hyper_;
  std::uint64_t t_ = 1;
};

inline constexpr std::size_t everything = std::size_t{1} << 40;

/// What a step made of `before`, which is what it had read.
template <class T>
std::string compare_with_oracle(const Case& c, const Network<T>& network, const Numbers<T>& before,
                                const Numbers<T>& after, std::int64_t iteration) {
  for (std::size_t i = 0; i < before.parameters.size(); ++i) {
    const ScalarOracle<T> oracle(c, network.settings(), i, iteration);
    if (!oracle.knows()) continue;
    if (!c.applies && c.gradient_types[i] != ElementType::same) continue;  // rounded once more
    const LayoutSlot& slot = network.layout.slots[i];
    const std::size_t stride = 1 + slot.size / 100;  // of large slots a sample
    for (std::size_t k = 0; k < slot.size; k += stride) {
      Bounded<T> state[2];
      bool known = true;
      for (std::size_t a = 0; a < slot.state.size(); ++a) {
        const T x = before.state[i][a][k];
        known = known && std::isfinite(x);
        state[a] = Bounded<T>::exact(x);
      }
      if (!known) continue;
      const T p = before.parameters[i][k];
      const Bounded<T> u = oracle.update(before.gradients[i][k], p, state);
      const Bounded<T> expected = c.applies ? Bounded<T>::exact(p) - u : u;
      const T got = c.applies ? after.parameters[i][k] : after.gradients[i][k];
      std::ostringstream text;
      text.precision(21);
      if (std::isfinite(p) && !expected.holds(got)) {
        text << slot.name.key << "[" << k << "]: " << got << ", expected " << expected.value
             << " ± " << expected.error;
        return text.str();
      }
      for (std::size_t a = 0; a < slot.state.size(); ++a) {
        if (slot.state[a].code != StateCode::none) continue;  // storage_test looks at codes
        const T x = after.state[i][a][k];
        if (state[a].holds(x)) continue;
        text << slot.name.key << " " << slot.state[a].description.name << "[" << k << "]: " << x
             << ", expected " << state[a].value << " ± " << state[a].error;
        return text.str();
      }
    }
  }
  return {};
}

template <class T>
std::string check(const Case& c) {
  const auto with = [&](const Target& target, unsigned threads, std::size_t cached, auto&& each) {
    set_target(target.name);
    ThreadPool::instance().set_num_threads(threads);
    Network<T> network(c, cached);
    for (int step = 0; step < c.steps; ++step) {
      network.draw_gradients(step);
      each(network, step);
    }
  };
  std::vector<std::vector<std::uint64_t>> expected;
  std::vector<StepStatus> statuses;
  std::string failure;
  const Target& plain = targets().back();  // emulated
  with(plain, 1, everything, [&](Network<T>& network, int) {
    const Numbers<T> before = network.numbers();
    const std::int64_t iteration = network.iteration();
    statuses.push_back(network.step());
    expected.push_back(network.bits());
    if (failure.empty() && statuses.back() == StepStatus::done) {
      failure = compare_with_oracle(c, network, before, network.numbers(), iteration);
    }
  });
  if (!failure.empty()) return "oracle: " + failure;

  const std::size_t caches[] = {0, chunk_size, everything, 6 * chunk_size};
  std::size_t turn = c.turn;
  for (const Target& target : targets()) {
    if (std::string_view(target.name) == "sse2") continue;
    for (const unsigned threads : {1u, 2u, 3u}) {
      const std::size_t cached = caches[turn++ % std::size(caches)];
      with(target, threads, cached, [&](Network<T>& network, int step) {
        const auto place = static_cast<std::size_t>(step);
        if (network.step() == statuses[place] && network.bits() == expected[place]) return;
        failure = std::string(target.name) + ", " + std::to_string(threads) + " threads, " +
                  std::to_string(cached) + " cached: step " + std::to_string(step) + " differs";
      });
      if (!failure.empty()) return failure;
    }
  }
  return {};
}

/// What is wrong with the steps of this case; empty where nothing is. `legal` says whether the
/// bytes made a configuration that the library takes.
inline std::string check_step_case(std::span<const std::uint8_t> bytes, bool* legal = nullptr) {
  if (legal != nullptr) *legal = false;
  try {
    const Case c = read_case(bytes);
    settings_of(c);  // throws for what is not legal
    if (legal != nullptr) *legal = true;
    return c.is_double ? check<double>(c) : check<float>(c);
  } catch (const std::invalid_argument&) {
    return {};
  }
}

}  // namespace flatstep::fuzz
