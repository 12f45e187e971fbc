// What each layer and slot gets from a configuration, and every configuration error with its text.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <flatstep/configuration.hpp>

namespace {

using flatstep::find_updater;
using flatstep::GradientNormalization;
using flatstep::LearningRatePolicy;
using flatstep::make_updater;
using flatstep::NetworkConfiguration;
using flatstep::NetworkSettings;
using flatstep::resolve;
using flatstep::Schedule;
using flatstep::Semantics;
using flatstep::SlotName;
using flatstep::SlotSettings;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// Layer 0: dense; layer 1: an autoencoder; layer 2: batch normalisation.
const std::vector<SlotName> slots{
    {"0_W", "0", "W"},       {"0_b", "0", "b"},       {"1_W", "1", "W"},
    {"1_b", "1", "b"},       {"1_vb", "1", "vb"},     {"2_gamma", "2", "gamma"},
    {"2_beta", "2", "beta"}, {"2_mean", "2", "mean"}, {"2_log10stdev", "2", "log10stdev"}};

std::size_t place(const std::string& key) {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].key == key) return i;
  }
  throw std::out_of_range(key);
}

SlotSettings slot(const NetworkConfiguration& network, const std::string& key) {
  return resolve(network, slots).slots[place(key)];
}

std::string updater(const NetworkConfiguration& network, const std::string& key) {
  return std::string(slot(network, key).updater.kind->name);
}

/// The learning rate at iteration 0.
double rate(const NetworkConfiguration& network, const std::string& key) {
  const SlotSettings settings = slot(network, key);
  return settings.updater.values.at(0).at(0, 0);
}

NetworkConfiguration old() {
  NetworkConfiguration network;
  network.semantics = Semantics::dl4j_0_8;
  return network;
}

LearningRatePolicy step_policy() {
  return {.kind = LearningRatePolicy::Kind::Step, .decay_rate = 0.5, .steps = 10};
}

// -----------------------------------------------------------------------------------------
// updaters

TEST(Updaters, MakeUpdaterFillsInDefaults) {
  const auto adam = make_updater("Adam", {{"beta1", 0.8}});
  EXPECT_EQ(adam.kind, find_updater("Adam"));
  // And its flags: where ε stands, and whether the bias is corrected.
  EXPECT_EQ(adam.values, (std::vector<Schedule>{1e-3, 0.8, 0.999, 1e-8, 0.0, 1.0}));
  EXPECT_NE(adam, make_updater("Adam"));
  EXPECT_EQ(make_updater("NoOp").values.size(), 0u);
}

TEST(Updaters, NearestWins) {
  NetworkConfiguration network;
  EXPECT_EQ(updater(network, "0_W"), "Sgd");

  network.updater = make_updater("Adam");
  network.layers["1"].updater = make_updater("RmsProp");
  EXPECT_EQ(updater(network, "0_b"), "Adam");
  EXPECT_EQ(updater(network, "1_W"), "RmsProp");
  EXPECT_EQ(updater(network, "1_b"), "RmsProp");

  network.bias_updater = make_updater("AdaGrad");
  EXPECT_EQ(updater(network, "0_W"), "Adam");
  EXPECT_EQ(updater(network, "0_b"), "AdaGrad");
  EXPECT_EQ(updater(network, "1_W"), "RmsProp");
  EXPECT_EQ(updater(network, "1_b"), "AdaGrad") << "before the layer's updater";
  EXPECT_EQ(updater(network, "1_vb"), "AdaGrad") << "the visible bias is a bias";

  network.layers["1"].bias_updater = make_updater("Nadam");
  EXPECT_EQ(updater(network, "1_b"), "Nadam");

  network.layers["1"].params["b"].updater = make_updater("AdaMax");
  EXPECT_EQ(updater(network, "1_b"), "AdaMax");
  EXPECT_EQ(updater(network, "1_vb"), "Nadam");
}

TEST(Updaters, BiasParamsAreNamed) {
  NetworkConfiguration network;
  network.bias_updater = make_updater("AdaGrad");
  network.bias_params = {"beta"};
  EXPECT_EQ(updater(network, "0_b"), "Sgd");
  EXPECT_EQ(updater(network, "1_vb"), "AdaGrad");
  EXPECT_EQ(updater(network, "2_beta"), "AdaGrad");
}

