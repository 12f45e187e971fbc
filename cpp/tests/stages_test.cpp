// Stages and stretches: however much of a gradient the plan expects to fit the cache, and however its
// stages are spread over threads, a step gives the same bits and the same reports.
#include <flatstep/flatstep.hpp>
#include <flatstep/threads.hpp>

#include "random_numbers.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace {

using flatstep::chunk_size;
using flatstep::GradientNormalization;
using flatstep::LayerConfiguration;
using flatstep::NetworkConfiguration;
using flatstep::OnNonfinite;

constexpr std::size_t everything = std::size_t{1} << 40;

/// One network on memory of its own, planned for a cache of that many elements.
class Network {
 public:
  Network(const NetworkConfiguration& configuration, const std::vector<std::size_t>& sizes,
          std::size_t cached_elements, bool monitor)
      : names_(names_of(sizes.size())), settings_(settings_of(configuration, names_, sizes)) {
    flatstep::tests::Random random;
    std::vector<flatstep::LayoutSlot> slots;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      flatstep::LayoutSlot slot;
      slot.name = names_[i];
      slot.shape = {sizes[i]};
      slot.size = sizes[i];
      slots.push_back(slot);
      parameters_.push_back(random.values<float>(sizes[i]));
      gradients_.push_back(random.values<float>(sizes[i]));
    }
    layout_ = flatstep::make_layout(std::move(slots), settings_);
    numbers_.resize(layout_.kept_numbers);
    bytes_.resize(layout_.kept_bytes);
    state_.memory = {numbers_, bytes_};
    for (auto& parameter : parameters_) memory_.emplace_back(parameter);
    for (auto& gradient : gradients_) gradient_pointers_.push_back(gradient.data());
    state_.initialize_rates(settings_);
    const std::span<const flatstep::ParameterMemory<float>> memory(memory_);
    const auto stored = flatstep::stored_slots<float>(layout_, memory, state_.memory);
    flatstep::initialize_stored<float>(layout_, settings_, stored, {});
    engine_.emplace(layout_, flatstep::make_plan(layout_, settings_, state_.rates, cached_elements),
                    stored, state_.averages, monitor);
  }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  void step() {
    const auto report = engine_->step(layout_, {gradient_pointers_, {}}, state_, {});
    ASSERT_EQ(report.status, flatstep::StepStatus::done);
  }

  /// All that a step leaves behind.
  std::vector<std::uint64_t> bits() const {
    std::vector<std::uint64_t> bits;
    for (const auto& parameter : parameters_) add(bits, parameter);
    add(bits, numbers_);
    for (const std::byte byte : bytes_) bits.push_back(std::to_integer<std::uint64_t>(byte));
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const flatstep::SlotReport report = engine_->report(i);
      for (const double x : {report.gradient_norm, report.factor, report.update_norm,
                             report.parameter_norm, report.group_norm}) {
        bits.push_back(std::bit_cast<std::uint64_t>(x));
      }
    }
    return bits;
  }

  const flatstep::Plan& plan() const { return engine_->plan(); }

 private:
  /// Layers of two parameters each.
  static std::vector<flatstep::SlotName> names_of(std::size_t slots) {
    std::vector<flatstep::SlotName> names;
    for (std::size_t i = 0; i < slots; ++i) {
      names.push_back(flatstep::parse_key(std::to_string(i / 2) + (i % 2 == 0 ? "_W" : "_b"),
                                          flatstep::KeyStyle::multi_layer));
    }
    return names;
  }

  static flatstep::NetworkSettings settings_of(const NetworkConfiguration& configuration,
                                               const std::vector<flatstep::SlotName>& names,
                                               const std::vector<std::size_t>& sizes) {
    std::vector<std::span<const std::size_t>> shapes;
    for (const std::size_t& size : sizes) shapes.emplace_back(&size, 1);
    return flatstep::resolve(configuration, names, shapes);
  }

  static void add(std::vector<std::uint64_t>& bits, const std::vector<float>& values) {
    for (const float value : values) bits.push_back(std::bit_cast<std::uint32_t>(value));
  }

  std::vector<flatstep::SlotName> names_;
  flatstep::NetworkSettings settings_;
  flatstep::Layout layout_;
  std::vector<std::vector<float>> parameters_;
  std::vector<std::vector<float>> gradients_;
  std::vector<float> numbers_;
  std::vector<std::byte> bytes_;
  flatstep::State<float> state_;
  std::vector<flatstep::ParameterMemory<float>> memory_;
  std::vector<const float*> gradient_pointers_;
  std::optional<flatstep::Engine<float>> engine_;
};

