// Numbers at the ends of their ranges: factors that vanish, rates that are none, scalars that the
// parameters' type cannot hold, counters at their limit, sizes that wrap; and the floating-point
// mode around a caller's code.
#include <flatstep/flatstep.hpp>

#include <gtest/gtest.h>

#include <cfenv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace {

using flatstep::GradientNormalization;
using flatstep::LayerUpdater;
using flatstep::make_updater;
using flatstep::max_counter;
using flatstep::NetworkConfiguration;
using flatstep::OnNonfinite;
using flatstep::Semantics;
using flatstep::StepStatus;

NetworkConfiguration sgd(double rate) {
  NetworkConfiguration configuration;
  configuration.updater = make_updater("Sgd", {{"learning_rate", rate}});
  return configuration;
}

/// The update that one step makes of a gradient.
std::vector<double> update_of(const NetworkConfiguration& configuration, std::vector<double> g,
                              std::int64_t batch_size = 1) {
  std::vector<double> p(g.size());
  LayerUpdater<double> updater(configuration, {{"W", p}});
  double* const gradients[] = {g.data()};
  flatstep::StepOptions options;
  options.batch_size = batch_size;
  EXPECT_EQ(updater.update(gradients, options).status, StepStatus::done);
  return g;
}

TEST(Factors, ThatVanishInADoubleAreCarried) {
  auto configuration = sgd(1);
  configuration.gradient_normalization = GradientNormalization::ClipL2PerLayer;
  configuration.gradient_normalization_threshold = 1e-300;
  const std::vector<double> update = update_of(configuration, {6e9, 8e9});
  EXPECT_NEAR(update[0] / 6e-301, 1, 1e-14);
  EXPECT_NEAR(update[1] / 8e-301, 1, 1e-14);
}

TEST(Factors, ThatVanishWithTheBatchAreCarried) {
  auto configuration = sgd(1);
  configuration.gradient_normalization = GradientNormalization::ClipL2PerLayer;
  configuration.gradient_normalization_threshold = 1e-160;
  const std::vector<double> update =
      update_of(configuration, {6e149, 8e149}, std::int64_t{1} << 60);
  EXPECT_NEAR(update[0] / 6e-161, 1, 1e-14);
  EXPECT_NEAR(update[1] / 8e-161, 1, 1e-14);
}

TEST(Factors, OfNormsThatVanishWithTheBatch) {
  auto configuration = sgd(1);
  configuration.gradient_normalization = GradientNormalization::RenormalizeL2PerLayer;
  for (const int exponent : {-440, -445, -449, -455, -500, -1000}) {
    const double unit = std::ldexp(1.0, exponent);
    const std::vector<double> update =
        update_of(configuration, {3 * unit, 4 * unit}, std::int64_t{1} << 62);
    EXPECT_NEAR(update[0], 0.6, 1e-15) << exponent;
    EXPECT_NEAR(update[1], 0.8, 1e-15) << exponent;
  }
}

// 0·inf: a rate of 0 that a policy multiplies by a power beyond the range of double.
TEST(Rates, ThatAPolicyMakesNaNAreNaN) {
  auto configuration = sgd(0);
  configuration.semantics = Semantics::dl4j_0_8;
  configuration.learning_rate_policy.kind = flatstep::LearningRatePolicy::Kind::Exponential;
  configuration.learning_rate_policy.decay_rate = 1e200;
  std::vector<double> p = {1};
  const std::vector<double> g = {1};
  LayerUpdater<double> updater(configuration, {{"W", p}});
  for (int i = 0; i < 2; ++i) EXPECT_EQ(updater.step({g}).status, StepStatus::done);
  EXPECT_EQ(p[0], 1);
  EXPECT_EQ(updater.learning_rate(0, 2, 0), 0.0);
  EXPECT_EQ(updater.step({g}).status, StepStatus::done);
  EXPECT_TRUE(std::isnan(p[0]));
  EXPECT_TRUE(std::isnan(updater.learning_rate(0, 3, 0).value_or(0)));
  updater.set_rates(updater.rates());
  EXPECT_TRUE(std::isnan(updater.rates()[0].learning_rate.value_or(0)));
  EXPECT_FALSE(updater.momentum(0, 3, 0));
  EXPECT_THROW(updater.set_rates({{}}), std::invalid_argument);  // none for the policy to move
}

