// Numbers in fewer bits, and back: every kernel of storage on every instruction set of this machine,
// held to what storage.hpp says of it, one number at a time and in double.
#include <flatstep/flatstep.hpp>

#include "random_numbers.hpp"
#include "scalar_elements.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>
#include <ostream>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using flatstep::blocks_of;
using flatstep::code_block;
using flatstep::Dither;
using flatstep::ElementType;
using flatstep::FlushSubnormals;
using flatstep::StateCode;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }
float of_bits(std::uint32_t x) { return std::bit_cast<float>(x); }

/// work(kernels) on each instruction set, or on each with fused multiply-add.
template <class Work>
void on_every_target(Work&& work, bool fused = false) {
  for (const flatstep::Target& target : flatstep::targets()) {
    if (fused && std::string_view(target.name) == "sse2") continue;
    SCOPED_TRACE(target.name);
    work(target.kernels<float>());
  }
}

// ---- split and join ----------------------------------------------------------------------------

/// All floats with these upper halves: their halves, and they themselves back. False where not.
bool splits_and_joins(const flatstep::StorageKernels<float>& kernels, std::uint32_t first,
                      std::uint32_t last, std::uint32_t step) {
  constexpr std::size_t count = 0x10000;
  std::vector<float> from(count), back(count);
  std::vector<std::uint16_t> upper(count), lower(count), expected_upper(count), low_halves(count);
  std::iota(low_halves.begin(), low_halves.end(), std::uint16_t{0});
  for (std::uint32_t high = first; high <= last; high += step) {
    for (std::size_t i = 0; i < count; ++i) from[i] = of_bits(high << 16 | low_halves[i]);
    // Round half up: what ends in 0x8000 or more goes to the next one.
    const auto half = expected_upper.begin() + count / 2;
    std::fill(expected_upper.begin(), half, static_cast<std::uint16_t>(high));
    std::fill(half, expected_upper.end(), static_cast<std::uint16_t>(high + 1));
    const FlushSubnormals flush;
    kernels.split(from.data(), upper.data(), lower.data(), count);
    kernels.join(upper.data(), lower.data(), back.data(), count);
    if (upper != expected_upper || lower != low_halves) return false;
    if (std::memcmp(from.data(), back.data(), count * sizeof(float)) != 0) return false;
  }
  return true;
}

TEST(Split, EveryFloatComesBackOutOfItsHalves) {
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  constexpr std::uint32_t step = 1;  // all 2^32
#else
  constexpr std::uint32_t step = 15;  // slow
#endif
  EXPECT_TRUE(splits_and_joins(flatstep::targets()[0].kernels<float>().storage, 0, 0xffff, step));
}

TEST(Split, OnEveryTargetAndWithATail) {
  on_every_target([](const auto& kernels) {
    EXPECT_TRUE(splits_and_joins(kernels.storage, 0, 0xffff, 1285));  // 51 of them
    EXPECT_TRUE(splits_and_joins(kernels.storage, 0xffff, 0xffff, 1));
    for (std::size_t size = 0; size <= 70; ++size) {
      std::vector<float> from(size), back(size + 1, 5.0F);
      std::vector<std::uint16_t> upper(size + 1, 7), lower(size + 1, 7);
      for (std::size_t i = 0; i < size; ++i) {
        from[i] = of_bits(0x9e3779b9u * static_cast<std::uint32_t>(i + size));
      }
      kernels.storage.split(from.data(), upper.data(), lower.data(), size);
      kernels.storage.join(upper.data(), lower.data(), back.data(), size);
      EXPECT_TRUE(std::ranges::equal(from, std::span(back).first(size), {}, bits, bits)) << size;
      EXPECT_EQ(std::tuple(upper[size], lower[size], back[size]), std::tuple(7, 7, 5.0F)) << size;
    }
  });
}

// ---- bfloat16 and float16 ----------------------------------------------------------------------