TEST(Updaters, BiasesAreKnownByNameAndShape) {
  using flatstep::is_bias_name;
  const std::vector<std::size_t> vector{5}, column{5, 1}, matrix{5, 4};
  for (const char* const name :
       {"b", "bias", "bias_ih_l0", "biases", "in_proj_bias", "hiddenBias"}) {
    EXPECT_TRUE(is_bias_name(name, matrix)) << name;
  }
  for (const char* const name : {"b1", "b_12", "bh", "bxy", "b_out"}) {
    EXPECT_TRUE(is_bias_name(name, vector)) << name;
    EXPECT_TRUE(is_bias_name(name, column)) << name;
    EXPECT_TRUE(is_bias_name(name, {})) << name;
    EXPECT_FALSE(is_bias_name(name, matrix)) << name;
  }
  for (const char* const name :
       {"", "B", "W", "beta", "b_", "b1h", "basis", "unbiased", "biasing"}) {
    EXPECT_FALSE(is_bias_name(name, vector)) << name;
  }
}

TEST(Regularization, AFilterSaysWhatDecays) {
  NetworkConfiguration network;
  network.l2 = 0.5;
  network.l2_bias = 0.25;
  network.layers["1"].params["b"].l2 = 0.125;
  network.decay_filter = [](const SlotName& name, std::span<const std::size_t> shape) {
    return name.key == "0_W" && shape.size() == 2;
  };
  const std::vector<std::size_t> matrix{2, 3}, vector{3};
  const std::vector<std::span<const std::size_t>> shapes{matrix, vector, matrix, vector, vector,
                                                         vector, vector, vector, vector};
  const NetworkSettings settings = resolve(network, slots, shapes);
  EXPECT_EQ(settings.slots[place("0_W")].l2, 0.5);
  EXPECT_EQ(settings.slots[place("0_b")].l2, 0.0);
  EXPECT_EQ(settings.slots[place("1_W")].l2, 0.0);
  EXPECT_EQ(settings.slots[place("1_b")].l2, 0.125) << "its own";

  network.l2 = network.l2_bias = 0;
  network.layers.clear();
  network.updater.weight_decay = 0.01;  // AdamW's
  EXPECT_EQ(resolve(network, slots, shapes).slots[place("0_W")].weight_decay, 0.01);
  EXPECT_EQ(resolve(network, slots, shapes).slots[place("1_W")].weight_decay, 0.0);
}

TEST(Updaters, RatesOfTheirOwn) {
  NetworkConfiguration network;
  network.updater = make_updater("Sgd", {{"learning_rate", 0.1}});
  network.bias_learning_rate = 0.2;
  EXPECT_EQ(rate(network, "0_W"), 0.1);
  EXPECT_EQ(rate(network, "0_b"), 0.2);
  EXPECT_EQ(rate(network, "1_vb"), 0.2);

  network.layers["1"].bias_learning_rate = 0.3;
  EXPECT_EQ(rate(network, "1_b"), 0.3);

  network.layers["1"].bias_updater = make_updater("Adam", {{"learning_rate", 0.4}});
  EXPECT_EQ(rate(network, "1_b"), 0.3) << "replaces the bias updater's rate";

  network.layers["1"].params["b"].updater = make_updater("Sgd", {{"learning_rate", 0.5}});
  EXPECT_EQ(rate(network, "1_b"), 0.5) << "a parameter's updater keeps its rate";

  network.layers["1"].params["b"].learning_rate = 0.6;
  network.layers["1"].params["W"].learning_rate = Schedule::exponential(0.7, 0.5);
  EXPECT_EQ(rate(network, "1_b"), 0.6);
  EXPECT_EQ(rate(network, "1_W"), 0.7);

  network.layers["0"].params["b"].updater = make_updater("AdaDelta");
  network.layers["0"].params["b"].learning_rate = 0.6;
  EXPECT_EQ(slot(network, "0_b").updater, make_updater("AdaDelta")) << "which has no rate";
}