/// What a float updater of that configuration is refused with.
template <class T>
std::string refusal(const NetworkConfiguration& configuration) {
  std::vector<T> p(3);
  try {
    LayerUpdater<T> updater(configuration, {{"W", p}});
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST(Scalars, BeyondTheParametersTypeAreRefused) {
  const std::string range =
      ": expected a number from 1.17549435e-38 to "
      "3.40282347e+38, the range of float32";
  const std::string remedy = "; use float64 parameters, or a number in that range";
  const auto expect_refused = [&](const NetworkConfiguration& configuration,
                                  const std::string& what, const std::string& also,
                                  const std::string& got) {
    EXPECT_EQ(refusal<float>(configuration), what + range + also + ", got " + got + remedy);
    EXPECT_EQ(refusal<double>(configuration), "");
  };
  const std::string where = "parameter \"W\": ";
  expect_refused(sgd(1e39), where + "Sgd: learning_rate", " or 0", "1e+39");
  expect_refused(sgd(1e-39), where + "Sgd: learning_rate", " or 0", "1e-39");
  NetworkConfiguration adam;
  adam.updater = make_updater("Adam", {{"epsilon", 1e-39}});
  expect_refused(adam, where + "Adam: epsilon", " or 0", "1e-39");
  adam.updater =
      make_updater("Adam", {{"learning_rate", flatstep::Schedule::map({{0, 0.1}, {5, 1e39}})}});
  expect_refused(adam, where + "Adam: learning_rate", " or 0", "1e+39");
  auto l2 = sgd(1);
  l2.l2 = 1e39;
  expect_refused(l2, where + "l2", " or 0", "1e+39");
  auto policy = sgd(1);
  policy.semantics = Semantics::dl4j_0_8;
  policy.learning_rate_policy.kind = flatstep::LearningRatePolicy::Kind::Schedule;
  policy.learning_rate_policy.schedule = {{3, 1e39}};
  expect_refused(policy, where + "learning_rate_policy: schedule[3]", " or 0", "1e+39");
  auto clip = sgd(1);
  clip.gradient_normalization = GradientNormalization::ClipElementWiseAbsoluteValue;
  clip.gradient_normalization_threshold = 1e-39;
  expect_refused(clip, "layer \"0\": gradient_normalization_threshold", "", "1e-39");
  clip.gradient_normalization_threshold = 1e39;  // clips nothing
  EXPECT_EQ(refusal<float>(clip), "");
}

TEST(Scalars, ThatAreSubnormalInDoubleAreRefused) {
  const double subnormal = std::numeric_limits<double>::denorm_min();
  EXPECT_NE(refusal<double>(sgd(subnormal))
                .find("the range of float64 or 0, got 4.94066e-324; "
                      "use a number in that range"),
            std::string::npos);
  auto clip = sgd(1);
  clip.gradient_normalization = GradientNormalization::ClipL2PerLayer;
  clip.gradient_normalization_threshold = subnormal;
  EXPECT_NE(refusal<float>(clip), "");
}

TEST(Scalars, OfZeroAndAtTheEndsOfTheRangeAreLegal) {
  for (const double rate : {0.0, 0x1p-126, static_cast<double>(0x1.fffffep127F)}) {
    EXPECT_EQ(refusal<float>(sgd(rate)), "") << rate;
  }
  NetworkConfiguration adam;
  adam.updater = make_updater("Adam", {{"epsilon", 0.0}});
  EXPECT_EQ(refusal<float>(adam), "");
}

TEST(Scalars, SetByHandAreHeldToTheSame) {
  std::vector<float> p = {1};
  LayerUpdater<float> updater(sgd(1), {{"W", p}});
  for (const double rate : {1e39, 1e-39, std::numeric_limits<double>::infinity(),
                            std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW(updater.set_rates({{.learning_rate = rate}}), std::invalid_argument) << rate;
    EXPECT_EQ(updater.learning_rate(0, 0, 0), 1.0);
  }
  updater.set_rates({{.learning_rate = 0.5}});
  EXPECT_EQ(updater.learning_rate(0, 0, 0), 0.5);
}

TEST(State, ThatHasBecomeInfiniteIsReportedWhereItIsMonitored) {
  std::vector<float> p = {1, 2};
  std::vector<float> q = {1, 2};
  NetworkConfiguration configuration;
  configuration.updater = make_updater("Adam");
  flatstep::MultiLayerUpdater<float> updater(configuration, {{"0_W", p}, {"1_W", q}}, true);
  const std::vector<float> small = {1, 1};
  const std::vector<float> large = {1, 1e21F};  // its square is infinite
  EXPECT_EQ(updater.step({small, small}).status, StepStatus::done);
  EXPECT_FALSE(updater.report(1).state_nonfinite);
  EXPECT_EQ(updater.step({small, large}).status, StepStatus::done);
  EXPECT_EQ(updater.step({small, small}).status, StepStatus::done);
  EXPECT_FALSE(updater.report(0).state_nonfinite);
  EXPECT_TRUE(updater.report(1).state_nonfinite);
}

TEST(Counters, HaveOneLimitAndTheLastIsNoTrap) {
  std::vector<float> p = {1};
  const std::vector<float> g = {1};
  LayerUpdater<float> updater(sgd(1), {{"W", p}});
  flatstep::StepOptions options;
  options.epoch = max_counter + 1;
  EXPECT_EQ(updater.step({g}, options).status, StepStatus::invalid);
  options = {};
  options.iteration = max_counter + 1;
  EXPECT_EQ(updater.step({g}, options).status, StepStatus::invalid);
  updater.counters().iteration = max_counter;
  updater.counters().epoch = max_counter;
  for (int i = 1; i <= 3; ++i) {
    EXPECT_EQ(updater.step({g}).status, StepStatus::done);
    EXPECT_EQ(updater.counters().iteration, max_counter);
    EXPECT_EQ(updater.counters().epoch, max_counter);
    EXPECT_EQ(p[0], static_cast<float>(1 - i));
  }
}

TEST(Counters, OfSkippedStepsStopAtTheLimit) {
  auto configuration = sgd(1);
  configuration.on_nonfinite = OnNonfinite::skip;
  std::vector<float> p = {1};
  const std::vector<float> g = {std::numeric_limits<float>::infinity()};
  LayerUpdater<float> updater(configuration, {{"W", p}});
  updater.counters().skipped_steps = static_cast<std::uint64_t>(max_counter) - 1;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(updater.step({g}).status, StepStatus::skipped);
    EXPECT_EQ(updater.counters().skipped_steps, static_cast<std::uint64_t>(max_counter));
  }
}

TEST(Sizes, ThatWrapAreRefusedBeforeAnythingIsAllocated) {
  const std::size_t half = std::numeric_limits<std::size_t>::max() / 2 + 1;
  const auto layout_of = [](const char* updater, const std::vector<std::size_t>& sizes) {
    NetworkConfiguration configuration;
    configuration.updater = make_updater(updater);
    std::vector<flatstep::SlotName> names;
    std::vector<flatstep::LayoutSlot> slots;
    for (const std::size_t size : sizes) {
      const std::string layer = std::to_string(slots.size());
      names.push_back({layer + "_W", layer, "W"});
      flatstep::LayoutSlot slot;
      slot.name = names.back();
      slot.shape = {size};
      slot.size = size;
      slots.push_back(slot);
    }
    return flatstep::make_layout(slots, resolve(configuration, names));
  };
  EXPECT_EQ(layout_of("Sgd", {half}).size, half);
  EXPECT_THROW(layout_of("Sgd", {half, half}), std::length_error);
  EXPECT_THROW(layout_of("Adam", {half}), std::length_error);
  EXPECT_THROW(flatstep::AlignedBuffer<double>{half}, std::bad_alloc);
}

TEST(Places, OutsideAreRefused) {
  std::vector<float> p = {1};
  NetworkConfiguration configuration;
  configuration.updater = make_updater("Adam");
  const LayerUpdater<float> updater(configuration, {{"W", p}});
  EXPECT_THROW(std::ignore = updater.report(1), std::out_of_range);
  EXPECT_THROW(std::ignore = updater.state(1, 0), std::out_of_range);
  EXPECT_THROW(std::ignore = updater.state(0, 2), std::out_of_range);
}

TEST(Spans, OfAnyNumberOfSlotsAreChecked) {
  std::vector<float> W = {1, 2, 3};
  std::vector<float> b = {4};
  std::vector<float> gW = {1, 1, 1};
  std::vector<float> gb = {1};
  flatstep::MultiLayerUpdater<float> updater(sgd(1), {{"0_W", W}, {"0_b", b}});
  std::vector<std::span<const float>> gradients = {gW, gb};
  EXPECT_EQ(updater.step(gradients).status, StepStatus::done);
  EXPECT_EQ(W[2], 2);
  gradients[1] = std::span<const float>(gW);
  EXPECT_EQ(updater.step(gradients).status, StepStatus::invalid);
  gradients.pop_back();
  EXPECT_EQ(updater.step(gradients).status, StepStatus::invalid);
  const std::vector<std::span<float>> updates = {gW, gb};
  EXPECT_EQ(updater.update(updates).status, StepStatus::done);
  const std::vector<std::span<float>> wrong = {gb, gW};
  EXPECT_EQ(updater.update(wrong).status, StepStatus::invalid);
  EXPECT_EQ(updater.counters().iteration, 2);
}

#if defined(__x86_64__) || defined(__aarch64__)

/// Whether subnormals are numbers to who asks, as they are to a program that changed nothing.
bool has_subnormals() {
  volatile double least = std::numeric_limits<double>::denorm_min();
  return least * 1.0 != 0;
}

TEST(FloatMode, IsTheCallersInsideACallback) {
  flatstep::UpdaterInfo info;
  info.name = "Callback";
  int calls = 0;
  info.float_callback = [&](const flatstep::CallbackArguments<float>& call) {
    EXPECT_TRUE(has_subnormals());
    EXPECT_EQ(std::fegetround(), FE_UPWARD);
    ++calls;
    // What comes after the callback flushes again.
    for (float& g : call.gradient) g = std::numeric_limits<float>::denorm_min();
    return true;
  };
  NetworkConfiguration configuration;
  configuration.updater.kind = &info;
  configuration.updater.values.clear();
  configuration.l2 = 0.5;
  configuration.semantics = Semantics::dl4j_0_8;
  std::vector<float> p = {0};
  std::vector<float> g = {1};
  LayerUpdater<float> updater(configuration, {{"W", p}});
  float* const gradients[] = {g.data()};
  std::fesetround(FE_UPWARD);
  const StepStatus status = updater.update(gradients).status;
  EXPECT_EQ(std::fegetround(), FE_UPWARD);
  std::fesetround(FE_TONEAREST);
  EXPECT_EQ(status, StepStatus::done);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(g[0], 0);
  EXPECT_TRUE(has_subnormals());
}

TEST(FloatMode, IsTheCallersInsideTheExchange) {
  for (const bool monitor : {false, true}) {
    std::vector<float> p = {1, 2};
    const std::vector<float> g = {1, 2};
    int calls = 0;
    flatstep::Shared shared;
    shared.share = {0, 2};
    shared.exchange = [&](std::span<double>) {
      EXPECT_TRUE(has_subnormals());
      ++calls;
      return true;
    };
    LayerUpdater<float> updater(sgd(1), {{"W", p}}, monitor, {}, shared);
    EXPECT_EQ(updater.step({g}).status, StepStatus::done);
    EXPECT_EQ(calls, monitor ? 2 : 1);
  }
}

#endif

#if defined(__linux__)

/// Runs `body` in a forked child and gives its exit status, or -1 if it did not end by itself.
template <class F>
int in_child(F&& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(body());
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

#if defined(__x86_64__)  // few ARM processors can trap

TEST(FloatMode, TrapsNothingInsideAStepWhateverTheCallerTraps) {
  for (const std::size_t size : {std::size_t{3}, std::size_t{200'000}}) {  // alone, with the pool
    const int status = in_child([&] {
      flatstep::ThreadPool::instance().set_num_threads(3);
      NetworkConfiguration configuration;
      configuration.updater = make_updater("Adam", {{"epsilon", 0.0}});
      configuration.gradient_normalization = GradientNormalization::ClipL2PerLayer;
      std::vector<float> p(size, 1);
      std::vector<float> g(size, 0.1F);
      g.back() = 0;  // 0/0
      LayerUpdater<float> updater(configuration, {{"W", p}});
      std::feclearexcept(FE_ALL_EXCEPT);
      feenableexcept(FE_ALL_EXCEPT);
      const bool done = updater.step({g}).status == StepStatus::done;
      const bool traps = fegetexcept() == FE_ALL_EXCEPT;
      const bool raised = std::fetestexcept(FE_ALL_EXCEPT) != 0;
      fedisableexcept(FE_ALL_EXCEPT);
      return done && traps && !raised && std::isnan(p.back()) ? 0 : 1;
    });
    EXPECT_EQ(status, 0) << size;
  }
}

#endif

/// An updater that outlives all statics which were made after it.
struct LastToGo {
  std::vector<float> p = std::vector<float>(3, 1.0F);
  std::optional<LayerUpdater<float>> updater{};

  ~LastToGo() {
    const std::vector<float> g(3, 1.0F);
    const bool steps = updater->step({g}).status == StepStatus::done && p[0] == 0.5F;
    std::vector<float> q(3, 1.0F);
    LayerUpdater<float> other(sgd(0.25), {{"W", q}});
    const bool makes = other.step({g}).status == StepStatus::done && q[0] == 0.75F;
    _exit(steps && makes && flatstep::find_updater("NoOp") != nullptr &&
                  !flatstep::targets().empty()
              ? 0
              : 1);
  }
};

TEST(StaticDestructors, MayStepAndMakeUpdaters) {
  const int status = in_child([]() -> int {
    static LastToGo last;
    last.updater.emplace(sgd(0.5), std::vector<flatstep::Slot<float>>{{"W", last.p}});
    std::exit(2);
  });
  EXPECT_EQ(status, 0);
}

#endif

}  // namespace