TEST(Elements, EveryOneIsWidenedExactly) {
  constexpr std::size_t count = 0x10000;
  std::vector<std::uint16_t> codes(count);
  std::iota(codes.begin(), codes.end(), std::uint16_t{0});
  on_every_target([&](const auto& kernels) {
    for (const ElementType type : {ElementType::bfloat16, ElementType::float16}) {
      std::vector<float> numbers(count);
      {
        const FlushSubnormals flush;
        kernels.elements.widen(type, codes.data(), numbers.data(), count);
      }
      for (std::size_t i = 0; i < count; ++i) {
        const float want = type == ElementType::bfloat16 ? flatstep::tests::of_bfloat16(codes[i])
                                                         : flatstep::tests::of_float16(codes[i]);
        ASSERT_EQ(bits(numbers[i]), bits(want)) << std::hex << codes[i];
      }
    }
  });
}

/// Every exponent and sign with mantissas around each place at which one may be cut, and others.
std::vector<float> numbers_to_round() {
  flatstep::tests::Random random(3);
  std::vector<std::uint32_t> mantissas;
  for (int cut = 1; cut <= 23; ++cut) {
    const std::uint32_t one = 1u << cut;
    const std::uint32_t most = (1u << (23 - cut)) - 1;
    for (const std::uint32_t kept :
         {0u, 1u, 2u, most - 1, most, static_cast<std::uint32_t>(random.next())}) {
      for (const std::uint32_t rest : {0u, 1u, one / 2 - 1, one / 2, one / 2 + 1, one - 1}) {
        mantissas.push_back(((kept & most) << cut) + rest);
      }
    }
  }
  std::ranges::sort(mantissas);
  const auto repeated = std::ranges::unique(mantissas);
  mantissas.erase(repeated.begin(), repeated.end());
  std::vector<float> numbers;
  for (std::uint32_t head = 0; head < 512; ++head) {
    for (const std::uint32_t mantissa : mantissas) {
      numbers.push_back(of_bits(head << 23 | (mantissa & 0x7fffff)));
    }
  }
  for (int i = 0; i < 200000; ++i) {
    numbers.push_back(of_bits(static_cast<std::uint32_t>(random.next())));
  }
  for (const std::uint32_t nan : {0x7fffffffu, 0xffffffffu, 0x7f800001u, 0xff800001u, 0x7fc00000u,
                                  0x7fbfffffu, 0x7f80ffffu, 0xff80ffffu}) {
    numbers.push_back(of_bits(nan));
  }
  return numbers;
}

TEST(Elements, AreTheNearestAndOfTwoTheEvenOne) {
  const std::vector<float> numbers = numbers_to_round();
  std::vector<std::uint16_t> found(numbers.size());
  for (const ElementType type : {ElementType::bfloat16, ElementType::float16}) {
    const bool is_bfloat = type == ElementType::bfloat16;
    std::vector<std::uint16_t> wanted;
    for (const float x : numbers) {
      wanted.push_back(is_bfloat ? flatstep::tests::to_bfloat16(x)
                                 : flatstep::tests::to_float16(x));
    }
    on_every_target([&](const auto& kernels) {
      {
        const FlushSubnormals flush;
        kernels.elements.narrow(type, numbers.data(), found.data(), numbers.size());
      }
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        if (std::isnan(numbers[i])) {
          const float back = is_bfloat ? flatstep::tests::of_bfloat16(found[i])
                                       : flatstep::tests::of_float16(found[i]);
          ASSERT_TRUE(std::isnan(back)) << std::hex << bits(numbers[i]) << " → " << found[i];
        } else {
          ASSERT_EQ(found[i], wanted[i]) << std::hex << bits(numbers[i]);
        }
      }
    });
  }
}

