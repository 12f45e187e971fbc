// Norms in three moves: several updaters that take a part each of one network's steps, and meet in
// an exchange that adds their sums, leave the bits of one updater that takes all of it.
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
      flatstep::StepOptions options;
      options.batch_size = 3;
      statuses[part] = updaters[part]->step(gradients, types, options).status;
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
    for (const double x : {report.gradient_norm, report.group_norm, report.factor,
                           report.learning_rate, report.trust_ratio, report.update_norm,
                           report.parameter_norm, report.nonfinite ? 1.0 : 0.0}) {
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
    state_.resize(flatstep::MultiLayerUpdater<T>(configuration, slots).state_view().size());
    for (std::size_t part = 0; part < parts; ++part) {
      flatstep::Shared shared;
      shared.share = {part, parts};
      if (parts > 1) shared.exchange = meeting_.exchange_of(part);
      updaters_.push_back(std::make_unique<flatstep::MultiLayerUpdater<T>>(
          configuration, slots, monitor, state_, shared));
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
    for (const T x : state_) add(static_cast<double>(x));
    add_reports(bits, *updaters_[part]);
    return bits;
  }

  std::vector<T>& gradient(std::size_t slot) { return gradients_[slot]; }
  flatstep::MultiLayerUpdater<T>& updater(std::size_t part) { return *updaters_[part]; }
  Meeting& meeting() { return meeting_; }

 private:
  std::vector<std::vector<T>> parameters_;
  std::vector<std::vector<T>> gradients_;
  std::vector<T> state_;
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

  /// Parameters; lower halves and state, added up; and what one of the updaters reports.
  std::vector<std::uint64_t> bits(std::size_t part = 0) const {
    std::vector<std::uint64_t> bits;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      for (const flatstep::bfloat16 x : parameters_[i]) bits.push_back(x.bits);
      std::vector<std::uint64_t> halves(sizes[i], 0);
      for (const auto& updater : updaters_) {
        const std::uint16_t* const lower = updater->stored()[i].lower;
        for (std::size_t k = 0; k < sizes[i]; ++k) halves[k] += lower[k];
      }
      bits.insert(bits.end(), halves.begin(), halves.end());
      for (std::size_t a = 0; a < updaters_[0]->layout().slots[i].state.size(); ++a) {
        std::vector<float> sum(sizes[i]), own(sizes[i]);
        for (const auto& updater : updaters_) {
          updater->read_state(i, a, own);
          for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += own[k];
        }
        for (const float x : sum) bits.push_back(std::bit_cast<std::uint32_t>(x));
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
  EXPECT_THROW(make({{0, 2}, exchange}, configuration), std::invalid_argument);
}

}  // namespace
