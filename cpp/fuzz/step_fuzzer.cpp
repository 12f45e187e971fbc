// libFuzzer's entry: build/fuzz/cpp/fuzz/step_fuzzer CORPUS -max_total_time=60
#include "step_case.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  bool legal = false;
  const std::string failure = flatstep::fuzz::check_step_case({data, size}, &legal);
  if (!failure.empty()) {
    std::fprintf(stderr, "%s\n", failure.c_str());
    std::abort();
  }
  return legal ? 0 : -1;  // -1: not worth a place in the corpus
}
