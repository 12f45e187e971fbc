// Microbenchmarks of the kernels, per instruction set, beside the loops that only move the bytes.
//
//   flatstep_microbench --benchmark_filter='Adam/float'
//
// Names are kernel/type/instruction set/elements. 16K elements lie in a core's second cache, 16M in
// memory. One thread. The bytes are those that a kernel must move, so that GB/s can be held against
// the limit's of the same number of arrays and elements.

#include <benchmark/benchmark.h>
#include <flatstep/configuration/registry.hpp>
#include <flatstep/kernels/dispatch.hpp>
#include <flatstep/simd/float_mode.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "limit_loops.hpp"

namespace {

using benchmark::State;

constexpr std::size_t sizes[] = {std::size_t{1} << 14, std::size_t{1} << 24};

std::string size_name(std::size_t size) {
  return size % (std::size_t{1} << 20) == 0 ? std::to_string(size >> 20) + "M"
                                            : std::to_string(size >> 10) + "K";
}

template <class T>
constexpr const char* type_name = sizeof(T) == 4 ? "float" : "double";

void count_bytes(State& state, std::size_t size, std::size_t words, std::size_t word_size) {
  state.SetBytesProcessed(static_cast<std::int64_t>(size * words * word_size) *
                          static_cast<std::int64_t>(state.iterations()));
}

/// Gradient, parameters and three state arrays: positive numbers of ordinary size.
template <class T>
std::vector<std::vector<T>> make_arrays(std::size_t size) {
  std::vector<std::vector<T>> arrays(2 + flatstep::max_state_arrays, std::vector<T>(size));
  std::uint32_t random = 1;
  for (std::vector<T>& array : arrays) {
    for (T& x : array) {
      random = random * 1664525u + 1013904223u;
      x = static_cast<T>(random >> 8) * static_cast<T>(0x1p-24) + static_cast<T>(0.001);
    }
  }
  return arrays;
}

/// An updater's fused pass: reads the gradient, reads and writes parameters and state.
template <class T>
void run_pass(State& state, const flatstep::Target& target, const flatstep::UpdaterInfo& updater,
              unsigned flags, std::size_t size) {
  const flatstep::FlushSubnormals flush;
  auto arrays = make_arrays<T>(size);
  std::vector<T> update((flags & flatstep::pass_applies) != 0 ? 0 : size);

  std::array<double, flatstep::max_hyper_parameters> values{};
  std::ranges::transform(updater.hyper_parameters, values.begin(),
                         [](const auto& parameter) { return parameter.default_value; });
  std::array<double, flatstep::max_constants> constants{};
  updater.constants(values.data(),
                    {.iteration = 10, .rules = flatstep::rules_of(flatstep::Semantics::dl4j_1_0)},
                    constants.data());

  flatstep::PassConstants<T> pass_constants{};
  pass_constants.clamp = T{1};
  pass_constants.post = T{1};
  std::ranges::transform(constants, pass_constants.updater,
                         [](double constant) { return static_cast<T>(constant); });
  flatstep::Segment<T> segment{};
  segment.gradient = arrays[0].data();
  segment.parameter = arrays[1].data();
  segment.update = update.data();
  for (std::size_t i = 0; i < flatstep::max_state_arrays; ++i) {
    segment.state[i] = arrays[2 + i].data();
  }
  segment.size = size;
  segment.pre[0] = T{0.5};
  segment.pre[1] = T{1};

  const auto pass =
      target.kernels<T>().updaters[static_cast<std::size_t>(updater.index)].passes[flags];
  for (auto _ : state) {
    pass(&segment, 1, pass_constants);
    benchmark::ClobberMemory();
  }
  const std::size_t parameters = (flags & flatstep::pass_applies) != 0 ? 2 : 1;
  count_bytes(state, size, 1 + parameters + 2 * updater.state.size(), sizeof(T));
}

template <class T>
void run_sum_of_squares(State& state, const flatstep::Target& target, std::size_t size) {
  const flatstep::FlushSubnormals flush;
  const auto arrays = make_arrays<T>(size);
  const auto sum_of_squares = target.kernels<T>().sum_of_squares;
  for (auto _ : state) {
    for (std::size_t at = 0; at < size; at += flatstep::chunk_size) {
      benchmark::DoNotOptimize(
          sum_of_squares(arrays[0].data() + at, std::min(flatstep::chunk_size, size - at)));
    }
  }
  count_bytes(state, size, 1, sizeof(T));
}

template <class T>
void run_all_finite(State& state, const flatstep::Target& target, std::size_t size) {
  const auto arrays = make_arrays<T>(size);
  const auto all_finite = target.kernels<T>().all_finite;
  for (auto _ : state) benchmark::DoNotOptimize(all_finite(arrays[0].data(), size));
  count_bytes(state, size, 1, sizeof(T));
}

template <class T>
void run_accumulate(State& state, const flatstep::Target& target, std::size_t size) {
  auto arrays = make_arrays<T>(size);
  const auto accumulate = target.kernels<T>().accumulate;
  for (auto _ : state) {
    accumulate(arrays[1].data(), arrays[0].data(), size);
    benchmark::ClobberMemory();
  }
  count_bytes(state, size, 3, sizeof(T));
}

template <class T>
void register_kernels(const flatstep::Target& target) {
  const auto add = [&](const std::string& kernel, std::size_t size, auto run) {
    const std::string name =
        kernel + "/" + type_name<T> + "/" + target.name + "/" + size_name(size);
    benchmark::RegisterBenchmark(name.c_str(), run);
  };
  for (const std::size_t size : sizes) {
    add("sum of squares", size,
        [&target, size](State& state) { run_sum_of_squares<T>(state, target, size); });
    add("all_finite", size,
        [&target, size](State& state) { run_all_finite<T>(state, target, size); });
    add("accumulate", size,
        [&target, size](State& state) { run_accumulate<T>(state, target, size); });
    // What the normalised gradient costs by itself: NoOp's pass, which writes it as the update.
    const flatstep::UpdaterInfo& no_op = *flatstep::find_updater("NoOp");
    add("scale", size,
        [&target, &no_op, size](State& state) { run_pass<T>(state, target, no_op, 0, size); });
    add("clip", size, [&target, &no_op, size](State& state) {
      run_pass<T>(state, target, no_op, flatstep::pass_clamps, size);
    });
    for (const flatstep::UpdaterInfo& updater : flatstep::updater_registry()) {
      add(std::string(updater.name), size, [&target, &updater, size](State& state) {
        run_pass<T>(state, target, updater, flatstep::pass_applies, size);
      });
    }
  }
}

// The limits: floats moved as words of eight bytes.

void run_touch(State& state, std::size_t size, std::size_t targets) {
  using flatstep_bench::Word;
  const std::size_t words = size * sizeof(float) / sizeof(Word);
  std::vector<std::vector<Word>> arrays(1 + targets, std::vector<Word>(words, 1));
  std::array<Word*, 4> pointers{};
  for (std::size_t i = 0; i < targets; ++i) pointers[i] = arrays[1 + i].data();
  for (auto _ : state) {
    if (targets == 0) {
      benchmark::DoNotOptimize(flatstep_bench::read(words, arrays[0].data()));
    } else {
      flatstep_bench::touch(words, arrays[0].data(), pointers.data(), targets);
      benchmark::ClobberMemory();
    }
  }
  count_bytes(state, size, 1 + 2 * targets, sizeof(float));
}

void run_roots_and_divisions(State& state, std::size_t size) {
  auto arrays = make_arrays<float>(size);
  for (auto _ : state) {
    flatstep_bench::roots_and_divisions(size, arrays[1].data(), arrays[0].data(), arrays[2].data(),
                                        arrays[3].data());
    benchmark::ClobberMemory();
  }
  count_bytes(state, size, 7, sizeof(float));
}

void register_limits() {
  for (const std::size_t size : sizes) {
    for (std::size_t targets = 0; targets <= 4; ++targets) {
      const std::string bytes = std::to_string(4 * (1 + 2 * targets));
      const std::string name = "limit: " + bytes + " bytes a parameter/" + size_name(size);
      benchmark::RegisterBenchmark(
          name.c_str(), [size, targets](State& state) { run_touch(state, size, targets); });
    }
    const std::string name = "limit: Adam's bytes, roots and divisions/" + size_name(size);
    benchmark::RegisterBenchmark(name.c_str(),
                                 [size](State& state) { run_roots_and_divisions(state, size); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  register_limits();
  for (const flatstep::Target& target : flatstep::targets()) {
    register_kernels<float>(target);
    register_kernels<double>(target);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
