// The C++ face: MultiLayerUpdater, ComputationGraphUpdater and LayerUpdater as a C++ program uses
// them.
#include <flatstep/flatstep.hpp>

#include <gtest/gtest.h>

#include <bit>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

namespace {

using flatstep::GradientNormalization;
using flatstep::NetworkConfiguration;
using flatstep::OnNonfinite;
using flatstep::StepStatus;

template <class T>
class UpdaterTest : public ::testing::Test {
 protected:
  std::vector<T> W = {1, -2, 3, -4, 5, -6};
  std::vector<T> b = {T(0.5), T(-0.5)};
  std::vector<T> gW = {3, 0, 0, 0, 0, 0};
  std::vector<T> gb = {0, 4};

  flatstep::MultiLayerUpdater<T> make(const NetworkConfiguration& configuration) {
    return {configuration, {{"0_W", W, {3, 2}}, {"0_b", b}}};
  }
  static NetworkConfiguration sgd(double rate) {
    NetworkConfiguration configuration;
    configuration.updater = flatstep::make_updater("Sgd", {{"learning_rate", rate}});
    return configuration;
  }
};

using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(UpdaterTest, Types);

TYPED_TEST(UpdaterTest, StepSubtractsTheUpdateAndLeavesTheGradient) {
  auto updater = this->make(this->sgd(0.5));
  const auto gradient = this->gW;
  const flatstep::StepReport report = updater.step({this->gW, this->gb});
  EXPECT_EQ(report.status, StepStatus::done);
  EXPECT_EQ(this->W[0], TypeParam(-0.5));
  EXPECT_EQ(this->b[1], TypeParam(-2.5));
  EXPECT_EQ(this->gW, gradient);
  EXPECT_EQ(updater.counters().iteration, 1);
}

TYPED_TEST(UpdaterTest, UpdateTurnsTheGradientIntoTheUpdate) {
  auto updater = this->make(this->sgd(0.5));
  const auto parameters = this->W;
  TypeParam* const gradients[] = {this->gW.data(), this->gb.data()};
  EXPECT_EQ(updater.update(gradients).status, StepStatus::done);
  EXPECT_EQ(this->gW[0], TypeParam(1.5));
  EXPECT_EQ(this->gb[1], TypeParam(2));
  EXPECT_EQ(this->W, parameters);
}

TYPED_TEST(UpdaterTest, ClipsPerLayer) {
  auto configuration = this->sgd(1);
  configuration.gradient_normalization = GradientNormalization::ClipL2PerLayer;
  auto updater = this->make(configuration);
  std::ignore = updater.step({this->gW, this->gb});
  EXPECT_EQ(updater.group_norm(0), 5.0);
  EXPECT_EQ(updater.report(0).factor, 0.2);
  EXPECT_TRUE(updater.report(1).clipped);
  EXPECT_NEAR(this->b[1], -0.5 - 0.8, 1e-6);
}

TYPED_TEST(UpdaterTest, DividesByTheBatchBeforeOrAfterTheUpdater) {
  for (const auto semantics : {flatstep::Semantics::dl4j_1_0, flatstep::Semantics::dl4j_0_8}) {
    auto configuration = this->sgd(1);
    configuration.updater = flatstep::make_updater("Adam", {{"learning_rate", 1.0}});
    configuration.semantics = semantics;
    std::vector<TypeParam> p = {0};
    const std::vector<TypeParam> g = {3};
    flatstep::LayerUpdater<TypeParam> updater(configuration, {{"W", p}});
    flatstep::StepOptions options;
    options.batch_size = 4;
    std::ignore = updater.step({g}, options);
    const double expected = semantics == flatstep::Semantics::dl4j_1_0 ? -1.0 : -0.25;
    EXPECT_NEAR(p[0], expected, 1e-6);
  }
}

TYPED_TEST(UpdaterTest, GradientsAreScaledBeforeTheyAreNormalised) {
  auto configuration = this->sgd(1);
  configuration.gradient_normalization = GradientNormalization::ClipL2PerLayer;
  auto updater = this->make(configuration);
  flatstep::StepOptions options;
  options.gradient_scale = 0.5;
  std::ignore = updater.step({this->gW, this->gb}, options);
  EXPECT_EQ(updater.group_norm(0), 2.5);
  EXPECT_EQ(updater.report(0).factor, 0.4);
  EXPECT_NEAR(this->b[1], -0.5 - 0.8, 1e-6);
}

TYPED_TEST(UpdaterTest, SumsLeaveOutWhatIsNotFinite) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  for (const auto choice : {OnNonfinite::raise, OnNonfinite::skip, OnNonfinite::propagate}) {
    auto configuration = this->sgd(1);
    configuration.on_nonfinite = choice;
    auto updater = this->make(configuration);
    std::vector<TypeParam> sW(this->gW.size()), sb(this->gb.size());
    TypeParam* const sums[] = {sW.data(), sb.data()};
    const TypeParam* const good[] = {this->gW.data(), this->gb.data()};
    EXPECT_EQ(updater.accumulate(sums, good), StepStatus::done);
    auto broken = this->gb;
    broken.back() = nan;
    const TypeParam* const bad[] = {this->gW.data(), broken.data()};
    EXPECT_TRUE(updater.is_finite(0, bad[0]));
    EXPECT_FALSE(updater.is_finite(1, bad[1]));
    const StepStatus expected = choice == OnNonfinite::raise  ? StepStatus::nonfinite
                                : choice == OnNonfinite::skip ? StepStatus::skipped
                                                              : StepStatus::done;
    EXPECT_EQ(updater.accumulate(sums, bad), expected);
    EXPECT_EQ(updater.counters().skipped_steps, choice == OnNonfinite::skip ? 1u : 0u);
    EXPECT_EQ(sW == this->gW, choice != OnNonfinite::propagate);
  }
}

