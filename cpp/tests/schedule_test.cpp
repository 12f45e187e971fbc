// Schedules and learning-rate policies against their formulas, written out with the C library, and
// against rates that DL4J itself reported.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <numbers>
#include <stdexcept>
#include <string>
#include <vector>

#include <flatstep/learning_rate_policy.hpp>
#include <flatstep/schedule.hpp>

namespace {

using flatstep::LearningRatePolicy;
using flatstep::Schedule;
using flatstep::ScheduleType;
using Kind = LearningRatePolicy::Kind;

constexpr double relative_tolerance = 1e-12;

void expect_close(double actual, double expected, const std::string& where) {
  EXPECT_NEAR(actual, expected, relative_tolerance * std::fabs(expected)) << where;
}

/// `schedule` follows `expected` over iterations while the epoch is another number.
template <class Expected>
void expect_follows(const Schedule& schedule, Expected expected, std::int64_t until = 40) {
  for (std::int64_t i = 0; i < until; ++i) {
    expect_close(schedule.at(i, 1000 + i), expected(static_cast<double>(i)),
                 "iteration " + std::to_string(i));
  }
}

template <class Make>
void expect_invalid(Make make, const std::string& text) {
  try {
    make();
    ADD_FAILURE() << "expected an error: " << text;
  } catch (const std::invalid_argument& error) {
    EXPECT_EQ(text, error.what());
  }
}

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

TEST(Schedule, NumberIsFixedSchedule) {
  const Schedule number = 0.05;
  EXPECT_TRUE(number.is_constant());
  EXPECT_EQ(number, Schedule::fixed(0.05));
  EXPECT_EQ(number.at(0, 0), 0.05);
  EXPECT_EQ(number.at(123456, 789), 0.05);
}

TEST(Schedule, Exponential) {
  expect_follows(Schedule::exponential(0.05, 0.9),
                 [](double i) { return 0.05 * std::pow(0.9, i); });
}

TEST(Schedule, Inverse) {
  expect_follows(Schedule::inverse(0.05, 0.5, 0.75),
                 [](double i) { return 0.05 / std::pow(1 + 0.5 * i, 0.75); });
  expect_follows(Schedule::inverse(0.05, 0.5, -2.0),
                 [](double i) { return 0.05 * std::pow(1 + 0.5 * i, 2.0); });
}

TEST(Schedule, Step) {
  expect_follows(Schedule::step(0.05, 0.5, 3),
                 [](double i) { return 0.05 * std::pow(0.5, std::floor(i / 3)); });
  expect_follows(Schedule::step(0.05, 0.7, 2.5),
                 [](double i) { return 0.05 * std::pow(0.7, std::floor(i / 2.5)); });
}

TEST(Schedule, PolyReachesZeroAndStays) {
  expect_follows(Schedule::poly(0.05, 1.5, 20),
                 [](double i) { return i < 20 ? 0.05 * std::pow(1 - i / 20, 1.5) : 0.0; });
  EXPECT_EQ(Schedule::poly(0.05, 0.0, 20).at(20, 0), 0.0);
}

TEST(Schedule, Sigmoid) {
  expect_follows(Schedule::sigmoid(0.05, 0.9, 4),
                 [](double i) { return 0.05 / (1 + std::exp(-0.9 * (i - 4))); });
}

TEST(Schedule, MapTakesTheGreatestKeyNotAfter) {
  const Schedule map = Schedule::map({{0, 0.05}, {1, 0.04}, {2, 0.025}, {7, 0.005}});
  const std::vector<double> expected{0.05, 0.04, 0.025, 0.025, 0.025, 0.025, 0.025, 0.005, 0.005};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(map.at(static_cast<std::int64_t>(i), 0), expected[i]) << i;
  }
}

TEST(Schedule, CosineReachesItsFinalValue) {
  expect_follows(Schedule::cosine(0.05, 16, 0.01), [](double i) {
    return i < 16 ? 0.01 + 0.04 * (1 + std::cos(std::numbers::pi * i / 16)) / 2 : 0.01;
  });
  EXPECT_EQ(Schedule::cosine(0.05, 16).at(16, 0), 0.0);
}