TEST(Updaters, FrozenSlots) {
  NetworkConfiguration network;
  network.updater = make_updater("Adam");
  network.l2 = 0.1;
  network.layers["0"].frozen = true;
  EXPECT_EQ(updater(network, "0_W"), "NoOp");
  EXPECT_EQ(updater(network, "1_W"), "Adam");
  EXPECT_TRUE(slot(network, "0_W").frozen);
  EXPECT_EQ(slot(network, "0_W").l2, 0.0);

  network.semantics = Semantics::dl4j_0_8;
  EXPECT_EQ(updater(network, "0_W"), "Adam") << "0.8 keeps its state";
  EXPECT_EQ(slot(network, "0_W").l2, 0.0);
}

TEST(Updaters, StatisticsHaveNone) {
  NetworkConfiguration network;
  network.updater = make_updater("Adam");
  EXPECT_EQ(updater(network, "2_mean"), "Adam");

  network.layers["2"].kind = "BatchNormalization";
  EXPECT_EQ(updater(network, "2_gamma"), "Adam");
  EXPECT_EQ(updater(network, "2_mean"), "NoOp");
  EXPECT_EQ(updater(network, "2_log10stdev"), "NoOp");
  EXPECT_TRUE(slot(network, "2_mean").statistic);
  EXPECT_FALSE(slot(network, "2_beta").statistic);

  network.layers["2"].params["mean"].statistic = false;
  network.layers["2"].params["beta"].statistic = true;
  EXPECT_EQ(updater(network, "2_mean"), "Adam");
  EXPECT_EQ(updater(network, "2_beta"), "NoOp");
}

// ------------------------------------------------------------------------------------
// regularisation

TEST(Regularization, WeightsAndBiases) {
  NetworkConfiguration network;
  network.l1 = 0.1;
  network.l2 = 0.2;
  network.l1_bias = 0.3;
  network.l2_bias = 0.4;
  network.weight_decay = 0.5;
  network.weight_decay_bias = 0.6;
  network.layers["1"].l1 = 0.7;
  network.layers["1"].weight_decay_bias = 0.8;
  network.layers["1"].weight_decay_apply_lr = false;
  network.layers["1"].params["b"].l2 = 0.9;

  const SlotSettings w = slot(network, "0_W");
  EXPECT_EQ(w.l1, 0.1);
  EXPECT_EQ(w.l2, 0.2);
  EXPECT_EQ(w.weight_decay, 0.5);
  EXPECT_TRUE(w.weight_decay_apply_lr);
  const SlotSettings b = slot(network, "0_b");
  EXPECT_EQ(b.l1, 0.3);
  EXPECT_EQ(b.l2, 0.4);
  EXPECT_EQ(b.weight_decay, 0.6);
  EXPECT_EQ(slot(network, "1_W").l1, 0.7);
  const SlotSettings b1 = slot(network, "1_b");
  EXPECT_EQ(b1.l1, 0.3);
  EXPECT_EQ(b1.l2, 0.9);
  EXPECT_EQ(b1.weight_decay, 0.8);
  EXPECT_FALSE(b1.weight_decay_apply_lr);
}

TEST(Regularization, BatchNormalizationIsExempt) {
  NetworkConfiguration network;
  network.l2 = 0.2;
  network.weight_decay = 0.1;
  network.layers["2"].kind = "BatchNormalization";
  network.layers["2"].l1 = 0.3;
  network.layers["2"].params["gamma"].l2 = 0.4;
  const SlotSettings gamma = slot(network, "2_gamma");
  EXPECT_EQ(gamma.l1, 0.0);
  EXPECT_EQ(gamma.l2, 0.4);
  EXPECT_EQ(gamma.weight_decay, 0.0);
  EXPECT_EQ(slot(network, "2_beta").l2, 0.0);
}

TEST(Regularization, AdamWIsAdamWithDecay) {
  NetworkConfiguration network;
  network.updater = make_updater("Adam");
  network.updater.weight_decay = 0.01;
  network.weight_decay_apply_lr = false;
  network.layers["2"].kind = "BatchNormalization";
  for (const std::string key : {"0_W", "0_b", "1_vb", "2_gamma"}) {
    const SlotSettings settings = slot(network, key);
    EXPECT_EQ(settings.weight_decay, 0.01) << key;
    EXPECT_TRUE(settings.weight_decay_apply_lr) << key;
    EXPECT_EQ(settings.updater, make_updater("Adam")) << key;
  }
  EXPECT_EQ(slot(network, "2_mean").weight_decay, 0.0);
}