TEST(Elements, HaveTheSumsAndTheLooksOfTheirNumbers) {
  flatstep::tests::Random random(5);
  on_every_target([&](const auto& kernels) {
    for (const ElementType type : {ElementType::bfloat16, ElementType::float16}) {
      for (const std::size_t size :
           {std::size_t{0}, std::size_t{1}, std::size_t{511}, std::size_t{512}, std::size_t{513},
            std::size_t{1300}, flatstep::chunk_size}) {
        std::vector<std::uint16_t> codes(size);
        std::vector<float> numbers(size);
        for (auto& code : codes)
          code = static_cast<std::uint16_t>(random.next() & 0xbbff);  // finite
        const FlushSubnormals flush;
        kernels.elements.widen(type, codes.data(), numbers.data(), size);
        const flatstep::ScaledSum sum = kernels.elements.sum_of_squares(type, codes.data(), size);
        const flatstep::ScaledSum same = kernels.sum_of_squares(numbers.data(), size);
        EXPECT_EQ(std::bit_cast<std::uint64_t>(sum.sum), std::bit_cast<std::uint64_t>(same.sum));
        EXPECT_EQ(sum.exponent, same.exponent);
        EXPECT_TRUE(kernels.elements.all_finite(type, codes.data(), size)) << size;
        for (const std::uint16_t code : {std::uint16_t{0x7f80}, std::uint16_t{0xffff}}) {
          if (size == 0 || (type == ElementType::float16 && code == 0x7f80)) continue;
          const std::size_t place = random.next() % size;
          const std::uint16_t before = std::exchange(codes[place], code);
          EXPECT_FALSE(kernels.elements.all_finite(type, codes.data(), size)) << place;
          codes[place] = before;
        }
      }
    }
  });
}

TEST(Elements, OfFloatAreThoseOfDoubleWidenedAndNarrowed) {
  for (const flatstep::Target& target : flatstep::targets()) {
    const auto& kernels = target.kernels<double>().elements;
    const std::vector<float> from = numbers_to_round();
    std::vector<double> wide(from.size());
    std::vector<float> back(from.size());
    const FlushSubnormals flush;
    kernels.widen(ElementType::float32, from.data(), wide.data(), from.size());
    kernels.narrow(ElementType::float32, wide.data(), back.data(), from.size());
    for (std::size_t i = 0; i < from.size(); ++i) {
      if (std::isnan(from[i])) {
        ASSERT_TRUE(std::isnan(wide[i]) && std::isnan(back[i]));
      } else {
        const bool vanishes = (bits(from[i]) & 0x7f800000) == 0;  // subnormal
        ASSERT_EQ(bits(back[i]), vanishes ? bits(from[i]) & 0x80000000 : bits(from[i]))
            << target.name << std::hex << ' ' << bits(from[i]);
      }
    }
  }
}

// ---- codes of state ----------------------------------------------------------------------------

struct Code {
  StateCode code;
  const char* name;
  int mantissa_bits;
  bool is_signed;
  bool has_scales = true;

  std::size_t bytes() const { return flatstep::bytes_of(code); }
  std::uint32_t count() const { return 1u << (8 * bytes()); }

  /// What a code stands for, in a block whose scale is 1.
  double number(std::uint32_t c) const {
    if (!has_scales) return static_cast<double>(of_bits(c << 16));
    if (is_signed) {
      const double magnitude = power(static_cast<int>(c & 0x7f), 15) - 0x1p-15;
      return (c & 0x80) != 0 ? -magnitude : magnitude;
    }
    const auto magnitude = static_cast<int>(c);
    return magnitude >> mantissa_bits == 0 ? 0.0 : power(magnitude, 31);
  }
  /// What the largest code stands for.
  double top() const { return number(is_signed ? 0x7f : count() - 1); }

 private:
  /// 2^(exponent − bias)·(1 + mantissa).
  double power(int c, int bias) const {
    const int one = 1 << mantissa_bits;
    return std::ldexp(one + c % one, c / one - bias - mantissa_bits);
  }
};

void PrintTo(const Code& code, std::ostream* out) { *out << code.name; }

constexpr Code codes[] = {{StateCode::signed_16, "signed_16", 7, true, false},
                          {StateCode::non_negative_16, "non_negative_16", 11, false},
                          {StateCode::signed_8, "signed_8", 3, true},
                          {StateCode::non_negative_8, "non_negative_8", 3, false}};

