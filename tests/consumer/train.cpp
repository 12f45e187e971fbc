// Takes three steps of a small network and prints the instruction set and the parameters, exactly.
#include <flatstep/flatstep.hpp>

#include <cstdio>
#include <exception>
#include <vector>

int main() try {
  std::vector<float> W{1.0F, -2.0F, 3.0F, -4.0F, 5.0F, -6.0F};
  std::vector<float> b{0.5F, -0.5F};
  const std::vector<float> W_gradient{3.0F, -4.0F, 0.25F, 12.0F, -0.125F, 1.0F};
  const std::vector<float> b_gradient{-1.0F, 2.0F};

  flatstep::NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater("Adam", {{"learning_rate", 0.125}});
  configuration.bias_updater = flatstep::make_updater("Sgd", {{"learning_rate", 0.25}});
  configuration.gradient_normalization =
      flatstep::GradientNormalization::ClipElementWiseAbsoluteValue;
  configuration.gradient_normalization_threshold = 1.5;

  flatstep::MultiLayerUpdater<float> updater(configuration, {{"0_W", W, {3, 2}}, {"0_b", b, {2}}});
  for (int step = 0; step < 3; ++step) {
    if (updater.step({W_gradient, b_gradient}).status != flatstep::StepStatus::done) return 1;
  }

  std::printf("%s\n", flatstep::active_target().name);
  for (const float x : W) std::printf("%a ", static_cast<double>(x));
  for (const float x : b) std::printf("%a ", static_cast<double>(x));
  std::printf("\n");
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