TEST(Schedule, CycleAsDL4JReportsIt) {
  // L − a is odd: the iteration between the two slopes and the annealing has the exponent −1.
  const Schedule cycle = Schedule::cycle(0.005, 0.05, 10, 3, 0.1);
  const std::vector<double> expected{0.005, 0.02, 0.035, 0.05,   0.035,
                                     0.02,  0.05, 0.005, 0.0005, 5.000000000000001e-05,
                                     0.005, 0.02};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expect_close(cycle.at(static_cast<std::int64_t>(i), 0), expected[i], std::to_string(i));
  }
}

TEST(Schedule, RampCountsIterationsOverAnyBase) {
  expect_follows(Schedule::ramp(Schedule::step(0.05, 0.5, 3), 5), [](double i) {
    return 0.05 * std::pow(0.5, std::floor(i / 3)) * std::min(1.0, (i + 1) / 5);
  });
  const Schedule over_epochs = Schedule::ramp(Schedule::step(0.05, 0.5, 3, ScheduleType::epoch), 5);
  expect_close(over_epochs.at(0, 0), 0.01, "ramp");
  expect_close(over_epochs.at(1, 3), 0.01, "ramp over a lower base");
  expect_close(over_epochs.at(9, 3), 0.025, "base");
}

TEST(Schedule, LinearReachesItsEndExactly) {
  expect_follows(Schedule::linear(0.05, 0.01, 16),
                 [](double i) { return i < 16 ? 0.05 + (0.01 - 0.05) * i / 16 : 0.01; });
  EXPECT_EQ(Schedule::linear(0.0, 0.1, 3).at(3, 0), 0.1);
}

TEST(Schedule, CosineRestartsCountFromTheLastRestart) {
  const std::vector<int> since{0, 1, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 0};
  const std::vector<int> lengths{2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 16};
  const Schedule restarts = Schedule::cosine_restarts(0.05, 2, 2, 0.01);
  for (std::size_t i = 0; i < since.size(); ++i) {
    const double angle = std::numbers::pi * since[i] / lengths[i];
    expect_close(restarts.at(static_cast<std::int64_t>(i), 0),
                 0.01 + 0.04 * (1 + std::cos(angle)) / 2, "i = " + std::to_string(i));
  }
  constexpr auto late = std::numeric_limits<std::int64_t>::max() - 1;
  EXPECT_TRUE(std::isfinite(Schedule::cosine_restarts(0.05, 3, 7).at(late, 0)));
}

/// Values of PyTorch 2.13's OneCycleLR with max_lr 0.1, total_steps 6, pct_start 0.5.
TEST(Schedule, OneCycleAsPyTorchHasIt) {
  const std::vector<double> two{0.004, 0.052, 0.1, 0.0750001, 0.0250003, 4e-7};
  const Schedule cosine = Schedule::one_cycle(0.1, 6, 0.5);
  const Schedule momentum = Schedule::one_cycle_momentum(6, 0.85, 0.95, 0.5);
  const std::vector<double> momenta{0.95, 0.9, 0.85, 0.875, 0.925, 0.95};
  for (std::size_t i = 0; i < two.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    expect_close(cosine.at(at, 0), two[i], "rate at " + std::to_string(i));
    expect_close(momentum.at(at, 0), momenta[i], "momentum at " + std::to_string(i));
  }
  EXPECT_EQ(cosine.at(1000, 0), 0.1 / 25 / 1e4);
  const Schedule three = Schedule::one_cycle(1.0, 9, 1.0 / 3, flatstep::Anneal::linear, 4, 4, true);
  const std::vector<double> values{0.25,     0.625,   1.0,      0.625, 0.25,
                                   0.203125, 0.15625, 0.109375, 0.0625};
  for (std::size_t i = 0; i < values.size(); ++i) {
    expect_close(three.at(static_cast<std::int64_t>(i), 0), values[i], std::to_string(i));
  }
}