TYPED_TEST(UpdaterTest, NonfiniteGradientsAreRefusedOrSkipped) {
  this->gb[0] = std::numeric_limits<TypeParam>::quiet_NaN();
  for (const auto& [choice, status] : {std::pair{OnNonfinite::raise, StepStatus::nonfinite},
                                       std::pair{OnNonfinite::skip, StepStatus::skipped}}) {
    auto configuration = this->sgd(1);
    configuration.on_nonfinite = choice;
    const auto parameters = this->W;
    auto updater = this->make(configuration);
    EXPECT_EQ(updater.step({this->gW, this->gb}).status, status);
    EXPECT_EQ(this->W, parameters);
    EXPECT_EQ(updater.counters().iteration, 0);
    EXPECT_EQ(updater.counters().skipped_steps, choice == OnNonfinite::skip ? 1u : 0u);
    EXPECT_FALSE(updater.report(0).nonfinite);
    EXPECT_TRUE(updater.report(1).nonfinite);
  }
  auto configuration = this->sgd(1);
  configuration.on_nonfinite = OnNonfinite::propagate;
  EXPECT_EQ(this->make(configuration).step({this->gW, this->gb}).status, StepStatus::done);
  EXPECT_TRUE(std::isnan(this->b[0]));
}

TYPED_TEST(UpdaterTest, InvalidCallsChangeNothing) {
  auto updater = this->make(this->sgd(1));
  const auto parameters = this->W;
  EXPECT_EQ(updater.step({this->gW}).status, StepStatus::invalid);
  EXPECT_EQ(updater.step({this->gb, this->gW}).status, StepStatus::invalid);
  flatstep::StepOptions options;
  options.batch_size = 0;
  EXPECT_EQ(updater.step({this->gW, this->gb}, options).status, StepStatus::invalid);
  for (const double scale : {0.0, -1.0, 1e-31, 1e31, std::numeric_limits<double>::quiet_NaN()}) {
    options = {};
    options.gradient_scale = scale;
    EXPECT_EQ(updater.step({this->gW, this->gb}, options).status, StepStatus::invalid);
  }
  const TypeParam* const missing[] = {this->gW.data(), nullptr};
  EXPECT_EQ(updater.step(std::span<const TypeParam* const>(missing)).status, StepStatus::invalid);
  EXPECT_EQ(this->W, parameters);
  EXPECT_EQ(updater.counters().iteration, 0);
  static_assert(noexcept(updater.step({this->gW, this->gb})));
}

TYPED_TEST(UpdaterTest, FrozenLayersStayAndTheirUpdateIsZero) {
  auto configuration = this->sgd(1);
  configuration.layers["1"].frozen = true;
  std::vector<TypeParam> frozen = {1, 2};
  std::vector<TypeParam> gradient = {7, 7};
  flatstep::MultiLayerUpdater<TypeParam> updater(configuration,
                                                 {{"0_b", this->b}, {"1_b", frozen}});
  const TypeParam* const absent[] = {this->gb.data(), nullptr};
  EXPECT_EQ(updater.step(std::span<const TypeParam* const>(absent)).status, StepStatus::done);
  EXPECT_EQ(frozen[0], 1);
  TypeParam* const given[] = {this->gb.data(), gradient.data()};
  EXPECT_EQ(updater.update(given).status, StepStatus::done);
  EXPECT_EQ(gradient, (std::vector<TypeParam>{0, 0}));
}

TYPED_TEST(UpdaterTest, StateLiesWhereTheCallerSays) {
  NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater("Adam");
  std::vector<TypeParam> memory(16, 9);
  flatstep::MultiLayerUpdater<TypeParam> updater(
      configuration, {{"0_W", this->W, {3, 2}}, {"0_b", this->b}}, false, memory);
  EXPECT_EQ(updater.state_view().data(), memory.data());
  EXPECT_EQ(std::accumulate(memory.begin(), memory.end(), TypeParam{0}), 0);
  std::ignore = updater.step({this->gW, this->gb});
  EXPECT_NEAR(updater.state(1, 0)[1], 0.4, 1e-6);  // m of "0_b": after all of the block's m comes v
  EXPECT_EQ(updater.state(1, 0).data(), memory.data() + 6);
  EXPECT_EQ(updater.state(1, 1).data(), memory.data() + 14);
  EXPECT_THROW(
      (flatstep::MultiLayerUpdater<TypeParam>(configuration, {{"0_b", this->b}}, false, memory)),
      std::invalid_argument);
}