/// Numbers as codes, with their scales.
struct Coded {
  std::vector<std::byte> codes;
  std::vector<float> scales;
  std::size_t bytes = 1;

  Coded(const Code& code, std::size_t size)
      : codes(size * code.bytes()),
        scales(code.has_scales ? blocks_of(size) : 0),
        bytes(code.bytes()) {}

  std::uint32_t at(std::size_t i) const {
    std::uint16_t value = 0;
    std::memcpy(&value, codes.data() + i * bytes, bytes);
    return value;
  }
  float scale(std::size_t i) const { return scales.empty() ? 1.0F : scales[i / code_block]; }

  friend bool operator==(const Coded& a, const Coded& b) {
    return a.codes == b.codes && std::ranges::equal(a.scales, b.scales, {}, bits, bits);
  }
};

using Kernels = flatstep::KernelTable<float>;

Coded encode(const Kernels& kernels, const Code& code, const std::vector<float>& numbers,
             const Dither& dither = Dither(1, 2, 3, 0)) {
  const FlushSubnormals flush;
  Coded coded(code, numbers.size());
  kernels.storage.codes[static_cast<std::size_t>(code.code)].encode(
      numbers.data(), coded.codes.data(), coded.scales.data(), numbers.size(), dither, 0);
  return coded;
}

std::vector<float> decode(const Kernels& kernels, const Code& code, const Coded& coded) {
  const FlushSubnormals flush;
  std::vector<float> numbers(coded.codes.size() / code.bytes());
  kernels.storage.codes[static_cast<std::size_t>(code.code)].decode(
      coded.codes.data(), coded.scales.data(), numbers.data(), numbers.size());
  return numbers;
}

/// As an operation gives it back that flushes subnormals.
float flushed(double x) {
  const auto rounded = static_cast<float>(x);
  return std::fabs(rounded) < std::numeric_limits<float>::min() ? std::copysign(0.0F, rounded)
                                                                : rounded;
}

class Codes : public testing::TestWithParam<Code> {};
class ScaledCodes : public Codes {};

TEST_P(Codes, StandForTheirNumbersTimesTheScale) {
  const Code& code = GetParam();
  // Below 2^-111 what signed codes are offset by would be subnormal.
  std::vector<float> scales{1.0F,    0.3F,   0x1p-111F, 1.7e-30F, 3e-20F, 0x1.fffffep29F,
                            0x1p30F, 1.5e9F, 1e20F,     0x1p100F, 4e37F,  0.0F};
  if (!code.is_signed) scales.insert(scales.end(), {0x1p-126F, 1.3e-38F, 0x1p-120F});
  if (!code.has_scales) scales = {1.0F};
  on_every_target(
      [&](const Kernels& kernels) {
        for (const float scale : scales) {
          for (std::uint32_t c = 0; c < code.count();) {
            Coded coded(code, code_block);
            std::ranges::fill(coded.scales, scale);
            const std::uint32_t first = c;
            for (std::size_t i = 0; i < code_block; ++i, ++c) {
              std::memcpy(coded.codes.data() + i * code.bytes(), &c,
                          code.bytes());  // the low bytes
            }
            const std::vector<float> found = decode(kernels, code, coded);
            for (std::size_t i = 0; i < code_block; ++i) {
              const std::uint32_t each = first + static_cast<std::uint32_t>(i);
              const double number = code.number(each);
              if (!code.has_scales) {
                ASSERT_EQ(bits(found[i]), each << 16);
              } else {
                ASSERT_EQ(bits(found[i]), bits(flushed(number * static_cast<double>(scale))))
                    << std::hex << each << " at " << scale;
              }
            }
          }
        }
      },
      code.code == StateCode::signed_8);
}

