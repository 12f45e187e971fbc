// Several updaters that have a part each of one network, of its gradients and its state, and meet in an
// exchange that adds their sums, leave the bits of one updater that has all of it.
#include <flatstep/flatstep.hpp>

#include "random_numbers.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using flatstep::chunk_size;
using flatstep::GradientNormalization;
using flatstep::NetworkConfiguration;
using flatstep::Semantics;
using flatstep::StepStatus;

/// The exchange between threads of one process: each brings its numbers, all leave with the sums.
class Meeting {
 public:
  explicit Meeting(std::size_t parts) : parts_(parts), given_(parts), barrier_(parts_of(parts)) {}

  flatstep::Exchange exchange_of(std::size_t part) {
    return [this, part](std::span<double> numbers) {
      given_[part].assign(numbers.begin(), numbers.end());
      barrier_.arrive_and_wait();
      for (std::size_t k = 0; k < numbers.size(); ++k) {
        numbers[k] = 0;
        for (const std::vector<double>& other : given_) numbers[k] += other[k];
      }
      barrier_.arrive_and_wait();
      ++meetings_;
      return !fails_;
    };
  }
  /// Whether all say yes.
  flatstep::Agreement agreement_of(std::size_t part) {
    return [exchange = exchange_of(part)](bool yes) {
      double noes = yes ? 0 : 1;
      return exchange({&noes, 1}) && noes == 0;
    };
  }
  void fail() { fails_ = true; }
  int meetings() const { return meetings_ / static_cast<int>(parts_); }

 private:
  static std::ptrdiff_t parts_of(std::size_t parts) { return static_cast<std::ptrdiff_t>(parts); }

  std::size_t parts_;
  std::vector<std::vector<double>> given_;
  std::barrier<> barrier_;
  std::atomic<bool> fails_ = false;
  std::atomic<int> meetings_ = 0;
};

const std::vector<std::size_t> sizes = {3 * chunk_size + 5, 7, chunk_size, 1, 2 * chunk_size, 100};

template <class T>
using Updaters = std::vector<std::unique_ptr<flatstep::MultiLayerUpdater<T>>>;

/// One step of all, each on a thread; they must agree on what becomes of it.
template <class T>
StepStatus step_together(const Updaters<T>& updaters, std::span<const T* const> gradients,
                         std::span<const flatstep::ElementType> types = {}) {
  std::vector<StepStatus> statuses(updaters.size());
  std::vector<std::jthread> threads;
  for (std::size_t part = 0; part < updaters.size(); ++part) {
    threads.emplace_back([&, part] {
      std::vector<const T*> own;  // of the pieces of this part
      const auto pieces = updaters[part]->pieces();
      for (std::size_t i = 0; i < gradients.size(); ++i) {
        const auto type = types.empty() ? flatstep::ElementType::same : types[i];
        const std::size_t begin = pieces.empty() ? 0 : pieces[i].begin;
        own.push_back(static_cast<const T*>(flatstep::element(gradients[i], type, begin)));
      }
      flatstep::StepOptions options;
      options.batch_size = 3;
      statuses[part] = updaters[part]->step(std::span<const T* const>(own), types, options).status;
    });
  }
  threads.clear();
  for (const StepStatus status : statuses) EXPECT_EQ(status, statuses[0]);
  return statuses[0];
}

template <class T>
void add_reports(std::vector<std::uint64_t>& bits, const flatstep::MultiLayerUpdater<T>& updater) {
  for (std::size_t i = 0; i < updater.layout().slots.size(); ++i) {
    const flatstep::SlotReport report = updater.report(i);
    for (const double x :
         {report.gradient_norm, report.group_norm, report.factor, report.learning_rate,
          report.trust_ratio, report.update_norm, report.parameter_norm, report.clipped_share,
          report.nonfinite ? 1.0 : 0.0}) {
      bits.push_back(std::bit_cast<std::uint64_t>(x));
    }
  }
}