TEST(Schedule, WarmupStableDecayHasThreeParts) {
  const auto follows = [](flatstep::Anneal anneal, auto left) {
    expect_follows(Schedule::warmup_stable_decay(0.1, 4, 3, 5, 0.02, 0.01, anneal), [&](double i) {
      if (i < 4) return 0.02 + 0.08 * i / 4;
      return 0.01 + 0.09 * (i < 7 ? 1.0 : i < 12 ? left((i - 7) / 5) : 0.0);
    });
  };
  follows(flatstep::Anneal::linear, [](double x) { return 1 - x; });
  follows(flatstep::Anneal::sqrt, [](double x) { return 1 - std::sqrt(x); });
  follows(flatstep::Anneal::cosine,
          [](double x) { return (1 + std::cos(std::numbers::pi * x)) / 2; });
}

TEST(Schedule, TableKeepsItsLastValue) {
  const Schedule table = Schedule::table({0.1, 0.3, 0.2});
  EXPECT_EQ(table.at(1, 0), 0.3);
  EXPECT_EQ(table.at(2, 0), 0.2);
  EXPECT_EQ(table.at(1000, 0), 0.2);
}

TEST(Schedule, SequenceStartsEachAtItsOwnZero) {
  const Schedule cosine = Schedule::cosine(0.1, 6);
  const Schedule made =
      Schedule::sequence({{Schedule::linear(0.0, 0.1, 4), 4}, {0.2, 2}, {cosine, 1}});
  expect_follows(made, [&](double i) {
    return i < 4 ? 0.1 * i / 4 : i < 6 ? 0.2 : cosine.at(static_cast<std::int64_t>(i) - 6, 0);
  });
  const Schedule by_epoch = Schedule::sequence(
      {{0.2, 3}, {Schedule::step(0.1, 0.5, 2, ScheduleType::epoch), 1}}, ScheduleType::epoch);
  EXPECT_EQ(by_epoch.at(1000, 2), 0.2);
  EXPECT_EQ(by_epoch.at(1000, 4), 0.1);
  EXPECT_EQ(by_epoch.at(1000, 5), 0.05);
  EXPECT_EQ(made, Schedule::sequence({{Schedule::linear(0.0, 0.1, 4), 4}, {0.2, 2}, {cosine, 9}}));
  EXPECT_NE(made, Schedule::sequence({{Schedule::linear(0.0, 0.1, 4), 4}, {0.2, 3}, {cosine, 1}}));
}

TEST(Schedule, ProductMultipliesFromTheLeft) {
  const Schedule step = Schedule::step(0.05, 0.5, 3);
  expect_follows(0.5 * step * Schedule::inverse(1.0, 0.1, 1.0), [&](double i) {
    return 0.5 * step.at(static_cast<std::int64_t>(i), 0) / (1 + 0.1 * i);
  });
  EXPECT_EQ((Schedule(-2.0) * Schedule::linear(0.1, 0.3, 5)).given_values(),
            (std::vector<double>{-0.6, -0.2}));
  EXPECT_NE(0.5 * step, 0.25 * step);
  EXPECT_EQ((0.5 * step).hash(), (0.5 * Schedule::step(0.05, 0.5, 3)).hash());
}

TEST(Schedule, SchedulesOfOthersAreNotNestedWithoutEnd) {
  Schedule nested = 0.5;
  for (int k = 0; k < Schedule::max_compounds; ++k) nested = Schedule::ramp(nested, 1);
  const std::string text =
      ": expected at most 99 ramps, sequences and products in it, got 100; make it of fewer, or a "
      "table of its values";
  expect_invalid([&] { Schedule::ramp(nested, 1); }, "RampSchedule: base" + text);
  expect_invalid([&] { Schedule::sequence({{0.5, 1}, {nested, 1}}); },
                 "SequenceSchedule: pieces" + text);
  expect_invalid([&] { 0.5 * nested; }, "ProductSchedule: factors" + text);
}