/// Blocks of numbers as moments are: of many magnitudes, with zeros, each block at another scale.
std::vector<float> moments(const Code& code, std::size_t size, std::uint64_t seed) {
  flatstep::tests::Random random(seed);
  std::vector<float> numbers(size);
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint64_t x = random.next();
    const int spread = static_cast<int>(x % 40);
    const int of_block = static_cast<int>(i / code_block * 37 % 120) - 60;
    const float unit = 1.0F + static_cast<float>(x >> 41) * 0x1p-23F;
    float value = x % 11 == 0 ? 0.0F : std::ldexp(unit, of_block - spread);
    if (code.is_signed && (x >> 40 & 1) != 0) value = -value;
    numbers[i] = value;
  }
  return numbers;
}

/// What codes stand for, but for their sign, from 0 on.
std::vector<double> grid_of(const Code& code) {
  std::vector<double> grid;
  const std::uint32_t magnitudes = code.is_signed ? code.count() / 2 : code.count();
  for (std::uint32_t c = 0; c < magnitudes; ++c) {
    const double number = code.number(c);
    if (std::isfinite(number)) grid.push_back(number);
  }
  return grid;
}

/// That each number became one of the two codes beside it; of a multiple of a scale that is rounded,
/// as far as it is known.
void expect_neighbours(const Code& code, const std::vector<float>& numbers, const Coded& coded) {
  const std::vector<double> grid = grid_of(code);
  const std::uint32_t magnitudes = code.is_signed ? code.count() / 2 : code.count();
  const double rounding = code.has_scales ? 0x1p-22 : 0.0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::uint32_t c = coded.at(i);
    const double scale = static_cast<double>(coded.scale(i));
    const double number = static_cast<double>(numbers[i]);
    if (code.is_signed) {
      ASSERT_EQ((c & magnitudes) != 0, std::signbit(numbers[i])) << i;
    }
    const double got = std::fabs(code.number(c));
    if (number == 0.0) {
      ASSERT_EQ(c & (magnitudes - 1), 0u) << "zero at " << i;
      continue;
    }
    const double exact = std::fabs(number) / scale;
    // Signed codes are of |y| + 2^-15, which is what is rounded.
    const double slack = (exact + (code.is_signed ? 0x1p-15 : 0.0)) * rounding;
    auto above = std::ranges::lower_bound(grid, exact + slack);
    auto below = std::ranges::upper_bound(grid, exact - slack);
    const double most = above == grid.end() ? grid.back() : *above;
    double least = below == grid.begin() ? 0.0 : *(below - 1);
    if (!code.is_signed && least == 0.0) least = std::ldexp(1.0, -30);  // nothing else becomes 0
    ASSERT_GE(got, std::min(least, most)) << i << ": " << number << " at scale " << scale;
    ASSERT_LE(got, std::max(least, most)) << i << ": " << number << " at scale " << scale;
  }
}

TEST_P(Codes, OfANumberAreTheTwoBesideIt) {
  const Code& code = GetParam();
  on_every_target([&](const Kernels& kernels) {
    const std::vector<float> many = moments(code, 40 * code_block + 9, 17);
    for (const std::uint64_t iteration : {0u, 1u, 2u, 77u}) {
      expect_neighbours(code, many, encode(kernels, code, many, Dither(0, iteration, 0, 0)));
    }
    for (std::size_t size = 1; size <= code_block + 1; ++size) {
      const std::vector<float> few = moments(code, size, size);
      expect_neighbours(code, few, encode(kernels, code, few));
    }
  });
}

TEST_P(Codes, AreReadAndWrittenNoFurtherThanTheirArray) {
  const Code& code = GetParam();
  on_every_target([&](const Kernels& kernels) {
    const auto& of_code = kernels.storage.codes[static_cast<std::size_t>(code.code)];
    for (std::size_t size = 1; size <= code_block + 1; ++size) {
      std::vector<float> from = moments(code, size + 1, size);
      from[size] = not_a_number;
      Coded coded(code, size + 2 * code_block);
      std::ranges::fill(coded.codes, std::byte{0x5a});
      std::ranges::fill(coded.scales, 0.0F);
      of_code.encode(from.data(), coded.codes.data(), coded.scales.data(), size, Dither(0, 0, 0, 0),
                     0);
      const auto behind = coded.codes.begin() + static_cast<std::ptrdiff_t>(size * code.bytes());
      EXPECT_EQ(std::count(behind, coded.codes.end(), std::byte{0x5a}), coded.codes.end() - behind);
      for (std::size_t k = blocks_of(size); k < coded.scales.size(); ++k) {
        EXPECT_EQ(coded.scales[k], 0.0F);
      }
      std::vector<float> back(size + 1, 7.0F);
      of_code.decode(coded.codes.data(), coded.scales.data(), back.data(), size);
      EXPECT_EQ(back[size], 7.0F);
      EXPECT_FALSE(std::any_of(back.begin(), back.end(), [](float x) { return std::isnan(x); }));
    }
  });
}

