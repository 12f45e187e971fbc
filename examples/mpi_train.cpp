// Many processes, one updater, in C++: each has a part of Adam's state, and they meet in an exchange.
//
//   mpicxx -std=c++20 -O2 -ffp-contract=off -pthread -I cpp/include examples/mpi_train.cpp -o mpi_train
//   mpiexec -n 2 ./mpi_train
//
// A linear model is fitted to points of which every process has its own. A step is: gradients of the
// own points; their mean over all (MPI_Allreduce; a reduce-scatter would do, as each process reads its
// pieces alone); the step of the own pieces, with the norm of the whole gradient, of which the exchange
// tells; everybody's pieces to all. An updater that has everything takes the same steps on the same
// gradients beside it: the bits are the same.
#include <mpi.h>

#include <flatstep/flatstep.hpp>

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <random>
#include <span>
#include <vector>

namespace {

constexpr std::size_t inputs = 40'000;  // more than one chunk, so that there is something to share
constexpr int steps = 30;

/// The mean of all processes' numbers.
void average(std::vector<float>& numbers, int processes) {
  MPI_Allreduce(MPI_IN_PLACE, numbers.data(), static_cast<int>(numbers.size()), MPI_FLOAT, MPI_SUM,
                MPI_COMM_WORLD);
  for (float& x : numbers) x *= 1.0F / static_cast<float>(processes);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  int processes = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &processes);

  flatstep::NetworkConfiguration configuration;
  configuration.updater = flatstep::make_updater("Adam", {{"learning_rate", 0.01}});
  configuration.gradient_normalization = flatstep::GradientNormalization::ClipL2Global;

  // Every process has all parameters, and says which part it takes.
  std::vector<float> weights(inputs, 0.0F);
  std::vector<float> bias(1, 0.0F);
  flatstep::Shared shared;
  shared.share = {static_cast<std::size_t>(rank), static_cast<std::size_t>(processes)};
  if (processes > 1) {
    // Each number becomes its sum over all processes. False, or an exception, abandons the step.
    shared.exchange = [](std::span<double> sums) {
      return MPI_Allreduce(MPI_IN_PLACE, sums.data(), static_cast<int>(sums.size()), MPI_DOUBLE,
                           MPI_SUM, MPI_COMM_WORLD) == MPI_SUCCESS;
    };
  }
  flatstep::LayerUpdater<float> updater(configuration, {{"W", weights}, {"b", bias}}, false, {},
                                        shared);

  std::vector<float> weights_of_one(weights);
  std::vector<float> bias_of_one(bias);
  flatstep::LayerUpdater<float> one(configuration, {{"W", weights_of_one}, {"b", bias_of_one}});

  // Everybody's pieces, for the way back; this process's own are updater.pieces().
  const auto pieces = flatstep::share_out(updater.layout(), updater.settings(),
                                          static_cast<std::size_t>(processes));

  std::mt19937 random(static_cast<unsigned>(rank) + 1);
  std::normal_distribution<float> normal;
  std::vector<float> point(inputs);
  for (float& x : point) x = normal(random) / std::sqrt(static_cast<float>(inputs));
  const float wanted = 1.0F + static_cast<float>(rank);

  float first_loss = 0;
  float loss = 0;
  bool failed = false;
  for (int step = 0; step < steps; ++step) {
    float found = bias[0];
    for (std::size_t i = 0; i < inputs; ++i) found += weights[i] * point[i];
    std::vector<float> of_weights(inputs);
    std::vector<float> of_bias(1, found - wanted);
    for (std::size_t i = 0; i < inputs; ++i) of_weights[i] = (found - wanted) * point[i];
    loss = (found - wanted) * (found - wanted) / 2;
    MPI_Allreduce(MPI_IN_PLACE, &loss, 1, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    if (step == 0) first_loss = loss;

    average(of_weights, processes);
    average(of_bias, processes);

    // The gradients of the own pieces: a pointer each.
    std::vector<const float*> gradients = {of_weights.data(), of_bias.data()};
    const auto own = updater.pieces();
    for (std::size_t i = 0; i < own.size(); ++i) gradients[i] += own[i].begin;
    failed |=
        updater.step(std::span<const float* const>(gradients)).status != flatstep::StepStatus::done;

    std::vector<float>* const parameters[] = {&weights, &bias};
    for (int other = 0; processes > 1 && other < processes; ++other) {
      for (std::size_t i = 0; i < 2; ++i) {
        const flatstep::Piece& piece = pieces[static_cast<std::size_t>(other)][i];
        MPI_Bcast(parameters[i]->data() + piece.begin, static_cast<int>(piece.size), MPI_FLOAT,
                  other, MPI_COMM_WORLD);
      }
    }

    failed |= one.step({of_weights, of_bias}).status != flatstep::StepStatus::done;
  }

  const bool same =
      std::memcmp(weights.data(), weights_of_one.data(), inputs * sizeof(float)) == 0 &&
      std::memcmp(bias.data(), bias_of_one.data(), sizeof(float)) == 0;
  std::printf("rank %d of %d: %zu of %zu state elements, loss %.3f -> %.3f, %s\n", rank, processes,
              updater.state_view().size(), one.state_view().size(), static_cast<double>(first_loss),
              static_cast<double>(loss), same ? "the bits of one" : "OTHER BITS");
  MPI_Finalize();
  return same && !failed ? 0 : 1;
}