TEST(Schedule, EpochTypeCountsEpochs) {
  const Schedule step = Schedule::step(0.05, 0.5, 3, ScheduleType::epoch);
  EXPECT_EQ(step.at(1000, 2), 0.05);
  EXPECT_EQ(step.at(0, 3), 0.025);
  EXPECT_EQ(Schedule::map({{0, 1.0}, {2, 3.0}}, ScheduleType::epoch).at(0, 2), 3.0);
  EXPECT_NE(step, Schedule::step(0.05, 0.5, 3));
}

TEST(Schedule, ComparesByValue) {
  EXPECT_EQ(Schedule::ramp(Schedule::step(0.05, 0.5, 3), 5),
            Schedule::ramp(Schedule::step(0.05, 0.5, 3), 5));
  EXPECT_NE(Schedule::ramp(Schedule::step(0.05, 0.5, 3), 5),
            Schedule::ramp(Schedule::step(0.05, 0.5, 4), 5));
  EXPECT_NE(Schedule::poly(0.05, 1, 10), Schedule::poly(0.05, 1, 11));
  EXPECT_NE(Schedule::exponential(0.05, 1), Schedule::fixed(0.05));
  EXPECT_FALSE(Schedule::exponential(0.05, 1).is_constant());
}

TEST(Schedule, LargeExponentsStayAccurate) {
  // The error of squaring grows with the exponent, to some exponent · 2^-53.
  const double expected = static_cast<double>(std::pow(0.9999L, 20000));
  EXPECT_NEAR(Schedule::exponential(1.0, 0.9999).at(20000, 0), expected, 1e-11 * expected);
}

TEST(Schedule, RefusesWhatTheFormulaCannotTake) {
  expect_invalid([] { Schedule::fixed(nan); },
                 "FixedSchedule: value: expected a finite number, got nan");
  expect_invalid([] { Schedule::exponential(0.1, -0.5); },
                 "ExponentialSchedule: gamma: expected a finite number >= 0, got -0.5");
  expect_invalid([] { Schedule::inverse(0.1, 1.0, infinity); },
                 "InverseSchedule: power: expected a finite number, got inf");
  expect_invalid([] { Schedule::step(0.1, 0.5, 0); },
                 "StepSchedule: step: expected a finite number > 0, got 0");
  expect_invalid([] { Schedule::poly(0.1, 1.0, 0); },
                 "PolySchedule: max_iter: expected an integer >= 1, got 0");
  expect_invalid([] { Schedule::sigmoid(0.1, nan, 1.0); },
                 "SigmoidSchedule: gamma: expected a finite number, got nan");
  expect_invalid([] { Schedule::map({{3, 0.1}}); },
                 "MapSchedule: values: expected key 0 and no smaller one, got smallest key 3; add "
                 "{0: value}, the value before the next key");
  expect_invalid([] { Schedule::map({{0, 0.1}, {2, nan}}); },
                 "MapSchedule: values[2]: expected a finite number, got nan");
  expect_invalid([] { Schedule::cycle(0.1, 0.2, 5, 4, 0.1); },
                 "CycleSchedule: annealing_length: expected at most cycle_length - 2 = 3, got 4");
  expect_invalid([] { Schedule::cosine(0.1, -1); },
                 "CosineSchedule: max_iter: expected an integer >= 1, got -1");
  expect_invalid([] { Schedule::ramp(0.1, 0); },
                 "RampSchedule: num_iter: expected an integer >= 1, got 0");
  expect_invalid([] { Schedule::linear(0.1, 0.0, 0); },
                 "LinearSchedule: steps: expected an integer >= 1, got 0");
  expect_invalid([] { Schedule::one_cycle(0.1, 10, -0.1); },
                 "OneCycleSchedule: pct_start: expected a number in [0, 1], got -0.1");
  expect_invalid([] { Schedule::one_cycle(0.1, 10, 0.3, flatstep::Anneal::sqrt); },
                 "OneCycleSchedule: anneal_strategy: expected one of \"cos\", \"linear\", got "
                 "\"sqrt\"");
  expect_invalid([] { Schedule::one_cycle_momentum(10, nan); },
                 "OneCycleMomentumSchedule: base_momentum: expected a finite number, got nan");
  expect_invalid([] { Schedule::warmup_stable_decay(0.1, 0, 0, 0); },
                 "WarmupStableDecaySchedule: decay_steps: expected an integer >= 1, got 0");
  expect_invalid([] { Schedule::table({}); },
                 "TableSchedule: values: expected at least one number, got none");
  expect_invalid([] { Schedule::sequence({}); },
                 "SequenceSchedule: pieces: expected at least one schedule, got none");
  expect_invalid([] { Schedule::sequence({{0.1, 0}, {0.2, 1}}); },
                 "SequenceSchedule: pieces[0]: length: expected an integer >= 1, got 0");
  expect_invalid([] { Schedule::product({}); },
                 "ProductSchedule: factors: expected at least one schedule, got none");
}