/// A network on memory of its own, stepped by as many updaters as there are parts.
template <class T>
class Network {
 public:
  Network(const NetworkConfiguration& configuration, std::size_t parts, bool monitor = false)
      : meeting_(parts) {
    flatstep::tests::Random random;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      parameters_.push_back(random.values<T>(sizes[i]));
      gradients_.push_back(random.values<T>(sizes[i]));
    }
    std::vector<flatstep::Slot<T>> slots;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      slots.push_back({std::to_string(i / 2) + (i % 2 == 0 ? "_W" : "_b"), parameters_[i]});
    }
    hooks_.resize(parts);
    for (std::size_t part = 0; part < parts; ++part) {
      flatstep::Shared shared;
      shared.share = {part, parts};
      if (parts > 1) {
        shared.exchange = meeting_.exchange_of(part);
        shared.agree = meeting_.agreement_of(part);
        shared.bucket_elements = 1;  // a chunk
        shared.arrive = [this, part](std::size_t k) {
          hooks_[part].push_back("arrive " + std::to_string(k));
          return !lost_;
        };
        shared.leave = [this, part](std::size_t k) {
          hooks_[part].push_back("leave " + std::to_string(k));
        };
      }
      updaters_.push_back(std::make_unique<flatstep::MultiLayerUpdater<T>>(
          configuration, slots, monitor, std::span<T>{}, shared));
    }
  }

  StepStatus step() {
    std::vector<const T*> pointers;
    for (const auto& gradient : gradients_) pointers.push_back(gradient.data());
    return step_together<T>(updaters_, pointers);
  }

  /// Parameters, state, and what one of the updaters reports.
  std::vector<std::uint64_t> bits(std::size_t part = 0) const {
    std::vector<std::uint64_t> bits;
    const auto add = [&](double x) { bits.push_back(std::bit_cast<std::uint64_t>(x)); };
    for (const auto& parameter : parameters_) {
      for (const T x : parameter) add(static_cast<double>(x));
    }
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      for (std::size_t a = 0; a < updaters_[0]->layout().slots[i].state.size(); ++a) {
        add_pieces(bits, i, [&](const auto& updater) { return updater.state(i, a); });
      }
      add_pieces(bits, i, [&](const auto& updater) { return updater.average(i); });
    }
    add_reports(bits, *updaters_[part]);
    return bits;
  }

  flatstep::Piece piece(std::size_t part, std::size_t slot) const {
    const auto pieces = updaters_[part]->pieces();
    return pieces.empty() ? flatstep::Piece{0, sizes[slot], sizes[slot]} : pieces[slot];
  }
  /// Makes every bucket fail to arrive.
  void lose() { lost_ = true; }
  const std::vector<std::string>& hooks(std::size_t part) const { return hooks_[part]; }
  std::vector<T>& gradient(std::size_t slot) { return gradients_[slot]; }
  flatstep::MultiLayerUpdater<T>& updater(std::size_t part) { return *updaters_[part]; }
  Meeting& meeting() { return meeting_; }

 private:
  /// What the updaters have of one array, one after the other.
  template <class Of>
  void add_pieces(std::vector<std::uint64_t>& bits, std::size_t slot, const Of& of) const {
    std::size_t end = 0;
    for (std::size_t part = 0; part < updaters_.size(); ++part) {
      const std::span<T> values = of(*updaters_[part]);
      if (values.empty()) continue;
      EXPECT_EQ(piece(part, slot).begin, end);
      end += values.size();
      for (const T x : values) {
        bits.push_back(std::bit_cast<std::uint64_t>(static_cast<double>(x)));
      }
    }
  }

  std::vector<std::vector<T>> parameters_;
  std::vector<std::vector<T>> gradients_;
  std::vector<std::vector<std::string>> hooks_;
  bool lost_ = false;
  Meeting meeting_;
  Updaters<T> updaters_;
};

NetworkConfiguration configuration_of(std::string_view updater, GradientNormalization strategy,
                                      Semantics semantics) {
  NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater(updater);
  configuration.gradient_normalization = strategy;
  configuration.gradient_normalization_threshold = 0.5;
  configuration.semantics = semantics;
  configuration.l2 = 1e-3;
  return configuration;
}

template <class T>
class Exchange : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(Exchange, Types);

