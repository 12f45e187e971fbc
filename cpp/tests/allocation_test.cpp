// Memory that cannot be had: the n-th allocation fails, for every n until none does. Whatever is
// refused has changed nothing, and the next step gives the bits that it would have given.
#include <flatstep/multi_layer_updater.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

// GCC inlines one of a pair below and not the other, and takes them for strangers.
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

namespace {

/// How many allocations succeed before one fails; negative where all do.
std::atomic<long> allocations_left{-1};

bool refused() {
  if (allocations_left.load() < 0) return false;
  return allocations_left.fetch_sub(1) == 0;
}

void* allocate(std::size_t size, std::size_t alignment) {
  if (refused()) throw std::bad_alloc();
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  void* const memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
// Who asks this way does without where it gets none, as some of the standard algorithms do.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

constexpr std::size_t size = 300;

/// What updaters are made as: looking at every update or not, with numbers in fewer bits or not.
struct Kind {
  bool monitors;
  bool is_narrow;
};

/// A network of every kind of rate, with a callback, and all that belongs to it.
struct Network {
  explicit Network(const Kind& of) : kind(of) {}

  Kind kind;
  std::vector<float> w = std::vector<float>(size, 1.0F);
  std::vector<flatstep::bfloat16> w16 = std::vector<flatstep::bfloat16>(size, {0x3f80});  // 1
  std::vector<float> b = std::vector<float>(7, -2.0F);
  std::vector<float> gw = std::vector<float>(size, 0.5F);
  std::vector<float> gb = std::vector<float>(7, 3.0F);
  std::vector<float> sw = std::vector<float>(size, 0.0F);
  std::vector<float> sb = std::vector<float>(7, 0.0F);

  flatstep::NetworkConfiguration configuration() const {
    flatstep::NetworkConfiguration configuration;
    configuration.updater = flatstep::make_updater("Adam", {{"learning_rate", 0.125}});
    configuration.layers["1"].updater =
        flatstep::make_updater("Nesterovs", {{"learning_rate", 0.25}});
    configuration.gradient_normalization = flatstep::GradientNormalization::ClipL2PerLayer;
    if (kind.is_narrow) {
      configuration.master = flatstep::Master::split;
      configuration.layers["0"].state_storage = flatstep::StateStorage::bits_8;
      configuration.layers["1"].state_storage = flatstep::StateStorage::bits_16;
    }
    return configuration;
  }

  std::vector<flatstep::Slot<float>> slots() {
    if (kind.is_narrow) return {{"0_W", std::span(w16), {10, 30}}, {"1_b", b}};
    return {{"0_W", w, {10, 30}}, {"1_b", b}};
  }

  using Updater = flatstep::MultiLayerUpdater<float>;
  Updater make() { return Updater(configuration(), slots(), kind.monitors); }

  void step(Updater& updater) {
    const std::vector<const float*> gradients{gw.data(), gb.data()};
    EXPECT_EQ(updater.step(std::span<const float* const>(gradients)).status,
              flatstep::StepStatus::done);
  }

  std::string digest(const Updater& updater) const {
    std::string bytes;
    const auto add = [&](const auto* data, std::size_t count) {
      bytes.append(reinterpret_cast<const char*>(data), count * sizeof(*data));
    };
    for (const auto* values : {&w, &b, &gw, &gb, &sw, &sb}) add(values->data(), values->size());
    add(w16.data(), w16.size());
    add(updater.memory().numbers.data(), updater.memory().numbers.size());
    add(updater.memory().bytes.data(), updater.memory().bytes.size());
    for (const flatstep::RateState& rate : updater.rates()) {
      for (const std::optional<double>& value : {rate.learning_rate, rate.momentum}) {
        const double number = value.value_or(-1.0);  // an empty one has bytes of no meaning
        add(&number, 1);
      }
    }
    add(&updater.counters().iteration, 1);
    add(&updater.counters().epoch, 1);
    add(&updater.counters().skipped_steps, 1);
    for (std::size_t slot = 0; slot < 2; ++slot) {
      const flatstep::SlotReport report = updater.report(slot);
      add(&report.gradient_norm, 1);
      add(&report.factor, 1);
    }
    return bytes;
  }
};

/// Calls `work` with the n-th allocation failing, for every n until it gets through; `check` after
/// each failure. How often it failed.
template <class Work, class Check>
int fail_each(Work&& work, Check&& check) {
  // Asks the system for its processors by streams, which do without memory where they get none.
  flatstep::ThreadPool::instance();
  for (long n = 0;; ++n) {
    allocations_left = n;
    bool failed = false;
    try {
      work();
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    const bool used_up = allocations_left.exchange(-1) < 0;
    if (!failed) {
      EXPECT_FALSE(used_up) << "an allocation that failed was passed over";
      return static_cast<int>(n);
    }
    check();
  }
}

class AllocationTest : public testing::TestWithParam<Kind> {};

TEST_P(AllocationTest, ConstructionChangesNothingAndLeavesNothing) {
  Network network(GetParam());
  const std::vector<float> before = network.w;
  const auto configuration = network.configuration();
  const int failures =
      fail_each([&] { Network::Updater(configuration, network.slots(), GetParam().monitors); },
                [&] {
                  EXPECT_EQ(network.w, before);
                  for (const flatstep::bfloat16 x : network.w16) ASSERT_EQ(x.bits, 0x3f80);
                });
  EXPECT_GT(failures, 20);
}

TEST_P(AllocationTest, RatesAreReplacedWholeOrNotAtAll) {
  Network network(GetParam());
  auto updater = network.make();
  network.step(updater);
  const std::string before = network.digest(updater);

  Network twin(GetParam());  // the same steps without a failure
  auto expected = twin.make();
  twin.step(expected);
  twin.step(expected);
  const std::string next = twin.digest(expected);

  auto rates = updater.rates();
  rates[0].learning_rate = 0.5;
  const int failures =
      fail_each([&] { updater.set_rates(rates); },
                [&] {
                  ASSERT_EQ(network.digest(updater), before);
                  // The next step, and all as it was before it again.
                  const Network kept = network;
                  const auto& memory = updater.memory();
                  const std::vector<float> numbers(memory.numbers.begin(), memory.numbers.end());
                  const std::vector<std::byte> bytes(memory.bytes.begin(), memory.bytes.end());
                  const flatstep::Counters counters = updater.counters();
                  network.step(updater);
                  EXPECT_EQ(network.digest(updater), next);
                  std::ranges::copy(kept.w, network.w.begin());
                  std::ranges::copy(kept.w16, network.w16.begin());
                  std::ranges::copy(kept.b, network.b.begin());
                  std::ranges::copy(numbers, memory.numbers.begin());
                  std::ranges::copy(bytes, memory.bytes.begin());
                  updater.counters() = counters;
                });
  EXPECT_GT(failures, 5);
  EXPECT_EQ(updater.rates()[0].learning_rate, 0.5);
  auto twin_rates = expected.rates();
  twin_rates[0].learning_rate = 0.5;
  Network other(GetParam());
  auto anew = other.make();
  other.step(anew);
  anew.set_rates(twin_rates);
  network.step(updater);
  other.step(anew);
  EXPECT_EQ(network.digest(updater), other.digest(anew));
}

TEST_P(AllocationTest, AStepAndASumAllocateNothing) {
  Network network(GetParam());
  auto updater = network.make();
  network.step(updater);
  const std::vector<const float*> gradients{network.gw.data(), network.gb.data()};
  const std::vector<float*> written{network.gw.data(), network.gb.data()};
  const std::vector<float*> sums{network.sw.data(), network.sb.data()};
  allocations_left = 0;
  const auto stepped = updater.step(std::span<const float* const>(gradients));
  const auto updated = updater.update(std::span<float* const>(written));
  const auto added = updater.accumulate(sums, gradients);
  const long left = allocations_left.exchange(-1);
  EXPECT_EQ(left, 0);
  EXPECT_EQ(stepped.status, flatstep::StepStatus::done);
  EXPECT_EQ(updated.status, flatstep::StepStatus::done);
  EXPECT_EQ(added, flatstep::StepStatus::done);
  EXPECT_EQ(network.sw, network.gw);
}

INSTANTIATE_TEST_SUITE_P(Kinds, AllocationTest,
                         testing::Values(Kind{false, false}, Kind{true, false}, Kind{false, true},
                                         Kind{true, true}),
                         [](const auto& test) {
                           return std::string(test.param.monitors ? "monitored" : "plain") +
                                  (test.param.is_narrow ? "_narrow" : "");
                         });

/// The threads of a large step are started by the first one: without memory it does without them.
TEST(Allocation, AStepWithoutMemoryForThreadsIsTakenByOne) {
  std::vector<float> w(std::size_t{1} << 20, 1.0F);
  const std::vector<float> g(w.size(), 0.5F);
  flatstep::NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater("Sgd", {{"learning_rate", 0.5}});
  flatstep::MultiLayerUpdater<float> updater(configuration, {{"0_W", w}});
  auto& pool = flatstep::ThreadPool::instance();
  for (long n = 0; n < 8; ++n) {
    pool.set_num_threads(2 + static_cast<unsigned>(n % 2));  // a crew of its own each time
    allocations_left = n;
    const auto report = updater.step({g});
    allocations_left = -1;
    EXPECT_EQ(report.status, flatstep::StepStatus::done);
  }
  EXPECT_EQ(w, std::vector<float>(w.size(), -1.0F));
  pool.set_num_threads(0);
}

TEST(StateMemory, MayNotBeThatOfParametersNorTooSmall) {
  std::vector<float> memory(10, 1.0F);
  const std::vector<float> before = memory;
  flatstep::NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater("Nesterovs", {{"learning_rate", 0.5}});
  const std::span<float> all(memory);
  const auto make = [&](std::size_t begin, std::size_t count) {
    flatstep::MultiLayerUpdater<float>(configuration, {{"0_W", all.subspan(3, 4)}}, false,
                                       all.subspan(begin, count));
  };
  for (const std::size_t begin : {0U, 1U, 3U, 6U}) {
    try {
      make(begin, 4);
      ADD_FAILURE() << "taken from " << begin;
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(std::string(error.what()),
                "state_memory: expected memory of its own, got that of \"0_W\"; give it a buffer "
                "of 4 elements");
    }
  }
  EXPECT_THROW(make(0, 3), std::invalid_argument);
  EXPECT_EQ(memory, before);
  std::vector<float> apart(4);
  flatstep::MultiLayerUpdater<float>(configuration, {{"0_W", all.subspan(3, 4)}}, false, apart);
}

}  // namespace