TEST_P(Codes, AreTheSameBytesOnEveryTargetAndInAnyPieces) {
  const Code& code = GetParam();
  std::vector<float> numbers = moments(code, 6 * code_block + 31, 4);
  numbers[2 * code_block + 7] = not_a_number;
  numbers[3 * code_block + 8] = infinity;
  numbers[4 * code_block + 9] = 0x1p126F;
  const auto& kernels = flatstep::targets().back().kernels<float>();  // emulated
  const Dither dither(11, 12, 13, 1);
  const Coded expected = encode(kernels, code, numbers, dither);
  for (const flatstep::Target& target : flatstep::targets()) {
    if (std::string_view(target.name) == "sse2") continue;
    EXPECT_EQ(encode(target.kernels<float>(), code, numbers, dither), expected) << target.name;
    const std::vector<float> found = decode(target.kernels<float>(), code, expected);
    const std::vector<float> wanted = decode(kernels, code, expected);
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (std::isnan(found[i]) && std::isnan(wanted[i])) continue;
      ASSERT_EQ(bits(found[i]), bits(wanted[i])) << target.name << ", " << i;
    }
    const auto& of_code =
        target.kernels<float>().storage.codes[static_cast<std::size_t>(code.code)];
    for (unsigned borders = 1; borders < 64; ++borders) {  // after block k where bit k is set
      Coded pieces(code, numbers.size());
      const FlushSubnormals flush;
      for (std::size_t begin = 0; begin < numbers.size();) {
        std::size_t end = begin / code_block;
        while (end < 6 && (borders >> end & 1) == 0) ++end;
        const std::size_t stop = end == 6 ? numbers.size() : (end + 1) * code_block;
        const std::size_t block = begin / code_block;
        of_code.encode(numbers.data() + begin, pieces.codes.data() + begin * code.bytes(),
                       code.has_scales ? pieces.scales.data() + block : nullptr, stop - begin,
                       dither, block);
        begin = stop;
      }
      ASSERT_EQ(pieces, expected) << target.name << ", borders " << borders;
    }
  }
}

TEST_P(ScaledCodes, OfWhatDecaysAsAWholeStayAndTheScaleDecays) {
  const Code& code = GetParam();
  on_every_target([&](const Kernels& kernels) {
    std::vector<float> numbers = moments(code, 3 * code_block + 50, 23);
    Coded before = encode(kernels, code, numbers);
    const std::vector<float> begun = decode(kernels, code, before);
    for (const double decay : {0.999, 0.9, 0.99999, 0.5}) {
      const std::uint64_t steps = decay == 0.5 ? 20 : 60;  // above where what is left is flushed
      for (std::uint64_t iteration = 0; iteration < steps; ++iteration) {
        numbers = decode(kernels, code, before);
        for (float& x : numbers) x *= static_cast<float>(decay);
        const Coded after = encode(kernels, code, numbers, Dither(0, iteration, 0, 0));
        ASSERT_EQ(after.codes, before.codes) << decay << ", " << iteration;
        for (std::size_t k = 0; k < after.scales.size(); ++k) {
          ASSERT_NEAR(after.scales[k] / before.scales[k], decay, 4e-7);
        }
        before = after;
      }
    }
  });
}