TYPED_TEST(Exchange, OfTheirSumsGivesTheBitsOfOne) {
  for (const std::string_view updater : {"Sgd", "Adam", "Lamb", "Lars"}) {
    const bool trusts = flatstep::find_updater(updater)->trusts != nullptr;
    for (const std::string_view name : flatstep::gradient_normalization_names) {
      if (trusts && name != "None" && name != "ClipL2PerLayer") continue;  // as of any updater
      for (const Semantics semantics : {Semantics::dl4j_1_0, Semantics::dl4j_0_8}) {
        const auto configuration =
            configuration_of(updater, flatstep::parse_gradient_normalization(name), semantics);
        for (const bool monitor : {false, true}) {
          Network<TypeParam> one(configuration, 1, monitor);
          ASSERT_EQ(one.step(), StepStatus::done);
          ASSERT_EQ(one.step(), StepStatus::done);
          for (const std::size_t parts : {std::size_t{2}, std::size_t{3}, std::size_t{11}}) {
            Network<TypeParam> many(configuration, parts, monitor);
            ASSERT_EQ(many.step(), StepStatus::done);
            ASSERT_EQ(many.step(), StepStatus::done);
            for (std::size_t part = 0; part < parts; ++part) {
              ASSERT_EQ(many.bits(part), one.bits())
                  << updater << ", " << name << ", " << to_string(semantics) << ", part " << part
                  << " of " << parts << (monitor ? ", monitored" : "");
            }
          }
        }
      }
    }
  }
}

TYPED_TEST(Exchange, CarriesNumbersWhoseSquaresLeaveTheRange) {
  const auto configuration =
      configuration_of("Sgd", GradientNormalization::ClipL2PerLayer, Semantics::dl4j_1_0);
  Network<TypeParam> one(configuration, 1);
  Network<TypeParam> two(configuration, 2);
  for (Network<TypeParam>* network : {&one, &two}) {
    network->gradient(0)[5] = std::numeric_limits<TypeParam>::max() / 4;
    network->gradient(4).assign(sizes[4], std::numeric_limits<TypeParam>::min() * 2);
    network->gradient(5).assign(sizes[5], 0);
    ASSERT_EQ(network->step(), StepStatus::done);
  }
  EXPECT_EQ(two.bits(1), one.bits());
}

TYPED_TEST(Exchange, TellsAllOfANonfiniteGradient) {
  for (const auto choice : {flatstep::OnNonfinite::raise, flatstep::OnNonfinite::skip}) {
    auto configuration =
        configuration_of("Adam", GradientNormalization::ClipL2Global, Semantics::dl4j_1_0);
    configuration.on_nonfinite = choice;
    Network<TypeParam> one(configuration, 1);
    Network<TypeParam> two(configuration, 2);
    for (Network<TypeParam>* network : {&one, &two}) {
      network->gradient(4)[9] = std::numeric_limits<TypeParam>::quiet_NaN();  // in the second part
      EXPECT_NE(network->step(), StepStatus::done);
    }
    for (std::size_t part = 0; part < 2; ++part) {
      EXPECT_EQ(two.bits(part), one.bits());
      EXPECT_TRUE(two.updater(part).report(4).nonfinite);
      EXPECT_FALSE(two.updater(part).report(0).nonfinite);
      EXPECT_EQ(two.updater(part).counters().iteration, 0);
    }
  }
}

TYPED_TEST(Exchange, ThatFailsAbandonsTheStep) {
  const auto configuration =
      configuration_of("Adam", GradientNormalization::ClipL2PerLayer, Semantics::dl4j_1_0);
  Network<TypeParam> network(configuration, 2);
  ASSERT_EQ(network.step(), StepStatus::done);
  const auto before = network.bits();
  network.meeting().fail();
  EXPECT_EQ(network.step(), StepStatus::abandoned);
  EXPECT_EQ(network.bits(), before) << "parameters, state and the last step's report";
  EXPECT_EQ(network.updater(0).counters().iteration, 1);
}

