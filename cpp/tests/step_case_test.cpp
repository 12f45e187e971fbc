// The cases of the step fuzzer (cpp/fuzz) for random bytes, where there is no libFuzzer to choose
// them: more by FLATSTEP_FUZZ=number.
#include "../fuzz/step_case.hpp"
#include "random_numbers.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace {

struct StepCases : testing::Test {
  ~StepCases() override {
    flatstep::set_target(before_);
    flatstep::ThreadPool::instance().set_num_threads(0);
  }
  const char* before_ = flatstep::active_target().name;
};

TEST_F(StepCases, GiveTheSameBitsEverywhereAndThoseOfTheOracle) {
  const char* more = std::getenv("FLATSTEP_FUZZ");
  const int cases = more == nullptr || *more == '\0' ? 300 : std::stoi(more);
  flatstep::tests::Random random(1);
  int legal_cases = 0;
  for (int i = 0; i < cases; ++i) {
    std::array<std::uint8_t, 80> bytes{};
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.next());
    bool legal = false;
    ASSERT_EQ(flatstep::fuzz::check_step_case(bytes, &legal), "") << "case " << i;
    legal_cases += legal;
  }
  EXPECT_GT(legal_cases, cases / 4);
}

}  // namespace