NetworkConfiguration configuration_of(GradientNormalization strategy) {
  NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater("Adam", {{"learning_rate", 0.01}});
  configuration.gradient_normalization = strategy;
  configuration.gradient_normalization_threshold = 0.5;
  configuration.on_nonfinite = OnNonfinite::propagate;
  configuration.l2 = 1e-3;
  return configuration;
}

// Equal layers, which threads can share; one that outweighs the others; a network of small ones.
const std::vector<std::vector<std::size_t>> networks = {
    {5 * chunk_size, 7, 5 * chunk_size, 7, 5 * chunk_size, 7, 5 * chunk_size, 7},
    {chunk_size, 1, 17 * chunk_size + 5, 3, 2 * chunk_size + 1, 31},
    {4000, 40, 5000, 50, 9000, 90, 3000, 30, 7000, 70, 6000, 60, 5000, 50, 90000, 9},
};

class Stages : public ::testing::TestWithParam<GradientNormalization> {
 public:
  ~Stages() override { flatstep::ThreadPool::instance().set_num_threads(0); }
};

TEST_P(Stages, GiveTheBitsOfOneStageOnOneThread) {
  NetworkConfiguration own = configuration_of(GetParam());
  LayerConfiguration unnormed;
  unnormed.gradient_normalization = GradientNormalization::None;
  own.layers["1"] = unnormed;
  NetworkConfiguration narrow = configuration_of(GetParam());
  narrow.state_storage = flatstep::StateStorage::bits_8;
  narrow.layers["1"].state_storage = flatstep::StateStorage::bits_16;
  for (const NetworkConfiguration& configuration : {configuration_of(GetParam()), own, narrow}) {
    for (const auto& sizes : networks) {
      for (const bool monitor : {false, true}) {
        flatstep::ThreadPool::instance().set_num_threads(1);
        Network expected(configuration, sizes, everything, monitor);
        ASSERT_EQ(expected.plan().stages.size(), 1u);
        expected.step();
        expected.step();
        for (const std::size_t cached : {std::size_t{0}, chunk_size, 6 * chunk_size}) {
          for (const unsigned threads : {1u, 2u, 3u}) {
            flatstep::ThreadPool::instance().set_num_threads(threads);
            Network network(configuration, sizes, cached, monitor);
            network.step();
            network.step();
            EXPECT_EQ(network.bits(), expected.bits()) << cached << " cached, " << threads;
          }
        }
      }
    }
  }
}

std::vector<GradientNormalization> all_strategies() {
  std::vector<GradientNormalization> all;
  for (const std::string_view name : flatstep::gradient_normalization_names) {
    all.push_back(flatstep::parse_gradient_normalization(name));
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Strategies, Stages, ::testing::ValuesIn(all_strategies()),
                         [](const auto& each) { return std::string(to_string(each.param)); });

TEST(Stretches, GroupsThatFitTheCacheAreSpreadAndLargeOnesSharedByAllThreads) {
  const Network network(configuration_of(GradientNormalization::ClipL2PerLayer),
                        {5 * chunk_size, 7, 5 * chunk_size, 7, 9 * chunk_size, 7, 100, 7},
                        6 * chunk_size, false);
  const auto& stretches = network.plan().stretches;
  ASSERT_EQ(stretches.size(), 3u);
  EXPECT_TRUE(stretches[0].by_thread);
  EXPECT_EQ(stretches[0].stage_end - stretches[0].stage_begin, 2u);
  EXPECT_FALSE(stretches[1].by_thread);
  EXPECT_TRUE(stretches[2].by_thread);
  std::size_t chunks = 0;
  for (const auto& stage : network.plan().stages) {
    EXPECT_EQ(stage.chunk_begin, chunks);
    chunks = stage.chunk_end;
  }
  EXPECT_EQ(chunks, network.plan().chunks.size());
}

}  // namespace