TEST_P(Codes, AreInTheMeanTheNumber) {
  const Code& code = GetParam();
  const auto& kernels = flatstep::active_target().kernels<float>();
  const std::vector<float> numbers = moments(code, code_block, 29);
  constexpr int steps = 4096;
  std::vector<double> sums(numbers.size(), 0.0);
  for (int step = 0; step < steps; ++step) {
    const Dither dither(0, static_cast<std::uint64_t>(step), 0, 0);
    const std::vector<float> found = decode(kernels, code, encode(kernels, code, numbers, dither));
    for (std::size_t i = 0; i < found.size(); ++i) sums[i] += static_cast<double>(found[i]);
  }
  const double scale = static_cast<double>(encode(kernels, code, numbers).scale(0));
  const std::vector<double> grid = grid_of(code);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const double x = static_cast<double>(numbers[i]);
    const double y = std::fabs(x) / scale;
    if (!code.is_signed && y < 0x1p-30) continue;  // it becomes that
    auto above = std::ranges::upper_bound(grid, y);
    if (above == grid.end()) --above;
    const double place = (*above - *(above - 1)) * scale;
    // One step's standard deviation is half a place at the most; five of the mean's.
    EXPECT_LE(std::fabs(sums[i] / steps - x), place * 2.5 / std::sqrt(steps)) << i << ": " << x;
  }
}

TEST_P(Codes, ZeroIsOneOfThemAndOfNothingElse) {
  const Code& code = GetParam();
  on_every_target([&](const Kernels& kernels) {
    std::vector<float> numbers(3 * code_block, 0.0F);
    if (code.is_signed) numbers[5] = -0.0F;
    numbers[code_block] = 1.0F;  // zeros beside a number
    for (const float x : decode(kernels, code, encode(kernels, code, numbers))) {
      EXPECT_TRUE(x == 0.0F || x == 1.0F || std::fabs(x - 1.0F) < 1e-6F);
    }
    if (code.is_signed) return;  // what is small may go to zero there
    for (std::size_t i = 1; i < code_block; ++i) {
      numbers[code_block + i] = std::ldexp(1.0F, -static_cast<int>(i % 126) - 1);
    }
    const std::vector<float> found = decode(kernels, code, encode(kernels, code, numbers));
    for (std::size_t i = 0; i < code_block; ++i) EXPECT_GT(found[code_block + i], 0.0F) << i;
  });
}

TEST_P(ScaledCodes, OfABlockOfSubnormalsAreZero) {
  const Code& code = GetParam();
  on_every_target([&](const Kernels& kernels) {
    std::vector<float> numbers(2 * code_block, 0x1p-130F);
    numbers[3] = 0x1.fffffcp-127F;
    for (const float x : decode(kernels, code, encode(kernels, code, numbers))) EXPECT_EQ(x, 0.0F);
    numbers[3] = 0x1p-126F;  // the least that counts
    const std::vector<float> found = decode(kernels, code, encode(kernels, code, numbers));
    for (const float x : found) EXPECT_LE(x, 0x1p-124F);
  });
}

TEST_P(Codes, OfABlockWithANaNAreNaNAndOfNoOther) {
  const Code& code = GetParam();
  on_every_target([&](const Kernels& kernels) {
    for (const std::uint32_t nan :
         {0x7fc00000u, 0xffc00000u, 0x7f800001u, 0x7fffffffu, 0xffffffffu}) {
      for (const std::size_t place : {code_block, code_block + 77, 2 * code_block - 1}) {
        std::vector<float> numbers = moments(code, 3 * code_block, 31);
        const Coded without = encode(kernels, code, numbers);
        numbers[place] = of_bits(nan);
        const Coded with = encode(kernels, code, numbers);
        const std::vector<float> found = decode(kernels, code, with);
        const std::vector<float> wanted = decode(kernels, code, without);
        for (std::size_t i = 0; i < found.size(); ++i) {
          const bool is_poisoned = code.has_scales ? i / code_block == 1 : i == place;
          if (is_poisoned) {
            ASSERT_TRUE(std::isnan(found[i])) << i;
          } else {
            ASSERT_EQ(bits(found[i]), bits(wanted[i])) << i;
          }
        }
      }
    }
  });
}