// --------------------------------------------------------------------------------- policies,
// momentum

TEST(Policies, NearestWinsAndNoneSwitchesOff) {
  NetworkConfiguration network = old();
  network.learning_rate_policy = step_policy();
  LearningRatePolicy other = step_policy();
  other.steps = 3;
  network.layers["1"].learning_rate_policy = other;
  network.layers["1"].params["b"].learning_rate_policy = LearningRatePolicy{};
  network.layers["0"].params["b"].updater = make_updater("AdaDelta");
  network.layers["2"].kind = "BatchNormalization";
  EXPECT_EQ(slot(network, "0_W").policy, step_policy());
  EXPECT_EQ(slot(network, "0_b").policy, LearningRatePolicy{}) << "AdaDelta has no rate";
  EXPECT_EQ(slot(network, "1_W").policy, other);
  EXPECT_EQ(slot(network, "1_b").policy, LearningRatePolicy{});
  EXPECT_EQ(slot(network, "2_mean").policy, LearningRatePolicy{});
}

TEST(Policies, MomentumScheduleReachesNesterovsOnly) {
  NetworkConfiguration network = old();
  network.momentum_schedule = {{3, 0.8}};
  network.layers["0"].updater = make_updater("Nesterovs");
  network.layers["1"].updater = make_updater("Nesterovs");
  network.layers["1"].momentum_schedule = {{5, 0.9}};
  network.layers["1"].params["vb"].momentum_schedule.emplace();
  using Points = std::map<std::int64_t, double>;
  EXPECT_EQ(slot(network, "0_W").momentum_schedule, (Points{{3, 0.8}}));
  EXPECT_EQ(slot(network, "1_W").momentum_schedule, (Points{{5, 0.9}}));
  EXPECT_EQ(slot(network, "1_vb").momentum_schedule, Points{});
  EXPECT_EQ(slot(network, "2_gamma").momentum_schedule, Points{});
}

// ---------------------------------------------------------------------------------------------
// layers

TEST(Layers, InOrderWithTheirStrategies) {
  NetworkConfiguration network;
  network.gradient_normalization = GradientNormalization::ClipL2PerLayer;
  network.gradient_normalization_threshold = 0.5;
  network.layers["1"].gradient_normalization = GradientNormalization::None;
  network.layers["2"].gradient_normalization_threshold = 2.0;
  network.layers["1"].pretrain = true;
  const NetworkSettings settings = resolve(network, slots);
  ASSERT_EQ(settings.layers.size(), 3u);
  EXPECT_EQ(settings.layers[0].name, "0");
  EXPECT_EQ(settings.layers[0].strategy, GradientNormalization::ClipL2PerLayer);
  EXPECT_EQ(settings.layers[0].threshold, 0.5);
  EXPECT_EQ(settings.layers[1].strategy, GradientNormalization::None);
  EXPECT_TRUE(settings.layers[1].pretrain);
  EXPECT_EQ(settings.layers[2].threshold, 2.0);
  EXPECT_EQ(settings.slots[4].layer, 1u);
  EXPECT_TRUE(settings.slots[4].pretrain_only);
  EXPECT_TRUE(settings.slots[4].pretrain);
  EXPECT_EQ(settings.slots[8].layer, 2u);
}

TEST(Layers, ClipL2GlobalLeavesOutLayersOfTheirOwn) {
  NetworkConfiguration network;
  network.gradient_normalization = GradientNormalization::ClipL2Global;
  network.gradient_normalization_threshold = 0.5;
  network.layers["1"].gradient_normalization = GradientNormalization::RenormalizeL2PerLayer;
  network.layers["2"].frozen = true;
  NetworkSettings settings = resolve(network, slots);
  EXPECT_EQ(settings.layers[0].threshold, 0.5);
  EXPECT_EQ(settings.layers[0].strategy, GradientNormalization::ClipL2Global);
  EXPECT_EQ(settings.layers[1].strategy, GradientNormalization::RenormalizeL2PerLayer);
  EXPECT_EQ(settings.layers[2].strategy, GradientNormalization::None);

  network.layers["0"].pretrain = true;
  EXPECT_EQ(resolve(network, slots).layers[0].strategy, GradientNormalization::ClipL2Global);
  network.semantics = Semantics::dl4j_0_8;
  EXPECT_EQ(resolve(network, slots).layers[0].strategy, GradientNormalization::None)
      << "0.8 does not normalise there";
}