/// The same with bfloat16 parameters and gradients and state in fewer bits. Each updater keeps state,
/// and lower halves, of its own, and steps its part of them; the other parts stay as they began: 0.
class NarrowNetwork {
 public:
  NarrowNetwork(const NetworkConfiguration& configuration, std::size_t parts, bool monitor)
      : meeting_(parts) {
    flatstep::tests::Random random;
    std::vector<flatstep::Slot<float>> slots;
    for (const std::size_t size : sizes) {
      parameters_.emplace_back(size);
      gradients_.emplace_back(size);
      for (auto* const array : {&parameters_.back(), &gradients_.back()}) {
        const std::vector<float> values = random.values<float>(size);
        for (std::size_t i = 0; i < size; ++i) {
          const auto bits = std::bit_cast<std::uint32_t>(values[i]);
          (*array)[i].bits = static_cast<std::uint16_t>(bits >> 16);
        }
      }
    }
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      slots.push_back(
          {std::to_string(i / 2) + (i % 2 == 0 ? "_W" : "_b"), std::span(parameters_[i])});
    }
    for (std::size_t part = 0; part < parts; ++part) {
      flatstep::Shared shared;
      shared.share = {part, parts};
      if (parts > 1) shared.exchange = meeting_.exchange_of(part);
      updaters_.push_back(std::make_unique<flatstep::MultiLayerUpdater<float>>(
          configuration, slots, monitor, std::span<float>(), shared));
    }
  }

  StepStatus step() {
    std::vector<const float*> pointers;
    for (const auto& gradient : gradients_) {
      pointers.push_back(reinterpret_cast<const float*>(gradient.data()));
    }
    const std::vector<flatstep::ElementType> types(sizes.size(), flatstep::ElementType::bfloat16);
    return step_together<float>(updaters_, pointers, types);
  }

  /// Parameters; lower halves and state, piece by piece; and what one of the updaters reports.
  std::vector<std::uint64_t> bits(std::size_t part = 0) const {
    std::vector<std::uint64_t> bits;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      for (const flatstep::bfloat16 x : parameters_[i]) bits.push_back(x.bits);
      for (const auto& updater : updaters_) {
        const std::uint16_t* const lower = updater->stored()[i].lower;
        bits.insert(bits.end(), lower, lower + updater->own_layout().slots[i].size);
      }
      for (std::size_t a = 0; a < updaters_[0]->layout().slots[i].state.size(); ++a) {
        for (const auto& updater : updaters_) {
          std::vector<float> own(updater->own_layout().slots[i].state[a].size);
          updater->read_state(i, a, own);
          for (const float x : own) bits.push_back(std::bit_cast<std::uint32_t>(x));
        }
      }
    }
    add_reports(bits, *updaters_[part]);
    return bits;
  }

 private:
  std::vector<std::vector<flatstep::bfloat16>> parameters_;
  std::vector<std::vector<flatstep::bfloat16>> gradients_;
  Meeting meeting_;
  Updaters<float> updaters_;
};

TEST(NarrowStorage, OfSeveralUpdatersHasTheBitsOfOne) {
  for (const std::string_view updater : {"Adam", "Lamb", "Lars"}) {
    for (const auto storage : {flatstep::StateStorage::bits_16, flatstep::StateStorage::bits_8}) {
      auto configuration =
          configuration_of(updater, GradientNormalization::ClipL2PerLayer, Semantics::dl4j_1_0);
      configuration.state_storage = storage;
      configuration.master = flatstep::Master::split;
      for (const bool monitor : {false, true}) {
        NarrowNetwork one(configuration, 1, monitor);
        for (int step = 0; step < 3; ++step) ASSERT_EQ(one.step(), StepStatus::done);
        for (const std::size_t parts : {std::size_t{2}, std::size_t{5}, std::size_t{11}}) {
          NarrowNetwork many(configuration, parts, monitor);
          for (int step = 0; step < 3; ++step) ASSERT_EQ(many.step(), StepStatus::done);
          for (std::size_t part = 0; part < parts; ++part) {
            ASSERT_EQ(many.bits(part), one.bits())
                << updater << ", " << to_string(storage) << ", part " << part << " of " << parts
                << (monitor ? ", monitored" : "");
          }
        }
      }
    }
  }
}

