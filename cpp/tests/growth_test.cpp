// How the time to make an updater, and to change its rates, grows with the number of slots.
#include <flatstep/flatstep.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace {

using flatstep::LayerConfiguration;
using flatstep::make_updater;
using flatstep::NetworkConfiguration;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double allowance = 20;
#elif defined(NDEBUG)
constexpr double allowance = 1;
#else
constexpr double allowance = 10;
#endif

/// Of processor time: what else the machine does is no growth.
double seconds(const std::function<void()>& work) {
  const std::clock_t begin = std::clock();
  work();
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

/// As many layers, of one parameter each, with settings of their own.
NetworkConfiguration network_of(std::size_t layers) {
  NetworkConfiguration configuration;
  configuration.semantics = flatstep::Semantics::dl4j_0_8;
  configuration.updater = make_updater("Nesterovs");
  for (std::size_t i = 0; i < layers; ++i) {
    const double x = 1.0 + static_cast<double>(i);
    LayerConfiguration& layer = configuration.layers[std::to_string(i)];
    flatstep::ParamConfiguration& param = layer.params["W"];
    param.l2 = x / 1024;
    param.momentum_schedule = {{static_cast<std::int64_t>(i), 0.5}};
    param.updater =
        i % 2 == 0
            ? make_updater("Nesterovs", {{"learning_rate", x}})
            : make_updater("Nesterovs", {{"learning_rate", flatstep::Schedule::step(1.0, 0.5, x)}});
  }
  return configuration;
}

struct Times {
  double construction;
  double rates;
};

Times times_of(std::size_t layers) {
  const NetworkConfiguration configuration = network_of(layers);
  std::vector<float> p(layers);
  std::vector<flatstep::Slot<float>> slots;
  for (std::size_t i = 0; i < layers; ++i) {
    slots.push_back({std::to_string(i) + "_W", std::span<float>(p).subspan(i, 1)});
  }
  std::optional<flatstep::MultiLayerUpdater<float>> updater;
  const double construction = seconds([&] { updater.emplace(configuration, std::move(slots)); });
  std::vector<flatstep::RateState> rates = updater->rates();
  for (std::size_t i = 0; i < layers; ++i) rates[i].learning_rate = 1.0 + static_cast<double>(i);
  return {construction, seconds([&] { updater->set_rates(std::move(rates)); })};
}

TEST(Growth, OfConstructionAndRatesIsNearlyLinear) {
  Times least_few{1e9, 1e9};
  Times least_many{1e9, 1e9};
  for (int i = 0; i < 3; ++i) {
    const Times few = times_of(25'000);
    const Times many = times_of(100'000);
    least_few = {std::min(least_few.construction, few.construction),
                 std::min(least_few.rates, few.rates)};
    least_many = {std::min(least_many.construction, many.construction),
                  std::min(least_many.rates, many.rates)};
  }
  RecordProperty("construction_ms", static_cast<int>(1000 * least_many.construction));
  RecordProperty("rates_ms", static_cast<int>(1000 * least_many.rates));
  EXPECT_LT(least_many.construction, 3 * allowance);
  EXPECT_LT(least_many.rates, 3 * allowance);
  EXPECT_LT(least_many.construction / least_few.construction, 8);  // quadratic: 16
  EXPECT_LT(least_many.rates / least_few.rates, 8);
}

}  // namespace