TEST(Layers, NetworkSettingsAreCarriedOver) {
  NetworkConfiguration network = old();
  network.mini_batch = false;
  network.on_nonfinite = flatstep::OnNonfinite::skip;
  const NetworkSettings settings = resolve(network, slots);
  EXPECT_EQ(settings.semantics, Semantics::dl4j_0_8);
  EXPECT_FALSE(settings.mini_batch);
  EXPECT_EQ(settings.on_nonfinite, flatstep::OnNonfinite::skip);
}

TEST(Names, ThereAndBack) {
  for (const auto name : flatstep::gradient_normalization_names) {
    EXPECT_EQ(flatstep::to_string(flatstep::parse_gradient_normalization(name)), name);
  }
  for (const auto name : flatstep::on_nonfinite_names) {
    EXPECT_EQ(flatstep::to_string(flatstep::parse_on_nonfinite(name)), name);
  }
  EXPECT_EQ(flatstep::parse_semantics("dl4j-1.0"), Semantics::dl4j_1_0);
  EXPECT_EQ(flatstep::parse_semantics("dl4j-0.8"), Semantics::dl4j_0_8);
  EXPECT_EQ(flatstep::to_string(Semantics::dl4j_0_8), "dl4j-0.8");
}

// ---------------------------------------------------------------------------------------------
// errors

struct Mistake {
  std::string name;
  std::function<void(NetworkConfiguration&)> make;
  std::string text;
};

class Mistakes : public testing::TestWithParam<Mistake> {};

TEST_P(Mistakes, AreRefusedWithTheirText) {
  NetworkConfiguration network;
  try {
    GetParam().make(network);
    resolve(network, slots);
    ADD_FAILURE() << "expected: " << GetParam().text;
  } catch (const std::invalid_argument& error) {
    EXPECT_EQ(GetParam().text, error.what());
  }
}

using N = NetworkConfiguration;

std::string all_updaters() {
  std::string list;
  for (const flatstep::UpdaterInfo& updater : flatstep::updater_registry()) {
    list += (list.empty() ? "\"" : ", \"") + std::string(updater.name) + "\"";
  }
  return list;
}