TEST(Share, IsCheckedWhenTheUpdaterIsMade) {
  std::vector<float> p(3);
  const auto make = [&](const flatstep::Shared& shared, const NetworkConfiguration& configuration) {
    flatstep::LayerUpdater<float>(configuration, {{"W", p}}, false, {}, shared);
  };
  const auto exchange = [](std::span<double>) { return true; };
  EXPECT_NO_THROW(make({{1, 2}, exchange}, {}));
  EXPECT_THROW(make({{2, 2}, exchange}, {}), std::invalid_argument);
  EXPECT_THROW(make({{0, 0}, exchange}, {}), std::invalid_argument);
  EXPECT_THROW(make({{0, 2}, {}}, {}), std::invalid_argument) << "several need an exchange";
  EXPECT_THROW(make({{0, 1}, exchange}, {}), std::invalid_argument) << "one has none to make";
  flatstep::UpdaterInfo callback;
  callback.name = "Callback";
  callback.float_callback = [](const flatstep::CallbackArguments<float>&) { return true; };
  NetworkConfiguration configuration;
  configuration.updater.kind = &callback;
  configuration.updater.values.clear();
  EXPECT_THROW(make({{0, 2}, exchange}, configuration), std::invalid_argument)
      << "a callback may fail in one part alone";
  EXPECT_NO_THROW(make({{0, 2}, exchange, [](bool yes) { return yes; }}, configuration));
}

TYPED_TEST(Exchange, LeavesAveragesToTheirParts) {
  auto configuration =
      configuration_of("Adam", GradientNormalization::ClipL2Global, Semantics::dl4j_1_0);
  configuration.average_decay = flatstep::Schedule::fixed(0.9);
  Network<TypeParam> one(configuration, 1);
  Network<TypeParam> three(configuration, 3);
  for (Network<TypeParam>* network : {&one, &three}) {
    ASSERT_EQ(network->step(), StepStatus::done);
    ASSERT_EQ(network->step(), StepStatus::done);
  }
  EXPECT_EQ(three.bits(2), one.bits());
}

/// A callback with a state array as large as its parameter, and one with a single number.
template <class T>
flatstep::UpdaterInfo counting_callback(const std::atomic<std::size_t>& failing) {
  flatstep::UpdaterInfo info;
  info.name = "Counting";
  info.state = {{"sum"}, {"steps", flatstep::StateShape::number}};
  const auto call = [&failing](const auto& arguments) {
    for (std::size_t i = 0; i < arguments.gradient.size(); ++i) {
      arguments.state[0][i] += arguments.gradient[i];
      arguments.gradient[i] = arguments.state[0][i] / 2;
    }
    arguments.state[1][0] += 1;
    return arguments.slot != failing;
  };
  if constexpr (std::is_same_v<T, float>) {
    info.float_callback = call;
  } else {
    info.double_callback = call;
  }
  return info;
}

TYPED_TEST(Exchange, GivesACallbackWholeSlotsAndAsksWhetherAllSucceed) {
  std::atomic<std::size_t> failing = sizes.size();
  const flatstep::UpdaterInfo info = counting_callback<TypeParam>(failing);
  auto configuration =
      configuration_of("Adam", GradientNormalization::ClipL2PerLayer, Semantics::dl4j_1_0);
  configuration.layers["1"].updater = flatstep::UpdaterConfiguration{&info, {}};
  configuration.layers["2"].updater = configuration.layers["1"].updater;
  Network<TypeParam> one(configuration, 1);
  Network<TypeParam> three(configuration, 3);
  for (Network<TypeParam>* network : {&one, &three}) {
    ASSERT_EQ(network->step(), StepStatus::done);
    ASSERT_EQ(network->step(), StepStatus::done);
  }
  EXPECT_EQ(three.bits(1), one.bits());
  for (std::size_t slot = 2; slot < sizes.size(); ++slot) {
    std::size_t owners = 0;
    for (std::size_t part = 0; part < 3; ++part) owners += three.piece(part, slot).is_whole();
    EXPECT_EQ(owners, 1U);
  }
  for (std::size_t slot = 2; slot < sizes.size(); ++slot) {
    failing = slot;
    const auto before = three.bits();
    EXPECT_EQ(three.step(), StepStatus::abandoned) << slot;
    EXPECT_EQ(three.bits(), before) << slot;
  }
}

