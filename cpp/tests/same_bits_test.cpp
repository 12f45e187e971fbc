// The same bits everywhere: every updater, both orders, every strategy, both types, hashed after
// several steps, on every instruction set with fused multiply-add and any number of threads, held
// to hashes that were recorded once. As the record travels with the tests, passing them on two
// machines (say x86-64 and 64-bit Arm) says that these two give the same bits.
#include <flatstep/flatstep.hpp>
#include <flatstep/threads.hpp>

#include "random_numbers.hpp"
#include "scalar_elements.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace {

using flatstep::GradientNormalization;
using flatstep::Semantics;

/// FNV-1a, a whole number at a time.
class Hash {
 public:
  template <class T>
  void add(std::span<const T> values) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    for (const T x : values) add(std::bit_cast<Bits>(x));
  }
  void add(std::uint64_t number) { value_ = (value_ ^ number) * 0x100000001b3; }

  std::string text() const {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(value_));
    return digits;
  }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325;
};

template <class T>
void add_steps(Hash& hash, const flatstep::NetworkConfiguration& configuration) {
  // More than one chunk of a norm, vectors with and without a tail, a single element.
  const std::size_t sizes[] = {20011, 19, 64, 1};
  const char* const keys[] = {"0_W", "0_b", "1_W", "1_b"};
  flatstep::tests::Random random;
  std::vector<std::vector<T>> parameters;
  std::vector<flatstep::Slot<T>> slots;
  for (const std::size_t size : sizes) parameters.push_back(random.values<T>(size));
  for (std::size_t i = 0; i < std::size(keys); ++i) slots.push_back({keys[i], parameters[i]});

  flatstep::MultiLayerUpdater<T> updater(configuration, slots);
  for (int step = 0; step < 3; ++step) {
    std::vector<std::vector<T>> gradients;
    std::vector<const T*> pointers;
    for (const std::size_t size : sizes) gradients.push_back(random.values<T>(size));
    for (const std::vector<T>& gradient : gradients) pointers.push_back(gradient.data());
    flatstep::StepOptions options;
    options.batch_size = 3;
    ASSERT_EQ(updater.step(pointers, options).status, flatstep::StepStatus::done);
  }
  for (const std::vector<T>& array : parameters) hash.add(std::span<const T>(array));
  hash.add(std::span<const T>(updater.state_view()));
}

/// The same with parameters in bfloat16, their lower halves kept, gradients in float16, and state in
/// fewer bits; the smallest array's state is full.
void add_narrow_steps(Hash& hash, const flatstep::NetworkConfiguration& configuration) {
  const std::size_t sizes[] = {20011, 275, 5000, 1};
  const char* const keys[] = {"0_W", "0_b", "1_W", "1_b"};
  const std::vector<flatstep::ElementType> types(std::size(sizes), flatstep::ElementType::float16);
  flatstep::tests::Random random;
  std::vector<std::vector<flatstep::bfloat16>> parameters;
  std::vector<flatstep::Slot<float>> slots;
  for (std::size_t i = 0; i < std::size(sizes); ++i) {
    parameters.emplace_back();
    for (const float x : random.values<float>(sizes[i])) {
      parameters[i].push_back({flatstep::tests::to_bfloat16(x)});
    }
  }
  for (std::size_t i = 0; i < std::size(sizes); ++i) {
    slots.push_back({keys[i], std::span(parameters[i])});
  }
  flatstep::MultiLayerUpdater<float> updater(configuration, slots);
  for (int step = 0; step < 3; ++step) {
    std::vector<std::vector<std::uint16_t>> gradients;
    std::vector<const float*> pointers;
    for (const std::size_t size : sizes) {
      gradients.emplace_back();
      for (const float x : random.values<float>(size)) {
        gradients.back().push_back(flatstep::tests::to_float16(x));
      }
    }
    for (const auto& gradient : gradients) {
      pointers.push_back(reinterpret_cast<const float*>(gradient.data()));
    }
    ASSERT_EQ(updater.step(std::span<const float* const>(pointers), types).status,
              flatstep::StepStatus::done);
  }
  for (const auto& array : parameters) {
    for (const flatstep::bfloat16 x : array) hash.add(x.bits);
  }
  hash.add(std::span<const float>(updater.memory().numbers));
  for (const std::byte byte : updater.memory().bytes) hash.add(std::to_integer<unsigned>(byte));
}

template <class T>
void add_strategy(Hash& hash, const flatstep::UpdaterInfo& updater, Semantics semantics,
                  std::size_t strategy) {
  flatstep::NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater(updater);
  configuration.semantics = semantics;
  configuration.gradient_normalization = static_cast<GradientNormalization>(strategy);
  configuration.gradient_normalization_threshold = 0.3;
  configuration.l1 = 0.01;
  configuration.l2_bias = 0.02;
  if (semantics == Semantics::dl4j_1_0) configuration.weight_decay = 0.03;
  add_steps<T>(hash, configuration);
}

std::string line(std::string_view name, Semantics semantics, std::string_view type,
                 const Hash& hash) {
  std::ostringstream text;
  text << name << ' ' << to_string(semantics) << ' ' << type << ' ' << hash.text() << '\n';
  return text.str();
}