TYPED_TEST(UpdaterTest, MonitoringMeasuresAndChangesNoBit) {
  NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater("Adam");
  std::vector<TypeParam> plain(5000);
  std::iota(plain.begin(), plain.end(), TypeParam(-2000.25));
  for (TypeParam& p : plain) p /= 1024;
  std::vector<TypeParam> monitored = plain;
  const std::vector<TypeParam> gradient(plain.rbegin(), plain.rend());
  flatstep::LayerUpdater<TypeParam> one(configuration, {{"W", plain}});
  flatstep::LayerUpdater<TypeParam> other(configuration, {{"W", monitored}}, true);
  const std::vector<TypeParam> before = plain;
  std::ignore = one.step({gradient});
  std::ignore = other.step({gradient});
  EXPECT_EQ(plain, monitored);
  double update = 0;
  double parameter = 0;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    parameter += double(before[i]) * double(before[i]);
    const double u = double(before[i]) - double(plain[i]);
    update += u * u;
  }
  EXPECT_NEAR(other.report(0).parameter_norm / std::sqrt(parameter), 1, 1e-12);
  EXPECT_NEAR(other.report(0).update_norm / std::sqrt(update), 1, 1e-3);
  EXPECT_TRUE(std::isnan(one.report(0).update_norm));
}

// An updater of the user's own: a struct with a formula.
struct SignSgd {
  static constexpr std::string_view name = "SignSgd";
  static constexpr flatstep::HyperParameter hyper_parameters[] = {flatstep::learning_rate(0.25)};
  static constexpr flatstep::StateNames<1> state_names{{"count"}};
  struct Values {
    double learning_rate;
  };
  template <class X>
  struct Constants {
    X learning_rate;
    X one;
  };
  static Constants<double> constants(const Values& h, const flatstep::StepContext&) {
    return {h.learning_rate, 1.0};
  }
  template <class V>
  static V apply(V g, V* state, const Constants<V>& c) {
    state[0] = state[0] + c.one;
    return copysign(c.learning_rate, g);
  }
};

TYPED_TEST(UpdaterTest, AnOwnUpdaterIsAStructWithAFormula) {
  NetworkConfiguration configuration;
  configuration.updater = flatstep::own_updater<SignSgd>();
  auto updater = this->make(configuration);
  this->gW[1] = -3;
  std::ignore = updater.step({this->gW, this->gb});
  EXPECT_EQ(this->W[0], TypeParam(0.75));
  EXPECT_EQ(this->W[1], TypeParam(-1.75));
  EXPECT_EQ(updater.state(0, 0)[5], 1);
  EXPECT_EQ(updater.learning_rate(0, 0, 0), 0.25);
}

TYPED_TEST(UpdaterTest, FactorsBeyondTheRangeOfTheTypeAreCarriedAsTwo) {
  auto configuration = this->sgd(1);
  configuration.gradient_normalization = GradientNormalization::ClipL2PerLayer;
  const int exponent = std::numeric_limits<TypeParam>::max_exponent - 2;
  const auto huge = static_cast<TypeParam>(std::ldexp(1.0, exponent));
  configuration.gradient_normalization_threshold = 1 / static_cast<double>(huge);
  std::vector<TypeParam> p = {0};
  const std::vector<TypeParam> g = {huge};
  flatstep::LayerUpdater<TypeParam> updater(configuration, {{"W", p}});
  std::ignore = updater.step({g});
  EXPECT_EQ(p[0], -1 / huge);
}