TYPED_TEST(Exchange, TakesBucketsAsTheyComeAndSendsThemAsTheyAreDone) {
  const auto configuration =
      configuration_of("Adam", GradientNormalization::ClipL2Global, Semantics::dl4j_1_0);
  Network<TypeParam> network(configuration, 2);
  ASSERT_EQ(network.step(), StepStatus::done);
  for (std::size_t part = 0; part < 2; ++part) {
    std::vector<std::string> expected;
    const std::size_t buckets = network.updater(part).buckets().size();
    EXPECT_GT(buckets, 1U);
    for (const char* const what : {"arrive ", "leave "}) {
      for (std::size_t k = 0; k < buckets; ++k) expected.push_back(what + std::to_string(k));
    }
    EXPECT_EQ(network.hooks(part), expected);
  }
  Network<TypeParam> many(configuration, 64);
  ASSERT_EQ(many.step(), StepStatus::done);
  for (std::size_t part = 0; part < 64; ++part) {  // most of them have none
    EXPECT_EQ(many.hooks(part).size(), 2 * many.updater(part).buckets().size());
  }
  const auto before = network.bits();
  network.lose();
  EXPECT_EQ(network.step(), StepStatus::abandoned);
  EXPECT_EQ(network.bits(), before);
}

flatstep::Layout layout_of(const std::vector<std::size_t>& slot_sizes,
                           const NetworkConfiguration& configuration,
                           flatstep::NetworkSettings& settings) {
  std::vector<flatstep::LayoutSlot> slots;
  std::vector<flatstep::SlotName> names;
  std::vector<std::span<const std::size_t>> shapes;
  for (std::size_t i = 0; i < slot_sizes.size(); ++i) {
    flatstep::LayoutSlot slot;
    slot.name = {std::to_string(i) + "_W", std::to_string(i), "W"};
    slot.shape = {slot_sizes[i]};
    slot.size = slot_sizes[i];
    names.push_back(slot.name);
    slots.push_back(std::move(slot));
  }
  for (const auto& slot : slots) shapes.emplace_back(slot.shape);
  settings = flatstep::resolve(configuration, names, shapes);
  return flatstep::make_layout(std::move(slots), settings);
}

TEST(ShareOut, GivesEveryElementToOneAndEachItsShareOfElementsAndState) {
  NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater("Adam");
  configuration.layers["1"].updater = flatstep::make_updater("Sgd");
  configuration.layers["4"].frozen = true;
  configuration.semantics = Semantics::dl4j_0_8;  // what is frozen has state there
  const std::vector<std::vector<std::size_t>> networks = {
      {40 * chunk_size + 7, 40 * chunk_size, 3, 0, 9 * chunk_size, 1},
      {5, 6, 7, 8, 9},
      {chunk_size, chunk_size + 1, chunk_size - 1, 2 * chunk_size, 100 * chunk_size},
  };
  for (const auto& slot_sizes : networks) {
    flatstep::NetworkSettings settings;
    const flatstep::Layout layout = layout_of(slot_sizes, configuration, settings);
    for (const std::size_t parts : {1, 2, 3, 4, 7, 64}) {
      const auto pieces = flatstep::share_out(layout, settings, parts);
      std::size_t state = 0;
      std::vector<std::size_t> ends(slot_sizes.size(), 0);
      for (std::size_t part = 0; part < parts; ++part) {
        const auto own = flatstep::layout_of_part(layout, pieces[part], settings);
        state += own.state_size;
        EXPECT_LE(own.state_size, layout.state_size / parts + 2 * chunk_size * slot_sizes.size());
        std::size_t in_buckets = 0;
        for (const auto& bucket :
             flatstep::buckets_of_part(pieces[part], settings, 4 * chunk_size)) {
          EXPECT_LE(bucket.size, 4 * chunk_size);
          in_buckets += bucket.size;
        }
        std::size_t active = 0;
        for (std::size_t i = 0; i < slot_sizes.size(); ++i) {
          const flatstep::Piece& piece = pieces[part][i];
          EXPECT_EQ(piece.whole, slot_sizes[i]);
          if (!settings.slots[i].frozen) active += piece.size;
          if (piece.size == 0) continue;
          EXPECT_EQ(piece.begin, ends[i]);
          EXPECT_EQ(piece.begin % chunk_size, 0U);
          ends[i] += piece.size;
        }
        EXPECT_EQ(in_buckets, active);
      }
      EXPECT_EQ(ends, slot_sizes);
      EXPECT_EQ(state, layout.state_size);
    }
  }
}

}  // namespace