TEST(Schedule, TypeNames) {
  EXPECT_EQ(flatstep::parse_schedule_type("EPOCH"), ScheduleType::epoch);
  EXPECT_EQ(flatstep::to_string(ScheduleType::iteration), "ITERATION");
  expect_invalid([] { flatstep::parse_schedule_type("epoch"); },
                 "schedule_type: expected one of \"ITERATION\", \"EPOCH\", got \"epoch\"");
}

// --------------------------------------------------------------------------------------- policies

LearningRatePolicy policy(Kind kind) {
  return {.kind = kind, .decay_rate = 0.9, .power = 0.75, .steps = 4, .num_iterations = 20};
}

/// Rates of steps 0, 1, ... that DL4J 0.8.0 reported, starting from 0.05.
struct Reported {
  Kind kind;
  std::vector<double> rates;
};

class ReportedPolicy : public testing::TestWithParam<Reported> {};

TEST_P(ReportedPolicy, Compounds) {
  LearningRatePolicy p = policy(GetParam().kind);
  if (p.kind == Kind::Schedule) p.schedule = {{2, 0.02}, {5, 0.005}};
  double rate = 0.05;
  std::int64_t iteration = 0;
  for (const double expected : GetParam().rates) {
    rate = p.next(rate, iteration);
    expect_close(rate, expected, "iteration " + std::to_string(iteration));
    ++iteration;
  }
}

INSTANTIATE_TEST_SUITE_P(
    DL4J, ReportedPolicy,
    testing::Values(
        Reported{Kind::None, {0.05, 0.05, 0.05}},
        Reported{Kind::Exponential,
                 {0.05, 0.045000000000000005, 0.03645, 0.026572050000000007, 0.017433922005000005,
                  0.010294556604732455, 0.005470949456575621, 0.002616738165136805,
                  0.0011264199772469598, 0.00043639817840438616}},
        Reported{Kind::Inverse,
                 {0.05, 0.03089618120905312, 0.014273690648147494, 0.005350384423441445,
                  0.0017033998838778923, 0.00047429068601279566, 0.00011787171859775638}},
        Reported{
            Kind::Step,
            {0.05, 0.05, 0.05, 0.05, 0.045000000000000005, 0.04050000000000001, 0.03645000000000001,
             0.03280500000000001, 0.026572050000000007, 0.02152336050000001}},
        Reported{Kind::TorchStep,
                 {0.05, 0.05, 0.045000000000000005, 0.045000000000000005, 0.04050000000000001,
                  0.04050000000000001, 0.04050000000000001}},
        Reported{Kind::Poly,
                 {0.05, 0.04811303001154811, 0.04445745426474539, 0.039355803604890445,
                  0.033290956625137376, 0.02683009574326077, 0.02053268537563913}},
        Reported{Kind::Sigmoid,
                 {0.001329849678843293, 8.37450973280811e-05, 1.1879331236183299e-05,
                  3.4337266023011088e-06, 1.7168633011505544e-06, 1.2206031100281089e-06}},
        Reported{Kind::Schedule, {0.05, 0.05, 0.02, 0.02, 0.02, 0.005, 0.005}}),
    [](const auto& test) { return std::string(flatstep::to_string(test.param.kind)); });