const std::vector<Mistake> mistakes{
    {"UnknownUpdater", [](N& n) { n.updater = make_updater("Adamw"); },
     "updater: expected one of " + all_updaters() + ", got \"Adamw\""},
    {"UnknownHyperParameter", [](N& n) { n.updater = make_updater("Sgd", {{"momentum", 0.9}}); },
     "hyper-parameter of Sgd: expected one of \"learning_rate\", got \"momentum\""},
    {"UnknownSemantics", [](N& n) { n.semantics = flatstep::parse_semantics("dl4j-0.9"); },
     "semantics: expected one of \"dl4j-1.0\", \"dl4j-0.8\", got \"dl4j-0.9\""},
    {"UpdaterWithoutKind", [](N& n) { n.updater = {}; },
     "network: updater: expected an updater, got one without a kind; use make_updater"},
    {"WrongNumberOfValues", [](N& n) { n.updater.values.clear(); },
     "network: updater: Sgd: expected 1 hyper-parameters, got 0; use make_updater"},
    {"LearningRateNegative",
     [](N& n) { n.updater = make_updater("Sgd", {{"learning_rate", -0.1}}); },
     "network: updater: Sgd: learning_rate: expected a finite number >= 0, got -0.1"},
    {"LearningRateNaN", [](N& n) { n.updater = make_updater("Sgd", {{"learning_rate", nan}}); },
     "network: updater: Sgd: learning_rate: expected a finite number >= 0, got nan"},
    {"ScheduleNegative",
     [](N& n) {
       n.updater = make_updater("Sgd", {{"learning_rate", Schedule::map({{0, 1}, {5, -1}})}});
     },
     "network: updater: Sgd: learning_rate: expected a finite number >= 0, got -1"},
    {"BetaOne", [](N& n) { n.layers["1"].updater = make_updater("Adam", {{"beta1", 2.0}}); },
     "layer \"1\": updater: Adam: beta1: expected a number in [0, 1], got 2"},
    {"BetaSchedule",
     [](N& n) { n.updater = make_updater("Adam", {{"beta2", Schedule::step(0.9, 0.5, 2)}}); },
     "network: updater: Adam: beta2: expected a number, got a schedule; it does not move: give a "
     "number"},
    {"Momentum",
     [](N& n) {
       n.layers["1"].params["W"].updater = make_updater("Nesterovs", {{"momentum", 1.5}});
     },
     "layer \"1\", parameter \"W\": updater: Nesterovs: momentum: expected a number in [0, 1], "
     "got 1.5"},
    {"BiasUpdater", [](N& n) { n.bias_updater = make_updater("AdaDelta", {{"rho", -1.0}}); },
     "network: bias_updater: AdaDelta: rho: expected a number in [0, 1], got -1"},
    {"AdamWNegative",
     [](N& n) {
       n.updater = make_updater("Adam");
       n.updater.weight_decay = -0.5;
     },
     "network: updater: AdamW: weight_decay: expected a finite number >= 0, got -0.5"},
    {"BiasLearningRate", [](N& n) { n.bias_learning_rate = nan; },
     "network: bias_learning_rate: expected a finite number >= 0, got nan"},
    {"ParamLearningRate", [](N& n) { n.layers["0"].params["b"].learning_rate = -1.0; },
     "layer \"0\", parameter \"b\": learning_rate: expected a finite number >= 0, got -1"},
    {"L1", [](N& n) { n.l1 = -1; }, "network: l1: expected a finite number >= 0, got -1"},
    {"L2BiasOfLayer", [](N& n) { n.layers["0"].l2_bias = nan; },
     "layer \"0\": l2_bias: expected a finite number >= 0, got nan"},
    {"L2OfParam", [](N& n) { n.layers["0"].params["W"].l2 = -2; },
     "layer \"0\", parameter \"W\": l2: expected a finite number >= 0, got -2"},
    {"Threshold",
     [](N& n) {
       n.gradient_normalization = GradientNormalization::ClipL2PerLayer;
       n.gradient_normalization_threshold = 0;
     },
     "network: gradient_normalization_threshold: expected a finite number > 0 for ClipL2PerLayer, "
     "got 0"},
    {"ThresholdOfLayer",
     [](N& n) {
       n.gradient_normalization_threshold = nan;
       n.layers["1"].gradient_normalization = GradientNormalization::ClipElementWiseAbsoluteValue;
     },
     "layer \"1\": gradient_normalization_threshold: expected a finite number > 0 for "
     "ClipElementWiseAbsoluteValue, got nan"},
    {"GlobalForALayer",
     [](N& n) { n.layers["1"].gradient_normalization = GradientNormalization::ClipL2Global; },
     "layer \"1\": gradient_normalization: expected a strategy for a layer, got ClipL2Global, "
     "which is for the network only; use ClipL2PerLayer, or set it for the network"},
    {"PolicyUnderOne", [](N& n) { n.layers["1"].learning_rate_policy = step_policy(); },
     "layer \"1\": learning_rate_policy: expected none under semantics=\"dl4j-1.0\", got \"Step\"; "
     "use a schedule as the updater's learning_rate, or semantics=\"dl4j-0.8\""},
    {"PolicyItself",
     [](N& n) {
       n = old();
       n.learning_rate_policy = {.kind = LearningRatePolicy::Kind::Step, .decay_rate = 1};
     },
     "network: LearningRatePolicy \"Step\": steps: expected a finite number > 0, got 0"},
    {"PolicyAndSchedule",
     [](N& n) {
       n = old();
       n.learning_rate_policy = step_policy();
       n.layers["1"].updater = make_updater("Adam", {{"learning_rate", Schedule::step(1, 1, 1)}});
     },
     "parameter \"1_W\": expected a learning_rate_policy or a schedule, got both: policy \"Step\" "
     "and a schedule as learning_rate of Adam; give a number as learning_rate, or "
     "LearningRatePolicy(\"None\") to the layer or parameter"},
    {"MomentumScheduleUnderOne", [](N& n) { n.momentum_schedule = {{3, 0.8}}; },
     "network: momentum_schedule: expected none under semantics=\"dl4j-1.0\"; use a schedule as "
     "the momentum of Nesterovs (MapSchedule), or semantics=\"dl4j-0.8\""},
    {"MomentumScheduleWithoutNesterovs",
     [](N& n) {
       n = old();
       n.layers["1"].momentum_schedule = {{3, 0.8}};
     },
     "layer \"1\": momentum_schedule: expected an updater with a momentum (Nesterovs), got none; "
     "use Nesterovs, or leave out momentum_schedule"},
    {"MomentumScheduleOutOfRange",
     [](N& n) {
       n = old();
       n.updater = make_updater("Nesterovs");
       n.momentum_schedule = {{3, 1.8}};
     },
     "parameter \"0_W\": momentum_schedule[3]: Nesterovs: momentum: expected a number in [0, 1], "
     "got 1.8"},
    {"MomentumScheduleBeforeZero",
     [](N& n) {
       n = old();
       n.momentum_schedule = {{-3, 0.8}};
     },
     "network: momentum_schedule: expected iterations >= 0 as keys, got -3"},
    {"MomentumScheduleTwice",
     [](N& n) {
       n = old();
       n.updater = make_updater("Nesterovs", {{"momentum", Schedule::step(0.9, 1, 1)}});
       n.momentum_schedule = {{3, 0.8}};
     },
     "parameter \"0_W\": expected a momentum_schedule or a schedule as momentum of Nesterovs, got "
     "both; give a number as momentum, or leave out momentum_schedule"},
    {"WeightDecayUnderEight",
     [](N& n) {
       n = old();
       n.weight_decay = 0.1;
     },
     "network: weight_decay: expected 0 under semantics=\"dl4j-0.8\", whose order has no place for "
     "weight decay, got 0.1; use l2, or semantics=\"dl4j-1.0\""},
    {"AdamWUnderEight",
     [](N& n) {
       n = old();
       n.updater = make_updater("Adam");
       n.updater.weight_decay = 0.1;
     },
     "network: updater: AdamW: weight_decay: expected 0 under semantics=\"dl4j-0.8\", whose order "
     "has no place for weight decay, got 0.1; use l2, or semantics=\"dl4j-1.0\""},
    {"AdamWAndWeightDecay",
     [](N& n) {
       n.updater = make_updater("Adam");
       n.updater.weight_decay = 0.1;
       n.weight_decay = 0.2;
     },
     "parameter \"0_W\": weight_decay: expected 0 beside AdamW, which has a weight decay of 0.1, "
     "got 0.2; use Adam, or leave it to AdamW"},
    {"UnknownLayer", [](N& n) { n.layers["3"].frozen = true; },
     "layers: expected names of layers with parameters (\"0\", \"1\", \"2\"), got \"3\"; correct "
     "or remove it"},
    {"UnknownParam", [](N& n) { n.layers["1"].params["c"].l1 = 0; },
     "layer \"1\": params: expected names of its parameters (\"W\", \"b\", \"vb\"), got \"c\"; "
     "correct or remove it"},
    {"UpdaterOfStatistic",
     [](N& n) {
       n.layers["2"].kind = "BatchNormalization";
       n.layers["2"].params["mean"].updater = make_updater("Sgd");
     },
     "parameter \"2_mean\": updater: expected none or NoOp for a statistic, got Sgd; a statistic "
     "is moved by its gradient as it stands (statistic=False makes it an ordinary parameter)"},
    {"RegularizedStatistic",
     [](N& n) {
       n.layers["0"].params["b"].statistic = true;
       n.layers["0"].params["b"].l2 = 0.1;
     },
     "parameter \"0_b\": l2: expected 0 for a statistic, got 0.1"},
};

INSTANTIATE_TEST_SUITE_P(Configuration, Mistakes, testing::ValuesIn(mistakes),
                         [](const auto& test) { return test.param.name; });

TEST(Layers, MustBeTogether) {
  const std::vector<SlotName> apart{{"0_W", "0", "W"}, {"1_W", "1", "W"}, {"0_b", "0", "b"}};
  try {
    resolve(NetworkConfiguration{}, apart);
    ADD_FAILURE();
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(
        error.what(),
        "parameter \"0_b\": expected the parameters of layer \"0\" next to each other, got "
        "others between them; reorder them");
  }
}

}  // namespace