TEST_P(Codes, BeyondTheirRangeCountAsItsEnd) {
  const Code& code = GetParam();
  on_every_target([&](const Kernels& kernels) {
    for (const float huge :
         {0x1p126F, 0x1.8p126F, 0x1p127F, std::numeric_limits<float>::max(), infinity}) {
      std::vector<float> numbers = moments(code, code_block, 37);
      numbers[9] = huge;
      numbers[10] = code.is_signed ? -huge : huge;
      numbers[11] = 0x1p125F;
      const std::vector<float> found = decode(kernels, code, encode(kernels, code, numbers));
      if (!code.has_scales) {  // bfloat16 goes as far as float
        EXPECT_GE(found[9], huge < infinity ? huge * 0.99F : huge);
        continue;
      }
      EXPECT_NEAR(found[9] * 0x1p-126F, 1.0F, 1e-6F) << huge;
      EXPECT_NEAR(std::fabs(found[10]) * 0x1p-126F, 1.0F, 1e-6F) << huge;
      EXPECT_NEAR(found[11] * 0x1p-125F, 1.0F, 0.13F) << huge;
      EXPECT_EQ(std::signbit(found[10]), code.is_signed);
      EXPECT_TRUE(
          std::all_of(found.begin(), found.end(), [](float x) { return std::isfinite(x); }));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(All, Codes, testing::ValuesIn(codes),
                         [](const auto& each) { return std::string(each.param.name); });
INSTANTIATE_TEST_SUITE_P(All, ScaledCodes,
                         testing::ValuesIn(std::begin(codes) + 1, std::end(codes)),
                         [](const auto& each) { return std::string(each.param.name); });

// ---- what is added before codes are cut off ----------------------------------------------------

TEST(Dither, IsAnotherForEachSeedIterationSlotArrayAndBlock) {
  std::set<std::uint32_t> hashes;
  const auto add = [&](const Dither& dither, std::uint64_t block) {
    return hashes.insert(dither.of_block(block)).second;
  };
  EXPECT_TRUE(add(Dither(0, 0, 0, 0), 0));
  for (std::uint64_t n = 1; n <= 40; ++n) {
    EXPECT_TRUE(add(Dither(n, 0, 0, 0), 0)) << "seed " << n;
    EXPECT_TRUE(add(Dither(0, n, 0, 0), 0)) << "iteration " << n;
    EXPECT_TRUE(add(Dither(0, 0, n, 0), 0)) << "slot " << n;
    EXPECT_TRUE(add(Dither(0, 0, 0, n), 0)) << "array " << n;
    EXPECT_TRUE(add(Dither(0, 0, 0, 0), n)) << "block " << n;
    EXPECT_TRUE(add(Dither(n, n, n, n), n)) << "all " << n;
  }
}

TEST_P(Codes, AreOthersWithAnotherSeedIterationSlotOrArray) {
  const Code& code = GetParam();
  const auto& kernels = flatstep::active_target().kernels<float>();
  const std::vector<float> numbers = moments(code, code_block, 41);
  const Coded codes_of = encode(kernels, code, numbers, Dither(5, 5, 5, 5));
  EXPECT_EQ(encode(kernels, code, numbers, Dither(5, 5, 5, 5)), codes_of);
  for (const Dither& other :
       {Dither(6, 5, 5, 5), Dither(5, 6, 5, 5), Dither(5, 5, 6, 5), Dither(5, 5, 5, 6)}) {
    EXPECT_NE(encode(kernels, code, numbers, other), codes_of);
  }
  std::vector<float> twice = numbers;
  twice.insert(twice.end(), numbers.begin(), numbers.end());
  const Coded blocks = encode(kernels, code, twice);
  const auto half = blocks.codes.begin() + std::ssize(blocks.codes) / 2;
  EXPECT_FALSE(std::equal(blocks.codes.begin(), half, half)) << "the second block";
}

}  // namespace