TEST(Keys, AreSplitAsDl4jSplitsThem) {
  std::vector<float> p(2);
  const NetworkConfiguration configuration;
  flatstep::ComputationGraphUpdater<float> graph(configuration, {{"fc_1_W", p}});
  EXPECT_EQ(graph.layout().slots[0].name.layer, "fc_1");
  const auto text = [&](const char* key) -> std::string {
    try {
      flatstep::MultiLayerUpdater<float> updater(configuration, {{key, p}});
    } catch (const flatstep::InvalidKey& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(text("W0"),
            "Invalid key: MultiLayerNetwork Gradient key does not have layer separator: \"W0\"");
  EXPECT_NE(text("a_W").find("expected an integer layer"), std::string::npos);
}

TEST(Memory, OverlapsAndWrongShapesAreRefused) {
  std::vector<float> p(6);
  const std::span<float> all(p);
  const NetworkConfiguration configuration;
  EXPECT_THROW((flatstep::MultiLayerUpdater<float>(
                   configuration, {{"0_W", all.first(4)}, {"0_b", all.subspan(3)}})),
               std::invalid_argument);
  EXPECT_THROW((flatstep::MultiLayerUpdater<float>(configuration, {{"0_W", all, {4, 2}}})),
               std::invalid_argument);
  EXPECT_THROW((flatstep::MultiLayerUpdater<float>(configuration, {})), std::invalid_argument);
}

TEST(Callbacks, AbandonAStepWhole) {
  flatstep::UpdaterInfo info;
  info.name = "Callback";
  info.state = {{"m"}};
  bool succeeds = true;
  info.float_callback = [&](const flatstep::CallbackArguments<float>& call) {
    for (float& m : call.state[0]) m += 1;
    for (float& g : call.gradient) g *= 2;
    return succeeds;
  };
  NetworkConfiguration configuration;
  configuration.updater.kind = &info;
  configuration.updater.values.clear();
  configuration.l2 = 1;
  std::vector<float> p = {1, 2};
  const std::vector<float> g = {1, 1};
  flatstep::LayerUpdater<float> updater(configuration, {{"W", p}});
  EXPECT_EQ(updater.step({g}).status, StepStatus::done);
  EXPECT_EQ(p, (std::vector<float>{1 - 2 * 2, 2 - 2 * 3}));
  succeeds = false;
  EXPECT_EQ(updater.step({g}).status, StepStatus::abandoned);
  EXPECT_EQ(p, (std::vector<float>{-3, -4}));
  EXPECT_EQ(updater.state(0, 0)[0], 1);
  EXPECT_EQ(updater.counters().iteration, 1);
}

TEST(Callbacks, AreCheckedWhenTheUpdaterIsMade) {
  flatstep::UpdaterInfo info;
  info.name = "Callback";
  info.float_callback = [](const flatstep::CallbackArguments<float>&) { return true; };
  NetworkConfiguration configuration;
  configuration.updater.kind = &info;
  configuration.updater.values.clear();
  std::vector<float> floats = {1};
  std::vector<double> doubles = {1};
  EXPECT_NO_THROW((flatstep::LayerUpdater<float>(configuration, {{"W", floats}})));
  EXPECT_THROW((flatstep::LayerUpdater<double>(configuration, {{"W", doubles}})),
               std::invalid_argument);
  const std::vector<flatstep::HyperParameter> many(flatstep::max_hyper_parameters + 1,
                                                   flatstep::decay("beta", 0.5));
  info.hyper_parameters = many;
  configuration.updater.values.assign(many.size(), flatstep::Schedule::fixed(0.5));
  EXPECT_THROW((flatstep::LayerUpdater<float>(configuration, {{"W", floats}})),
               std::invalid_argument);
}

TEST(Callbacks, ThatThrowAbandonTheStep) {
  flatstep::UpdaterInfo info;
  info.name = "Callback";
  info.float_callback = [](const flatstep::CallbackArguments<float>&) -> bool {
    throw std::runtime_error("on purpose");
  };
  NetworkConfiguration configuration;
  configuration.updater.kind = &info;
  configuration.updater.values.clear();
  std::vector<float> p = {1, 2};
  flatstep::LayerUpdater<float> updater(configuration, {{"W", p}});
  EXPECT_EQ(updater.step({std::vector<float>{1, 1}}).status, StepStatus::abandoned);
  EXPECT_EQ(p, (std::vector<float>{1, 2}));
}

TEST(StateArrays, HaveTheShapeAndTheStartThatTheirUpdaterSays) {
  using flatstep::StateShape;
  using flatstep::StateStart;
  flatstep::UpdaterInfo info;
  info.name = "Factored";
  info.state = {{"row", StateShape::row},
                {"column", StateShape::column},
                {"count", StateShape::number},
                {"average", StateShape::parameter, StateStart::parameter}};
  info.initial_state = [](std::size_t array, const double*, const flatstep::OrderRules&) {
    return static_cast<double>(array) + 1;
  };
  std::vector<std::size_t> sizes;
  info.float_callback = [&](const flatstep::CallbackArguments<float>& call) {
    for (const std::span<float> array : call.state) sizes.push_back(array.size());
    call.state[2][0] += 1;
    return true;
  };
  NetworkConfiguration configuration;
  configuration.updater.kind = &info;
  configuration.updater.values.clear();
  configuration.bias_updater = configuration.updater;
  std::vector<float> W = {1, 2, 3, 4, 5, 6};
  std::vector<float> b = {7, 8};
  flatstep::LayerUpdater<float> updater(configuration, {{"W", W, {2, 3}}, {"b", b}});
  // One block: each array of both slots, then the next.
  EXPECT_EQ(updater.state_view().size(), 3u + 1 + 2 + 1 + 1 + 1 + 6 + 2);
  EXPECT_EQ(std::vector<float>(updater.state_view().begin(), updater.state_view().end()),
            (std::vector<float>{1, 1, 1, 1, 2, 2, 2, 3, 3, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(updater.layout().slots[0].state_shape(0), (std::vector<std::size_t>{3}));
  EXPECT_EQ(updater.layout().slots[0].state_shape(1), (std::vector<std::size_t>{2}));
  EXPECT_TRUE(updater.layout().slots[1].state_shape(0).empty());
  EXPECT_EQ(updater.step({std::vector<float>(6), std::vector<float>(2)}).status, StepStatus::done);
  EXPECT_EQ(sizes, (std::vector<std::size_t>{3, 2, 1, 6, 1, 1, 1, 2}));
  EXPECT_EQ(updater.state(0, 2)[0], 4);
  EXPECT_THROW(updater.state(0, 4), std::out_of_range);
}

TEST(StateArrays, MayHaveAShapeOfTheirOwnAndSeeTheParameter) {
  flatstep::UpdaterInfo info;
  info.name = "Own";
  info.state = {{"axes", flatstep::StateShape::own}, {"number", flatstep::StateShape::number}};
  info.own_shape = [](std::size_t array, std::span<const std::size_t> parameter) {
    EXPECT_EQ(array, 0u);
    return std::vector<std::size_t>{parameter.size(), 2};
  };
  std::vector<std::vector<std::size_t>> shapes;
  std::vector<double> seen;
  info.double_callback = [&](const flatstep::CallbackArguments<double>& call) {
    shapes.insert(shapes.end(), call.state_shapes.begin(), call.state_shapes.end());
    seen.insert(seen.end(), call.parameter.begin(), call.parameter.end());
    std::ranges::copy(call.parameter, call.gradient.begin());
    return true;
  };
  NetworkConfiguration configuration;
  configuration.updater.kind = &info;
  configuration.updater.values.clear();
  std::vector<double> W = {1, 2, 3, 4};
  flatstep::LayerUpdater<double> updater(configuration, {{"W", W, {2, 2}}});
  EXPECT_EQ(updater.state_view().size(), 4u + 1);
  EXPECT_EQ(updater.step({std::vector<double>(4)}).status, StepStatus::done);
  EXPECT_EQ(shapes, (std::vector<std::vector<std::size_t>>{{2, 2}, {}}));
  EXPECT_EQ(seen, (std::vector<double>{1, 2, 3, 4}));
  EXPECT_EQ(W, std::vector<double>(4));
}

TEST(StateArrays, OfAFusedUpdaterAreItsParameters) {
  flatstep::UpdaterInfo info = flatstep::own_updater_info<SignSgd>();
  info.state[0].shape = flatstep::StateShape::row;
  NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater(info);
  std::vector<float> p = {1, 2};
  EXPECT_THROW((flatstep::LayerUpdater<float>(configuration, {{"W", p}})), std::invalid_argument);
}

TEST(Memory, AShapeWhoseProductOverflowsIsRefused) {
  constexpr std::size_t half = std::size_t{1} << (std::numeric_limits<std::size_t>::digits / 2);
  EXPECT_THROW((flatstep::LayerUpdater<float>({}, {{"W", std::span<float>(), {half, half}}})),
               std::invalid_argument);
}

TYPED_TEST(UpdaterTest, TheLastIterationIsRefused) {
  auto updater = this->make(this->sgd(1));
  const std::vector<TypeParam> before = this->W;
  flatstep::StepOptions options;
  options.iteration = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(updater.step({this->gW, this->gb}, options).status, StepStatus::invalid);
  EXPECT_EQ(this->W, before);
  EXPECT_EQ(updater.counters().iteration, 0);
}

TYPED_TEST(UpdaterTest, ReportsSayNothingBeforeTheFirstStepAndOutliveNewRates) {
  NetworkConfiguration configuration = this->sgd(0.5);
  configuration.gradient_normalization = GradientNormalization::ClipL2PerLayer;
  auto updater = this->make(configuration);
  EXPECT_TRUE(std::isnan(updater.report(0).learning_rate));
  EXPECT_TRUE(std::isnan(updater.report(0).gradient_norm));
  EXPECT_TRUE(std::isnan(updater.report(0).factor));
  EXPECT_FALSE(updater.report(0).clipped);
  std::ignore = updater.step({this->gW, this->gb});
  updater.set_rates(updater.rates());
  EXPECT_EQ(updater.report(0).learning_rate, 0.5);
  EXPECT_EQ(updater.report(0).gradient_norm, 3);
  EXPECT_EQ(updater.group_norm(0), 5);
  EXPECT_EQ(updater.report(0).factor, 0.2);
  EXPECT_TRUE(updater.report(0).clipped);
}

#if defined(__x86_64__) || defined(__aarch64__)

// A caller's rounding is its own affair: neither the bits of a step nor its look depend on it.
TYPED_TEST(UpdaterTest, TheCallersRoundingDoesNotShow) {
  NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater("Adam", {});
  configuration.on_nonfinite = OnNonfinite::raise;
  this->gb = {-1, TypeParam(0.1)};
  auto updater = this->make(configuration);
  EXPECT_EQ(updater.step({this->gW, this->gb}).status, StepStatus::done);
  const std::vector<TypeParam> expected = this->b;
  for (const int rounding : {FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO}) {
    this->b = {TypeParam(0.5), TypeParam(-0.5)};
    auto other = this->make(configuration);
    std::fesetround(rounding);
    const StepStatus status = other.step({this->gW, this->gb}).status;
    EXPECT_EQ(std::fegetround(), rounding);
    std::fesetround(FE_TONEAREST);
    EXPECT_EQ(status, StepStatus::done);
    EXPECT_EQ(this->b, expected);
  }
}

#endif

// ---- parameters, gradients and state in fewer bits ---------------------------------------------

using flatstep::bfloat16;
using flatstep::ElementType;
using flatstep::float16;
using flatstep::Master;
using flatstep::StateStorage;

class NarrowStorage : public ::testing::Test {
 protected:
  static constexpr std::size_t size = 5000;  // more than one tile, and a tail
  static constexpr std::size_t few = 300;

  NarrowStorage() {
    for (std::size_t i = 0; i < size; ++i) {
      upper[i].bits = static_cast<std::uint16_t>(0x3c00 + i % 0x400 + i % 2 * 0x8000);
      gradient[i] = static_cast<float>(static_cast<int>(i * 7919 % 2001) - 1000) / 1024;
    }
    for (std::size_t i = 0; i < few; ++i) bias[i] = static_cast<float>(i) / 64;
  }

  static float widened(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
  std::vector<float> widened_parameter() const {
    std::vector<float> numbers;
    for (const bfloat16& x : upper) numbers.push_back(widened(x.bits));
    return numbers;
  }
  static NetworkConfiguration adam(StateStorage storage = StateStorage::full,
                                   std::optional<Master> master = {}) {
    NetworkConfiguration configuration;
    configuration.updater = flatstep::make_updater("Adam", {{"learning_rate", 0.01}});
    configuration.gradient_normalization = GradientNormalization::ClipL2PerLayer;
    configuration.state_storage = storage;
    configuration.master = master;
    return configuration;
  }
  template <class X>
  std::string refusal(const NetworkConfiguration& configuration, std::span<X> parameter,
                      std::span<float> state_memory = {}) {
    try {
      flatstep::MultiLayerUpdater<float>(configuration, {{"0_W", parameter}}, false, state_memory);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  }

  std::vector<bfloat16> upper = std::vector<bfloat16>(size);
  std::vector<float> bias = std::vector<float>(few);
  std::vector<float> gradient = std::vector<float>(size);
  std::vector<float> bias_gradient = std::vector<float>(few, 0.25F);
};

TEST_F(NarrowStorage, OfASplitMasterIsBitForBitTheRunOfFloats) {
  for (const StateStorage storage :
       {StateStorage::full, StateStorage::bits_16, StateStorage::bits_8}) {
    std::vector<float> W = widened_parameter();
    std::vector<float> b = bias;
    auto split = upper;
    auto split_bias = bias;
    flatstep::MultiLayerUpdater<float> floats(adam(storage), {{"0_W", W}, {"0_b", b}});
    flatstep::MultiLayerUpdater<float> halves(adam(storage, Master::split),
                                              {{"0_W", std::span(split)}, {"0_b", split_bias}});
    for (int step = 0; step < 5; ++step) {
      EXPECT_EQ(floats.step({gradient, bias_gradient}).status, StepStatus::done);
      EXPECT_EQ(halves.step({gradient, bias_gradient}).status, StepStatus::done);
    }
    std::vector<float> joined(size);
    halves.read_parameter(0, joined);
    EXPECT_EQ(joined, W) << to_string(storage);
    EXPECT_EQ(split_bias, b);
    EXPECT_NE(W, widened_parameter());
    for (std::size_t i = 0; i < size; ++i) {
      const auto nearest =
          static_cast<std::uint16_t>((std::bit_cast<std::uint32_t>(W[i]) + 0x8000) >> 16);
      ASSERT_EQ(split[i].bits, nearest) << i;
    }
    std::vector<float> of_floats(size), of_halves(size);
    for (const std::size_t array : {0u, 1u}) {
      floats.read_state(0, array, of_floats);
      halves.read_state(0, array, of_halves);
      EXPECT_EQ(of_halves, of_floats);
    }
  }
}

TEST_F(NarrowStorage, OfAFullMasterIsTheRunOfFloatsRoundedToTheNearest) {
  std::vector<float> W = widened_parameter();
  auto narrow = upper;
  std::vector<float16> half(size);  // 2 in each
  for (float16& x : half) x.bits = 0x4000;
  std::vector<float> twos(size, 2.0F);
  flatstep::MultiLayerUpdater<float> floats(adam(), {{"0_W", W}, {"1_W", twos}});
  flatstep::MultiLayerUpdater<float> narrows(
      adam(StateStorage::full, Master::full),
      {{"0_W", std::span(narrow)}, {"1_W", std::span(half)}});
  EXPECT_EQ(narrows.parameters()[0].type(), ElementType::bfloat16);
  EXPECT_EQ(narrows.parameters()[0].bytes(), 2 * size);
  EXPECT_EQ(narrows.parameters()[1].type(), ElementType::float16);
  for (int step = 0; step < 5; ++step) {
    std::ignore = floats.step({gradient, gradient});
    std::ignore = narrows.step({gradient, gradient});
  }
  std::vector<float> master(size);
  narrows.read_parameter(0, master);
  EXPECT_EQ(master, W);
  narrows.read_parameter(1, master);
  EXPECT_EQ(master, twos);
  for (std::size_t i = 0; i < size; ++i) {
    EXPECT_LE(std::fabs(widened(narrow[i].bits) - W[i]), std::fabs(W[i]) / 256);
  }
  // What someone else writes becomes the master where it is not what that rounds to.
  narrow[7].bits = 0x3f80;
  narrows.adopt_parameters();
  narrows.read_parameter(0, master);
  EXPECT_EQ(master[7], 1.0F);
  master[7] = W[7];
  EXPECT_EQ(master, W);
}

TEST_F(NarrowStorage, GradientsOfOtherTypesAreTheSameNumbers) {
  std::vector<bfloat16> g16(size);
  std::vector<float> same(size);
  for (std::size_t i = 0; i < size; ++i) {
    g16[i].bits = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(gradient[i]) >> 16);
    same[i] = widened(g16[i].bits);
  }
  std::vector<float16> half(few);
  for (std::size_t i = 0; i < few; ++i) half[i].bits = static_cast<std::uint16_t>(0x3c00 + i);
  std::vector<float> same_half(few);
  for (std::size_t i = 0; i < few; ++i) same_half[i] = 1.0F + static_cast<float>(i) / 1024;
  const ElementType types[] = {ElementType::bfloat16, ElementType::float16};

  std::vector<float> W = widened_parameter(), other = W;
  std::vector<float> b = bias, other_b = bias;
  flatstep::MultiLayerUpdater<float> wide(adam(StateStorage::bits_8), {{"0_W", W}, {"0_b", b}});
  flatstep::MultiLayerUpdater<float> typed(adam(StateStorage::bits_8),
                                           {{"0_W", other}, {"0_b", other_b}});
  // A pointer to float stands for whatever its type says.
  const float* const narrow[] = {reinterpret_cast<const float*>(g16.data()),
                                 reinterpret_cast<const float*>(half.data())};
  const std::span<const float* const> gradients(narrow);
  EXPECT_EQ(wide.step({same, same_half}).status, StepStatus::done);
  EXPECT_EQ(typed.step(gradients, types).status, StepStatus::done);
  EXPECT_EQ(other, W);
  EXPECT_EQ(other_b, b);
  EXPECT_EQ(typed.group_norm(0), wide.group_norm(0));
  EXPECT_EQ(typed.step(gradients, std::span(types).first(1)).status, StepStatus::invalid);
  EXPECT_EQ(typed.counters().iteration, 1);

  std::vector<float> sum(size, 1.0F), sum_b(few), want(size, 1.0F), want_b(few);
  float* const sums[] = {sum.data(), sum_b.data()};
  float* const wanted[] = {want.data(), want_b.data()};
  const float* const given[] = {same.data(), same_half.data()};
  EXPECT_EQ(typed.accumulate(sums, gradients, types), StepStatus::done);
  EXPECT_EQ(wide.accumulate(wanted, given), StepStatus::done);
  EXPECT_EQ(sum, want);
  EXPECT_EQ(sum_b, want_b);

  // Updates take the gradients' place, rounded to the nearest.
  float* const written[] = {reinterpret_cast<float*>(g16.data()),
                            reinterpret_cast<float*>(half.data())};
  float* const written_wide[] = {same.data(), same_half.data()};
  EXPECT_EQ(typed.update(written, types).status, StepStatus::done);
  EXPECT_EQ(wide.update(written_wide).status, StepStatus::done);
  for (std::size_t i = 0; i < size; ++i) {
    ASSERT_LE(std::fabs(widened(g16[i].bits) - same[i]), std::fabs(same[i]) / 256) << i;
  }

  g16[9].bits = 0x7fc0;
  const auto before = other;
  EXPECT_FALSE(typed.is_finite(0, narrow[0], ElementType::bfloat16));
  EXPECT_EQ(typed.accumulate(sums, gradients, types), StepStatus::nonfinite);
  EXPECT_EQ(sum, want);
  EXPECT_EQ(typed.step(gradients, types).status, StepStatus::nonfinite);
  EXPECT_EQ(other, before);
}

// What a run's kernel does not go through is no business of a tile: the state of a visible bias
// outside pretraining, and that of a callback, which may have more arrays than any kernel.
TEST_F(NarrowStorage, OfGradientsLeavesStateAloneThatNoKernelGoesThrough) {
  std::vector<bfloat16> narrow(size);
  std::vector<float> same(size);
  for (std::size_t i = 0; i < size; ++i) {
    narrow[i].bits = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(gradient[i]) >> 16);
    same[i] = widened(narrow[i].bits);
  }
  const float* const typed[] = {reinterpret_cast<const float*>(narrow.data())};
  const ElementType types[] = {ElementType::bfloat16};

  auto configuration = adam();
  configuration.on_nonfinite = OnNonfinite::propagate;
  std::vector<float> visible(size, 1.0F), expected = visible;
  flatstep::MultiLayerUpdater<float> biases(configuration, {{"0_vb", visible}}, true);
  flatstep::MultiLayerUpdater<float> plain(configuration, {{"0_vb", expected}}, true);
  EXPECT_EQ(biases.step(std::span<const float* const>(typed), types).status, StepStatus::done);
  EXPECT_EQ(plain.step({same}).status, StepStatus::done);
  EXPECT_EQ(visible, expected);
  EXPECT_FALSE(biases.report(0).state_nonfinite);
  EXPECT_EQ(biases.report(0).update_norm, plain.report(0).update_norm);

  flatstep::UpdaterInfo info;
  info.name = "Callback";
  for (std::size_t a = 0; a < flatstep::max_callback_state_arrays; ++a) {
    info.state.push_back(
        {"s", a % 2 == 0 ? flatstep::StateShape::parameter : flatstep::StateShape::number});
  }
  info.float_callback = [](const flatstep::CallbackArguments<float>& call) {
    for (const std::span<float> array : call.state) array[0] += 1;
    return true;
  };
  NetworkConfiguration own;
  own.updater.kind = &info;
  own.updater.values.clear();
  own.master = Master::split;
  auto split = upper;
  flatstep::LayerUpdater<float> callback(own, {{"W", std::span(split)}}, true);
  EXPECT_EQ(callback.step(std::span<const float* const>(typed), types).status, StepStatus::done);
  std::vector<float> stepped(size);
  callback.read_parameter(0, stepped);
  const std::vector<float> before = widened_parameter();
  for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(stepped[i], before[i] - same[i]) << i;
  for (std::size_t a = 0; a < info.state.size(); ++a) EXPECT_EQ(callback.state(0, a)[0], 1.0F);
}

TEST_F(NarrowStorage, OfDoublesIsGradientsInFloat) {
  std::vector<double> p(size, 1.0), other = p;
  const std::vector<double> wide(gradient.begin(), gradient.end());
  flatstep::LayerUpdater<double> one(adam(), {{"W", p}});
  flatstep::LayerUpdater<double> typed(adam(), {{"W", other}});
  const double* const given[] = {reinterpret_cast<const double*>(gradient.data())};
  const ElementType types[] = {ElementType::float32};
  EXPECT_EQ(one.step({wide}).status, StepStatus::done);
  EXPECT_EQ(typed.step(std::span<const double* const>(given), types).status, StepStatus::done);
  EXPECT_EQ(other, p);
}

TEST_F(NarrowStorage, WithoutAMasterThatHoldsTheRestIsRefused) {
  std::vector<float16> half(size);
  EXPECT_EQ(refusal(adam(), std::span(upper)),
            "parameter \"0_W\": master: expected \"split\" or \"full\" for a bfloat16 parameter, "
            "whose steps are smaller than its last place, got none; choose one in the "
            "configuration, or use float32 parameters");
  EXPECT_EQ(refusal(adam(), std::span(half)),
            "parameter \"0_W\": master: expected \"full\" for a float16 parameter, whose steps are "
            "smaller than its last place, got none; choose one in the configuration, or use "
            "float32 parameters");
  EXPECT_EQ(
      refusal(adam(StateStorage::full, Master::split), std::span(half)),
      "parameter \"0_W\": master: expected \"full\" for a float16 parameter, which is no half "
      "of a float32, got \"split\"; use bfloat16 parameters, or master=\"full\"");
  std::vector<double> doubles(size);
  try {
    flatstep::LayerUpdater<double>(adam(StateStorage::bits_8), {{"W", doubles}});
    ADD_FAILURE();
  } catch (const std::invalid_argument& error) {
    EXPECT_EQ(std::string(error.what()),
              "parameter \"W\": state_storage: expected \"full\" for a float64 parameter, got "
              "\"8bit\"; use float32 parameters, or full storage");
  }
}

TEST_F(NarrowStorage, LiesInMemoryOfItsOwn) {
  std::vector<float> W = widened_parameter();
  std::vector<float> memory(2 * size);
  const std::string text =
      "state_memory: expected none, as an updater with parameters or state in fewer bits keeps "
      "these itself";
  EXPECT_EQ(refusal(adam(StateStorage::bits_16), std::span(W), memory), text);
  EXPECT_EQ(refusal(adam(StateStorage::full, Master::split), std::span(upper), memory), text);
  EXPECT_EQ(refusal(adam(), std::span(W), memory), "");
}

TEST_F(NarrowStorage, KeepsAsManyBytesAsItSays) {
  const auto up = [](std::size_t bytes) { return (bytes + 63) / 64 * 64; };
  const std::size_t scales = up((size + 255) / 256 * sizeof(float));
  const std::size_t of_bias = 2 * few * sizeof(float);  // too small to be coded
  const auto kept = [&](StateStorage storage, std::optional<Master> master) {
    auto W = widened_parameter();
    auto narrow = upper;
    const flatstep::ParameterMemory<float> parameter =
        master ? flatstep::ParameterMemory<float>(std::span(narrow))
               : flatstep::ParameterMemory<float>(W);
    return flatstep::MultiLayerUpdater<float>(adam(storage, master),
                                              {{"0_W", parameter}, {"0_b", bias}})
        .kept_bytes();
  };
  EXPECT_EQ(kept(StateStorage::full, {}), 8 * size + of_bias);
  EXPECT_EQ(kept(StateStorage::bits_16, {}), 2 * up(2 * size) + scales + of_bias);
  EXPECT_EQ(kept(StateStorage::bits_8, {}), 2 * up(size) + 2 * scales + of_bias);
  EXPECT_EQ(kept(StateStorage::full, Master::split), 8 * size + up(2 * size) + of_bias);
  EXPECT_EQ(kept(StateStorage::full, Master::full), 8 * size + 4 * size + of_bias);
  EXPECT_EQ(kept(StateStorage::bits_8, Master::split),
            2 * up(size) + 2 * scales + up(2 * size) + of_bias);
}

TEST_F(NarrowStorage, ShowsCodesAsNumbersAndTakesThem) {
  std::vector<float> W = widened_parameter();
  flatstep::MultiLayerUpdater<float> updater(adam(StateStorage::bits_8),
                                             {{"0_W", W}, {"0_b", bias}});
  EXPECT_TRUE(updater.state_view().empty());
  EXPECT_TRUE(updater.state(0, 0).empty());
  EXPECT_EQ(updater.state(1, 0).size(), few) << "small arrays stay as they are";
  EXPECT_THROW(updater.state(0, 2), std::out_of_range);
  std::ignore = updater.step({gradient, bias_gradient});
  std::vector<float> m(size), again(size);
  updater.read_state(0, 0, m);
  EXPECT_EQ(m[0] < 0, gradient[0] < 0);
  updater.write_state(0, 0, m);
  updater.read_state(0, 0, again);
  EXPECT_EQ(again, m) << "codes are numbers that stay";
  EXPECT_THROW(updater.read_state(0, 0, std::span(m).first(3)), std::out_of_range);
  EXPECT_THROW(updater.write_state(0, 0, std::span(m).first(3)), std::out_of_range);
  EXPECT_THROW(updater.read_parameter(0, std::span(m).first(3)), std::out_of_range);
  EXPECT_NE(updater.code_memory(), nullptr);
}

}  // namespace