/// One hash of an updater is over the strategies that there were when it was first recorded; so a
/// new strategy adds rows of its own, and changes none.
constexpr std::size_t first_strategies = 7;

template <class T>
std::string line_of_updater(const flatstep::UpdaterInfo& updater, Semantics semantics,
                            std::string_view type) {
  Hash hash;
  for (std::size_t strategy = 0; strategy < first_strategies; ++strategy) {
    add_strategy<T>(hash, updater, semantics, strategy);
  }
  return line(updater.name, semantics, type, hash);
}

/// Of a later strategy: without state, with one state array, and with two.
template <class T>
std::string line_of_strategy(std::size_t strategy, Semantics semantics, std::string_view type) {
  Hash hash;
  for (const char* const updater : {"NoOp", "Nesterovs", "Adam"}) {
    add_strategy<T>(hash, *flatstep::make_updater(updater).kind, semantics, strategy);
  }
  return line(flatstep::gradient_normalization_names[strategy], semantics, type, hash);
}

/// Of narrow storage, plain and clipped by norms: without state, with state of any sign, never
/// negative, a maximum, the parameter itself, and with trust ratios of updates and of gradients.
std::string line_of_storage(flatstep::StateStorage storage, Semantics semantics) {
  Hash hash;
  for (const char* const updater : {"NoOp", "Nesterovs", "RmsProp", "Adam", "AMSGrad", "AdEMAMix",
                                    "ScheduleFreeAdamW", "Lamb", "Lars"}) {
    for (const auto strategy :
         {GradientNormalization::None, GradientNormalization::ClipL2PerLayer}) {
      flatstep::NetworkConfiguration configuration;
      configuration.updater = flatstep::make_updater(updater);
      configuration.semantics = semantics;
      configuration.gradient_normalization = strategy;
      configuration.gradient_normalization_threshold = 0.3;
      configuration.l2 = 0.01;
      configuration.state_storage = storage;
      configuration.storage_seed = 7;
      configuration.master = flatstep::Master::split;
      flatstep::LayerConfiguration own;
      own.params["b"].state_storage = storage;  // although it is small
      configuration.layers["0"] = own;
      add_narrow_steps(hash, configuration);
    }
  }
  return line(to_string(storage), semantics, "bfloat16", hash);
}

std::string hashes() {
  constexpr Semantics orders[] = {Semantics::dl4j_1_0, Semantics::dl4j_0_8};
  std::string lines;
  for (const flatstep::UpdaterInfo& updater : flatstep::updater_registry()) {
    for (const Semantics semantics : orders) {
      lines += line_of_updater<float>(updater, semantics, "float32") +
               line_of_updater<double>(updater, semantics, "float64");
    }
  }
  const std::size_t strategies = flatstep::gradient_normalization_names.size();
  for (std::size_t strategy = first_strategies; strategy < strategies; ++strategy) {
    for (const Semantics semantics : orders) {
      lines += line_of_strategy<float>(strategy, semantics, "float32") +
               line_of_strategy<double>(strategy, semantics, "float64");
    }
  }
  for (const auto storage : {flatstep::StateStorage::full, flatstep::StateStorage::bits_16,
                             flatstep::StateStorage::bits_8}) {
    for (const Semantics semantics : orders) lines += line_of_storage(storage, semantics);
  }
  return lines;
}

std::string recorded() {
  std::ostringstream text;
  text << std::ifstream(FLATSTEP_RECORDED_BITS).rdbuf();
  return text.str();
}

/// Leaves what came beside the test program, to be copied if the bits are meant to change.
std::string explanation(const std::string& lines) {
  std::ofstream("recorded_bits.txt") << lines;
  return "If this change of the bits is meant, list it in CHANGELOG.md and copy recorded_bits.txt "
         "from the tests' build directory to " FLATSTEP_RECORDED_BITS;
}

struct SameBits : testing::Test {
  ~SameBits() override {
    flatstep::set_target(before_);
    flatstep::ThreadPool::instance().set_num_threads(threads_);
  }

  const char* before_ = flatstep::active_target().name;
  unsigned threads_ = flatstep::ThreadPool::instance().num_threads();
};

TEST_F(SameBits, OnEveryInstructionSetWithFusedMultiplyAdd) {
  for (const flatstep::Target& target : flatstep::targets()) {
    if (std::string_view(target.name) == "sse2") continue;
    flatstep::set_target(target.name);
    const std::string lines = hashes();
    EXPECT_EQ(lines, recorded()) << target.name << ": " << explanation(lines);
  }
}

TEST_F(SameBits, WithAnyNumberOfThreads) {
  if (std::string_view(flatstep::active_target().name) == "sse2") {
    GTEST_SKIP() << "sse2 has no fused multiply-add";
  }
  for (const unsigned threads : {1U, 2U, 5U}) {
    flatstep::ThreadPool::instance().set_num_threads(threads);
    const std::string lines = hashes();
    EXPECT_EQ(lines, recorded()) << threads << " threads: " << explanation(lines);
  }
}

}  // namespace
