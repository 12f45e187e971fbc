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

/// What libFuzzer has found, of which all has been mended.
TEST_F(StepCases, ThatWereFoundGiveTheSameBits) {
  // Clang left a subnormal second moment of Yogi's as it was, on one target.
  constexpr std::uint8_t yogi[] = {0x00, 0x00, 0xff, 0xff, 0xff, 0xec, 0xec, 0x77, 0x65,
                                   0x69, 0x67, 0x68, 0x74, 0x5f, 0x64, 0x65, 0x63, 0x61,
                                   0x79, 0xec, 0x30, 0x2f, 0x01, 0x3a, 0x73, 0x4a, 0x3a};
  EXPECT_EQ(flatstep::fuzz::check_step_case(yogi), "");
}

}  // namespace
