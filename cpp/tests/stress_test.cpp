// Many updaters in many threads, while the number of threads and the instruction set change under
// them: every one of them gets the bits that it gets alone. What matters most here is what
// ThreadSanitizer says (the preset `thread`).
#include <flatstep/flatstep.hpp>
#include <flatstep/threads.hpp>

#include "random_numbers.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using flatstep::chunk_size;
using flatstep::GradientNormalization;

constexpr int steps = 12;

/// One training of its own: the parameters and the state that it ends with.
std::vector<float> train(GradientNormalization strategy, std::uint64_t seed, bool accumulates) {
  const std::vector<std::size_t> sizes = {3 * chunk_size + 5, 7, chunk_size, 33};
  const char* const keys[] = {"0_W", "0_b", "1_W", "1_b"};
  flatstep::tests::Random random(seed);
  std::vector<std::vector<float>> parameters, gradients, sums;
  std::vector<flatstep::Slot<float>> slots;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    parameters.push_back(random.values<float>(sizes[i]));
    gradients.push_back(random.values<float>(sizes[i]));
    sums.emplace_back(sizes[i]);
  }
  std::vector<const float*> gradient_pointers;
  std::vector<float*> sum_pointers;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    slots.push_back({keys[i], parameters[i]});
    gradient_pointers.push_back(gradients[i].data());
    sum_pointers.push_back(sums[i].data());
  }
  flatstep::NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater(
      "Adam", {{"learning_rate", flatstep::Schedule::exponential(0.01, 0.9)}});
  configuration.gradient_normalization = strategy;
  configuration.gradient_normalization_threshold = 0.5;
  configuration.l2 = 1e-3;
  flatstep::MultiLayerUpdater<float> updater(configuration, std::move(slots));
  for (int step = 0; step < steps; ++step) {
    std::span<const float* const> used = gradient_pointers;
    if (accumulates) {
      const auto added = updater.accumulate(sum_pointers, gradient_pointers);
      if (added != flatstep::StepStatus::done) return {};
      used = {sum_pointers.data(), sum_pointers.size()};
    }
    if (updater.step(used).status != flatstep::StepStatus::done) return {};
  }
  std::vector<float> all;
  for (const auto& array : parameters) all.insert(all.end(), array.begin(), array.end());
  all.insert(all.end(), updater.state_view().begin(), updater.state_view().end());
  return all;
}

struct Stress : testing::Test {
  ~Stress() override {
    flatstep::set_target(before_);
    flatstep::ThreadPool::instance().set_num_threads(0);
  }
  const char* before_ = flatstep::active_target().name;
};

TEST_F(Stress, UpdatersInManyThreadsWhileThreadsAndTargetsChange) {
  constexpr unsigned trainers = 4;
  constexpr int rounds = 3;
  const GradientNormalization strategies[trainers] = {
      GradientNormalization::None, GradientNormalization::ClipL2PerLayer,
      GradientNormalization::ClipL2Global, GradientNormalization::RenormalizeL2PerParamType};
  std::vector<std::string_view> targets;
  for (const flatstep::Target& target : flatstep::targets()) {
    if (std::string_view(target.name) != "sse2") targets.push_back(target.name);
  }
  flatstep::ThreadPool::instance().set_num_threads(1);
  flatstep::set_target("emulated");
  std::vector<std::vector<float>> expected;
  for (unsigned i = 0; i < trainers; ++i) expected.push_back(train(strategies[i], i, i % 2 == 1));

  std::atomic<unsigned> running{trainers};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < trainers; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < rounds; ++round) {
        if (train(strategies[i], i, i % 2 == 1) != expected[i]) ++wrong;
      }
      --running;
    });
  }
  for (unsigned change = 0; running != 0; ++change) {
    flatstep::ThreadPool::instance().set_num_threads(1 + change % 4);
    flatstep::set_target(targets[change % targets.size()]);
    std::this_thread::yield();
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