TEST(LearningRatePolicy, PolyStaysAtZeroFromItsLastIteration) {
  const LearningRatePolicy poly = policy(Kind::Poly);
  EXPECT_GT(poly.next(0.05, 19), 0.0);
  EXPECT_EQ(poly.next(0.05, 20), 0.0);
  EXPECT_EQ(poly.next(0.05, 21), 0.0);
}

TEST(LearningRatePolicy, TorchStepDecaysAtDivisorsOfSteps) {
  LearningRatePolicy torch_step = policy(Kind::TorchStep);
  torch_step.steps = 12;
  std::vector<std::int64_t> decays;
  for (std::int64_t i = 0; i < 30; ++i) {
    if (torch_step.next(1.0, i) != 1.0) decays.push_back(i);
  }
  EXPECT_EQ(decays, (std::vector<std::int64_t>{2, 3, 4, 6, 12}));
}

TEST(LearningRatePolicy, ScoreLeavesTheRateToWhoeverKnowsTheScore) {
  LearningRatePolicy score = policy(Kind::Score);
  score.decay_rate = 0.5;
  EXPECT_EQ(score.next(0.25, 7), 0.25);
  EXPECT_EQ(score.after_score(2.0), 2.0 * (0.5 + static_cast<double>(1e-5F)));
  score.decay_rate = -1;
  EXPECT_THROW(flatstep::validate(score), std::invalid_argument);
}

TEST(LearningRatePolicy, RefusesWhatTheFormulaCannotTake) {
  const auto expect = [](LearningRatePolicy p, const std::string& text) {
    expect_invalid([&] { flatstep::validate(p); }, text);
  };
  expect({.kind = Kind::Exponential, .decay_rate = -1},
         "LearningRatePolicy \"Exponential\": decay_rate: expected a finite number >= 0, got -1");
  expect({.kind = Kind::Inverse, .decay_rate = 1, .power = nan},
         "LearningRatePolicy \"Inverse\": power: expected a finite number, got nan");
  expect({.kind = Kind::Step, .decay_rate = 1},
         "LearningRatePolicy \"Step\": steps: expected a finite number > 0, got 0");
  expect({.kind = Kind::Poly, .power = 1},
         "LearningRatePolicy \"Poly\": num_iterations: expected a finite number > 0, got 0");
  expect({.kind = Kind::Sigmoid, .decay_rate = infinity},
         "LearningRatePolicy \"Sigmoid\": decay_rate: expected a finite number, got inf");
  expect({.kind = Kind::Schedule},
         "LearningRatePolicy \"Schedule\": schedule: expected at least one iteration, got none; "
         "give {iteration: learning rate}");
  expect({.kind = Kind::Schedule, .schedule = {{-1, 0.1}}},
         "LearningRatePolicy \"Schedule\": schedule: expected iterations >= 0 as keys, got -1");
  expect({.kind = Kind::Schedule, .schedule = {{4, -0.1}}},
         "LearningRatePolicy \"Schedule\": schedule[4]: expected a finite number >= 0, got -0.1");
  flatstep::validate(LearningRatePolicy{});
}

TEST(LearningRatePolicy, Names) {
  for (const auto name : flatstep::learning_rate_policy_names) {
    EXPECT_EQ(flatstep::to_string(flatstep::parse_learning_rate_policy(name)), name);
  }
  EXPECT_THROW(flatstep::parse_learning_rate_policy("Cosine"), std::invalid_argument);
}

TEST(Text, NumbersReadAsTheyWereWritten) {
  EXPECT_EQ(flatstep::text::number(0.1), "0.1");
  EXPECT_EQ(flatstep::text::number(-1), "-1");
  EXPECT_EQ(flatstep::text::number(1e-8), "1e-08");
  EXPECT_EQ(flatstep::text::number(1.0 / 3), "0.33333333333333331");
  EXPECT_EQ(flatstep::text::number(123456789), "123456789");
}

}  // namespace
