// The vectors of the target that FLATSTEP_TARGET names, those of narrower targets as its flags
// compile them, and the emulated ones: each operation against scalar C++, bit for bit, with and
// without the flushing mode; and all targets against each other through digests.
//
// Built once per target, with that target's flags, and run where the processor has them.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <flatstep/simd/emulated.hpp>
#include <flatstep/simd/float_mode.hpp>
#include <flatstep/simd/native.hpp>
#include <latch>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

#include FLATSTEP_TARGET_HEADER

#if defined(__x86_64__) || defined(_M_X64)
#include <flatstep/simd/sse2.hpp>
#endif
#if defined(__AVX512F__)
#include <flatstep/simd/avx2.hpp>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace {

using flatstep::FlushSubnormals;

template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

template <class T>
constexpr Bits<T> sign_bit = std::bit_cast<Bits<T>>(-T(0));

template <class T>
Bits<T> bits(T x) {
  return std::bit_cast<Bits<T>>(x);
}

template <class T>
bool is_nan(T x) {
  return (bits(x) & ~sign_bit<T>) > bits(std::numeric_limits<T>::infinity());
}

template <class T>
bool is_subnormal(T x) {
  const Bits<T> magnitude = bits(x) & ~sign_bit<T>;
  return magnitude != 0 && magnitude < bits(std::numeric_limits<T>::min());
}

// What an operation that looks at values sees of x, and gives back.
template <class T>
T flushed(T x, bool flush) {
  return flush && is_subnormal(x) ? std::bit_cast<T>(bits(x) & sign_bit<T>) : x;
}

// Scalar C++ that the compiler can neither compute beforehand nor turn into vectors.
template <class T, class F>
T scalar(F&& operation, T a, T b = T(0), T c = T(0)) {
  volatile T x = a;
  volatile T y = b;
  volatile T z = c;
  volatile T result = operation(T(x), T(y), T(z));
  return result;
}

template <class T>
std::vector<T> hard_values() {
  using Limits = std::numeric_limits<T>;
  const T one_third = T(1) / T(3);
  std::vector<T> values = {T(0),
                           Limits::denorm_min(),
                           Limits::denorm_min() * T(3),
                           Limits::min() / T(2),
                           std::nextafter(Limits::min(), T(0)),
                           Limits::min(),
                           std::nextafter(Limits::min(), T(1)),
                           Limits::min() * T(3),
                           std::sqrt(Limits::min()),
                           Limits::epsilon(),
                           one_third,
                           std::nextafter(T(1), T(0)),
                           T(1),
                           std::nextafter(T(1), T(2)),
                           T(1.5),
                           T(2),
                           T(1) / Limits::epsilon() + T(1),
                           std::sqrt(Limits::max()),
                           Limits::max() * T(0.5),
                           Limits::max(),
                           Limits::infinity(),
                           std::bit_cast<T>(bits(Limits::infinity()) + Bits<T>(1)),  // signals
                           std::bit_cast<T>(bits(Limits::quiet_NaN()) + Bits<T>(5))};
  const std::size_t positive = values.size();
  for (std::size_t i = 0; i < positive; ++i) {
    values.push_back(std::bit_cast<T>(bits(values[i]) | sign_bit<T>));
  }
  return values;
}

// Operands of up to three places: every combination of hard values, then random ones: of any bits,
// and of like size, where sums cancel and products nearly do.
template <class T>
struct Operands {
  std::vector<T> a, b, c;

  Operands() {
    const std::vector<T> hard = hard_values<T>();
    for (const T x : hard) {
      for (const T y : hard) {
        for (const T z : hard) add({x, y, z});
      }
    }
    std::mt19937_64 random(20240229);
    const auto any = [&] { return std::bit_cast<T>(static_cast<Bits<T>>(random())); };
    const auto near_one = [&] {
      const Bits<T> noise = static_cast<Bits<T>>(random()) & (bits(T(1)) ^ bits(T(1.9375)));
      const Bits<T> low = static_cast<Bits<T>>(random()) & Bits<T>(0xffff);
      const Bits<T> sign = static_cast<Bits<T>>(random()) & sign_bit<T>;
      return std::bit_cast<T>(bits(T(1)) | noise | low | sign);
    };
    const auto tiny = [&] {  // around the border of the normal numbers
      return std::bit_cast<T>(static_cast<Bits<T>>(random()) &
                              (sign_bit<T> | (bits(std::numeric_limits<T>::min()) * 4 - 1)));
    };
    for (int i = 0; i < 20000; ++i) add({any(), any(), any()});
    for (int i = 0; i < 20000; ++i) {
      const T x = near_one();
      const T y = near_one();
      const T product = x * y;
      add({x, y, i % 2 == 0 ? -product : near_one()});
    }
    for (int i = 0; i < 10000; ++i) add({tiny(), i % 2 == 0 ? near_one() : tiny(), tiny()});
    while (a.size() % 64 != 0) add({T(1), T(1), T(1)});  // whole vectors of every width
  }

  // A list's elements are computed in order, a call's arguments are not.
  void add(const std::array<T, 3>& operands) {
    a.push_back(operands[0]);
    b.push_back(operands[1]);
    c.push_back(operands[2]);
  }

  static const Operands& instance() {
    static const Operands operands;
    return operands;
  }
};

// Applies a vector operation to all operands.
template <class V, class F>
std::vector<typename V::value_type> results(F&& operation) {
  using T = typename V::value_type;
  const Operands<T>& in = Operands<T>::instance();
  std::vector<T> out(in.a.size());
  for (std::size_t i = 0; i < out.size(); i += V::lanes) {
    operation(V::load(&in.a[i]), V::load(&in.b[i]), V::load(&in.c[i])).store(&out[i]);
  }
  return out;
}

enum class NaNs { same_bits, any_bits };

// Compares a vector operation with a scalar one on all operands.
template <class V, class F, class G>
void expect_same(NaNs nans, F&& vector_operation, G&& scalar_operation) {
  using T = typename V::value_type;
  const Operands<T>& in = Operands<T>::instance();
  const std::vector<T> got = results<V>(vector_operation);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < got.size() && wrong < 5; ++i) {
    const T want = scalar(scalar_operation, in.a[i], in.b[i], in.c[i]);
    if (nans == NaNs::any_bits && is_nan(want) && is_nan(got[i])) continue;
    if (bits(got[i]) == bits(want)) continue;
    ++wrong;
    ADD_FAILURE() << std::hex << "a = " << bits(in.a[i]) << ", b = " << bits(in.b[i])
                  << ", c = " << bits(in.c[i]) << ": got " << bits(got[i]) << ", want "
                  << bits(want);
  }
}

template <class V>
constexpr bool fuses = true;
#if defined(__x86_64__) || defined(_M_X64)
template <class T>
constexpr bool fuses<flatstep::sse2::Vector<T>> = false;
#endif

template <class V>
struct Simd : testing::Test {
  Simd() { Operands<typename V::value_type>::instance(); }  // made in the default mode
};

template <class T, std::size_t Bytes>
using Emulated = flatstep::emulated::Vector<T, Bytes>;

using VectorTypes = testing::Types<Emulated<float, 16>, Emulated<double, 16>, Emulated<float, 32>,
                                   Emulated<double, 32>, Emulated<float, 64>, Emulated<double, 64>
#if defined(__AVX2__)
                                   ,
                                   flatstep::sse2::Vector<float>, flatstep::sse2::Vector<double>
#endif
#if defined(__AVX512F__)
                                   ,
                                   flatstep::avx2::Vector<float>, flatstep::avx2::Vector<double>
#endif
                                   ,
                                   flatstep::FLATSTEP_TARGET::Vector<float>,
                                   flatstep::FLATSTEP_TARGET::Vector<double>>;

TYPED_TEST_SUITE(Simd, VectorTypes);

TYPED_TEST(Simd, ArithmeticIsThatOfScalars) {
  using V = TypeParam;
  using T = typename V::value_type;
  for (const bool flush : {false, true}) {
    SCOPED_TRACE(flush ? "subnormals are zero" : "default mode");
    const auto mode = flush ? std::make_unique<FlushSubnormals>() : nullptr;
    const NaNs any = NaNs::any_bits;
    expect_same<V>(any, [](V a, V b, V) { return a + b; }, [](T a, T b, T) { return a + b; });
    expect_same<V>(any, [](V a, V b, V) { return a - b; }, [](T a, T b, T) { return a - b; });
    expect_same<V>(any, [](V a, V b, V) { return a * b; }, [](T a, T b, T) { return a * b; });
    expect_same<V>(any, [](V a, V b, V) { return a / b; }, [](T a, T b, T) { return a / b; });
    expect_same<V>(any, [](V a, V, V) { return sqrt(a); }, [](T a, T, T) { return std::sqrt(a); });
    expect_same<V>(
        any, [](V a, V b, V c) { return fma(a, b, c); },
        [](T a, T b, T c) {
          if constexpr (fuses<V>) return std::fma(a, b, c);
          volatile T product = a * b;
          return product + c;
        });
  }
}

TYPED_TEST(Simd, MinimumAndMaximumAreSelections) {
  using V = TypeParam;
  using T = typename V::value_type;
  for (const bool flush : {false, true}) {
    SCOPED_TRACE(flush ? "subnormals are zero" : "default mode");
    const auto mode = flush ? std::make_unique<FlushSubnormals>() : nullptr;
    expect_same<V>(
        NaNs::same_bits, [](V a, V b, V) { return min(a, b); },
        [=](T a, T b, T) {
          const T x = flushed(a, flush);
          const T y = flushed(b, flush);
          return x < y ? x : y;
        });
    expect_same<V>(
        NaNs::same_bits, [](V a, V b, V) { return max(a, b); },
        [=](T a, T b, T) {
          const T x = flushed(a, flush);
          const T y = flushed(b, flush);
          return x > y ? x : y;
        });
  }
}

TYPED_TEST(Simd, SignsAndMasksMoveBits) {
  using V = TypeParam;
  using T = typename V::value_type;
  for (const bool flush : {false, true}) {
    SCOPED_TRACE(flush ? "subnormals are zero" : "default mode");
    const auto mode = flush ? std::make_unique<FlushSubnormals>() : nullptr;
    expect_same<V>(
        NaNs::same_bits, [](V a, V, V) { return abs(a); },
        [](T a, T, T) { return std::bit_cast<T>(bits(a) & ~sign_bit<T>); });
    expect_same<V>(
        NaNs::same_bits, [](V a, V b, V) { return copysign(a, b); },
        [](T a, T b, T) {
          return std::bit_cast<T>((bits(a) & ~sign_bit<T>) | (bits(b) & sign_bit<T>));
        });
    expect_same<V>(
        NaNs::same_bits, [](V a, V b, V c) { return keep(not_equal(a, b), c); },
        [=](T a, T b, T c) { return flushed(a, flush) != flushed(b, flush) ? c : T(0); });
    expect_same<V>(NaNs::same_bits, [](V a, V, V) { return a; }, [](T a, T, T) { return a; });
  }
}

TYPED_TEST(Simd, ZeroBroadcastAndLaneMasks) {
  using V = TypeParam;
  using T = typename V::value_type;
  std::array<T, V::lanes> out{};
  V::zero().store(out.data());
  for (const T x : out) EXPECT_EQ(bits(x), Bits<T>(0));
  for (const T value : hard_values<T>()) {
    V::broadcast(value).store(out.data());
    for (const T x : out) EXPECT_EQ(bits(x), bits(value));
    for (std::size_t n = 0; n <= V::lanes; ++n) {
      keep(V::first(n), V::broadcast(value)).store(out.data());
      for (std::size_t i = 0; i < V::lanes; ++i) {
        EXPECT_EQ(bits(out[i]), i < n ? bits(value) : Bits<T>(0)) << "lane " << i << " of " << n;
      }
    }
    for (const bool set : {false, true}) {
      keep(V::all(set), V::broadcast(value)).store(out.data());
      for (const T x : out) EXPECT_EQ(bits(x), set ? bits(value) : Bits<T>(0));
    }
  }
}

TYPED_TEST(Simd, WideningIsThatOfScalars) {
  using V = TypeParam;
  if constexpr (std::is_same_v<typename V::value_type, double>) {
    const std::vector<float>& in = Operands<float>::instance().a;
    for (const bool flush : {false, true}) {
      const auto mode = flush ? std::make_unique<FlushSubnormals>() : nullptr;
      std::array<double, V::lanes> out{};
      for (std::size_t i = 0; i < in.size(); i += V::lanes) {
        V::load_widened(&in[i]).store(out.data());
        for (std::size_t lane = 0; lane < V::lanes; ++lane) {
          const float x = in[i + lane];
          if (is_nan(x)) {
            ASSERT_TRUE(is_nan(out[lane]));
          } else {
            volatile double want = double(flushed(x, flush));
            ASSERT_EQ(bits(out[lane]), bits(double(want))) << std::hex << bits(x);
          }
        }
      }
    }
  }
}

// The operands of three places as numbers of 32 bits.
struct Words {
  std::vector<std::uint32_t> a, b, c;

  Words() {
    const Operands<float>& operands = Operands<float>::instance();
    for (std::size_t i = 0; i < operands.a.size(); ++i) {
      a.push_back(bits(operands.a[i]));
      b.push_back(bits(operands.b[i]));
      c.push_back(bits(operands.c[i]));
    }
  }

  static const Words& instance() {
    static const Words words;
    return words;
  }
};

// Compares an operation on vectors of numbers of 32 bits with a scalar one on all operands.
template <class V, class F, class G>
void expect_same_words(F&& vector_operation, G&& scalar_operation) {
  const Words& in = Words::instance();
  std::array<float, V::lanes> out{};
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < in.a.size() && wrong < 5; i += V::lanes) {
    using B = typename V::Bits;
    V::of_bits(vector_operation(B::load(&in.a[i]), B::load(&in.b[i]), B::load(&in.c[i])))
        .store(out.data());
    for (std::size_t lane = 0; lane < V::lanes; ++lane) {
      const std::size_t k = i + lane;
      const std::uint32_t want = scalar_operation(in.a[k], in.b[k], in.c[k]);
      if (bits(out[lane]) == want) continue;
      ++wrong;
      ADD_FAILURE() << std::hex << "a = " << in.a[k] << ", b = " << in.b[k] << ", c = " << in.c[k]
                    << ": got " << bits(out[lane]) << ", want " << want;
    }
  }
}

template <class V, int n>
void expect_shifts() {
  using B = typename V::Bits;
  using U = std::uint32_t;
  SCOPED_TRACE(n);
  expect_same_words<V>([](B a, B, B) { return shift_left<n>(a); },
                       [](U a, U, U) { return a << n; });
  expect_same_words<V>([](B a, B, B) { return shift_right<n>(a); },
                       [](U a, U, U) { return a >> n; });
}

TYPED_TEST(Simd, BitsAreNumbers) {
  using V = TypeParam;
  if constexpr (std::is_same_v<typename V::value_type, float>) {
    using B = typename V::Bits;
    using U = std::uint32_t;
    for (const bool flush : {false, true}) {
      SCOPED_TRACE(flush ? "subnormals are zero" : "default mode");
      const auto mode = flush ? std::make_unique<FlushSubnormals>() : nullptr;
      expect_same_words<V>([](B a, B b, B) { return a + b; }, [](U a, U b, U) { return a + b; });
      expect_same_words<V>([](B a, B b, B) { return a - b; }, [](U a, U b, U) { return a - b; });
      expect_same_words<V>([](B a, B b, B) { return a & b; }, [](U a, U b, U) { return a & b; });
      expect_same_words<V>([](B a, B b, B) { return a | b; }, [](U a, U b, U) { return a | b; });
      expect_same_words<V>([](B a, B b, B) { return a ^ b; }, [](U a, U b, U) { return a ^ b; });
      expect_same_words<V>([](B a, B b, B c) { return merge(a, b, c); },
                           [](U a, U b, U c) { return (b & a) | (c & ~a); });
      expect_same_words<V>([](B a, B b, B) { return min(a, b); },
                           [](U a, U b, U) { return a < b ? a : b; });
      expect_same_words<V>([](B a, B b, B) { return max(a, b); },
                           [](U a, U b, U) { return a > b ? a : b; });
      expect_same_words<V>(
          [](B a, B b, B c) { return or_where(not_equal(V::of_bits(a), V::of_bits(b)), a, c); },
          [=](U a, U b, U c) {
            const float x = flushed(std::bit_cast<float>(a), flush);
            const float y = flushed(std::bit_cast<float>(b), flush);
            return x != y ? a | c : a;
          });
      expect_same_words<V>([](B a, B, B) { return bits(V::of_bits(a)); },
                           [](U a, U, U) { return a; });
      expect_same_words<V>([](B, B, B) { return B::broadcast(0x9e3779b9u); },
                           [](U, U, U) { return U{0x9e3779b9}; });
      expect_shifts<V, 1>();
      expect_shifts<V, 8>();
      expect_shifts<V, 12>();
      expect_shifts<V, 13>();
      expect_shifts<V, 16>();
      expect_shifts<V, 20>();
      expect_shifts<V, 24>();
      expect_shifts<V, 31>();
      const auto integer = [](U a) {  // a float of the highest 24 bits, taken as signed
        return bits(static_cast<float>(static_cast<std::int32_t>(a) / 256));
      };
      expect_same_words<V>(
          [](B a, B, B) {
            std::array<std::uint32_t, V::lanes> words{};
            std::array<float, V::lanes> values{};
            V::of_bits(a).store(values.data());
            for (std::size_t i = 0; i < V::lanes; ++i) {
              words[i] = static_cast<U>(static_cast<std::int32_t>(bits(values[i])) / 256);
            }
            return bits(V::of_integers(B::load(words.data())));
          },
          [=](U a, U, U) { return integer(a); });
      expect_same_words<V>([](B a, B, B) { return bits(V::of_integers(shift_right<8>(a))); },
                           [](U a, U, U) { return bits(static_cast<float>(a >> 8)); });
    }
  }
}

TYPED_TEST(Simd, TheLargestOfBitsIsThatOfAllLanes) {
  using V = TypeParam;
  if constexpr (std::is_same_v<typename V::value_type, float>) {
    const std::vector<std::uint32_t>& in = Words::instance().a;
    for (std::size_t i = 0; i < in.size(); i += V::lanes) {
      const auto first = in.begin() + static_cast<std::ptrdiff_t>(i);
      ASSERT_EQ(largest(V::Bits::load(&in[i])), *std::max_element(first, first + V::lanes)) << i;
    }
    for (std::size_t lane = 0; lane < V::lanes; ++lane) {
      std::array<std::uint32_t, V::lanes> words{};
      words[lane] = 0x80000001u;
      EXPECT_EQ(largest(V::Bits::load(words.data())), 0x80000001u) << lane;
    }
  }
}

// Every number of 8 or 16 bits, from every place of a vector.
template <class V, class N>
void expect_widened_loads() {
  constexpr std::size_t count = std::size_t{1} << (8 * sizeof(N));
  std::vector<N> numbers(count + 2 * V::lanes);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<N>(i);
  std::array<float, V::lanes> out{};
  for (std::size_t i = 0; i <= count; i += V::lanes - 1) {
    V::of_bits(V::Bits::load(&numbers[i])).store(out.data());
    for (std::size_t lane = 0; lane < V::lanes; ++lane) {
      ASSERT_EQ(bits(out[lane]), static_cast<std::uint32_t>(std::int32_t{numbers[i + lane]}))
          << i << ", lane " << lane;
    }
    if constexpr (std::is_same_v<N, std::uint16_t>) {
      V::of_bits(V::Bits::load_upper(&numbers[i])).store(out.data());
      for (std::size_t lane = 0; lane < V::lanes; ++lane) {
        ASSERT_EQ(bits(out[lane]), std::uint32_t{numbers[i + lane]} << 16) << i << ", " << lane;
      }
    }
  }
}

// What is stored of a number, and that nothing else is.
template <class V, class N>
void expect_narrowed_stores() {
  const std::vector<std::uint32_t>& in = Words::instance().a;
  for (std::size_t i = 0; i < in.size(); i += V::lanes) {
    std::array<N, V::lanes + 2> out;
    out.fill(N{0x5a});
    V::Bits::load(&in[i]).store(out.data() + 1);
    EXPECT_EQ(out.front(), N{0x5a});
    EXPECT_EQ(out.back(), N{0x5a});
    for (std::size_t lane = 0; lane < V::lanes; ++lane) {
      ASSERT_EQ(out[lane + 1], static_cast<N>(in[i + lane])) << std::hex << in[i + lane];
    }
    if constexpr (std::is_same_v<N, std::uint16_t>) {
      out.fill(N{0x5a});
      V::Bits::load(&in[i]).store_upper(out.data() + 1);
      EXPECT_EQ(out.front(), N{0x5a});
      EXPECT_EQ(out.back(), N{0x5a});
      for (std::size_t lane = 0; lane < V::lanes; ++lane) {
        ASSERT_EQ(out[lane + 1], in[i + lane] >> 16) << std::hex << in[i + lane];
      }
    }
  }
}

TYPED_TEST(Simd, BitsAreLoadedFromFewerAndStoredInFewer) {
  using V = TypeParam;
  if constexpr (std::is_same_v<typename V::value_type, float>) {
    expect_widened_loads<V, std::uint16_t>();
    expect_widened_loads<V, std::uint8_t>();
    expect_widened_loads<V, std::int16_t>();
    expect_widened_loads<V, std::int8_t>();
    expect_narrowed_stores<V, std::uint16_t>();
    expect_narrowed_stores<V, std::uint8_t>();
  }
}

// The halves of all operands, at an odd place.
template <class V>
struct HalvesOf {
  static constexpr std::size_t count = 2 * V::lanes;

  std::array<std::uint16_t, count + 1> of{};

  explicit HalvesOf(const std::uint32_t* words) {
    for (std::size_t i = 0; i < count; ++i) {
      of[i + 1] = static_cast<std::uint16_t>(words[i / 2] >> (16 * (i % 2)));
    }
  }
  std::uint16_t operator[](std::size_t i) const { return of[i + 1]; }
  typename V::Halves load() const { return V::Halves::load(of.data() + 1); }
};

// What is stored of halves is as wanted, and nothing beside it.
template <class V, class N, class Want>
void expect_halves(typename V::Halves halves, Want&& want) {
  constexpr std::size_t count = 2 * V::lanes;
  std::array<N, count + 2> out;
  out.fill(N{0x5a});
  halves.store(out.data() + 1);
  EXPECT_EQ(out.front(), N{0x5a});
  EXPECT_EQ(out.back(), N{0x5a});
  for (std::size_t i = 0; i < count; ++i) {
    ASSERT_EQ(out[i + 1], static_cast<N>(want(i))) << "half " << i;
  }
}

TYPED_TEST(Simd, HalvesAreNumbers) {
  using V = TypeParam;
  if constexpr (std::is_same_v<typename V::value_type, float>) {
    using U16 = std::uint16_t;
    const Words& in = Words::instance();
    for (std::size_t i = 0; i < in.a.size(); i += V::lanes) {
      const HalvesOf<V> a(&in.a[i]);
      const HalvesOf<V> b(&in.b[i]);
      const HalvesOf<V> c(&in.c[i]);
      expect_halves<V, U16>(a.load(), [&](std::size_t k) { return a[k]; });
      expect_halves<V, std::uint8_t>(a.load(), [&](std::size_t k) { return a[k] & 0xff; });
      expect_halves<V, U16>(V::Halves::broadcast(0x9e37), [](std::size_t) { return 0x9e37; });
      expect_halves<V, U16>(a.load() + b.load(), [&](std::size_t k) { return a[k] + b[k]; });
      expect_halves<V, U16>(a.load() - b.load(), [&](std::size_t k) { return a[k] - b[k]; });
      expect_halves<V, U16>(merge(a.load(), b.load(), c.load()),
                            [&](std::size_t k) { return (b[k] & a[k]) | (c[k] & ~a[k]); });
      expect_halves<V, U16>(shift_right<4>(a.load()), [&](std::size_t k) { return a[k] >> 4; });
      expect_halves<V, U16>(shift_right<8>(a.load()), [&](std::size_t k) { return a[k] >> 8; });
      expect_halves<V, U16>(shift_right<15>(a.load()), [&](std::size_t k) { return a[k] >> 15; });
    }
  }
}

TYPED_TEST(Simd, HalvesAreThoseOfTwoVectors) {
  using V = TypeParam;
  if constexpr (std::is_same_v<typename V::value_type, float>) {
    using B = typename V::Bits;
    using H = typename V::Halves;
    const Words& in = Words::instance();
    for (std::size_t i = 0; i < in.a.size(); i += V::lanes) {
      const auto word = [&](std::size_t k) {
        return k < V::lanes ? in.a[i + k] : in.b[i + k - V::lanes];
      };
      const H upper = H::upper_of(B::load(&in.a[i]), B::load(&in.b[i]));
      const H lower = H::lower_of(B::load(&in.a[i]), B::load(&in.b[i]));
      expect_halves<V, std::uint16_t>(upper, [&](std::size_t k) { return word(k) >> 16; });
      expect_halves<V, std::uint16_t>(lower, [&](std::size_t k) { return word(k) & 0xffff; });
      B a = B::broadcast(0);
      B b = a;
      H::join(upper, lower, a, b);
      std::array<float, 2 * V::lanes> joined{};
      V::of_bits(a).store(joined.data());
      V::of_bits(b).store(joined.data() + V::lanes);
      for (std::size_t k = 0; k < joined.size(); ++k) ASSERT_EQ(bits(joined[k]), word(k)) << k;
    }
  }
}

// What all targets with a fused multiply-add compute from these operands, as a number per
// operation. Two liberties: NaNs count as one, and where subnormals are flushed the smallest normal
// number counts as a zero of its sign, as ARM finds it subnormal before it rounds (float_mode.hpp).
template <class T>
std::uint64_t digest(std::span<const T> values, bool flush) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const T x : values) {
    Bits<T> word = bits(x);
    if (is_nan(x)) word = bits(std::numeric_limits<T>::quiet_NaN());
    if (flush && (word & ~sign_bit<T>) == bits(std::numeric_limits<T>::min())) {
      word &= sign_bit<T>;
    }
    for (std::size_t byte = 0; byte < sizeof(T); ++byte) {
      hash = (hash ^ ((word >> (8 * byte)) & 0xff)) * 0x100000001b3;
    }
  }
  return hash;
}

struct Digests {
  std::string_view operation;
  std::uint64_t floats, flushed_floats, doubles, flushed_doubles;
};

// Recorded on x86-64 with AVX2.
constexpr Digests recorded[] = {
    {"a + b", 0x93b8363d90ab0cd3, 0xd6479a71831e0616, 0xa9c72ec85868c47d, 0x521300bc6d4ae8a9},
    {"a - b", 0x5e87b5b363cf1361, 0xc0bb211ce21163da, 0x4f9923931c34b76c, 0xabeeda84260a1b00},
    {"a * b", 0x128b6d1322d76380, 0x21e3334d0de52084, 0xdfb27e1f2f660020, 0xbbfaa97dfb80fb70},
    {"a / b", 0x565b4d5522d0a7d7, 0xc99b0e4cd1ad44e6, 0xe83c9f64ffd8f03b, 0xc25d41bb5ea31d25},
    {"sqrt", 0x1d15314b81599cd0, 0x4fe92bcad786ee1d, 0xb4f6112dea61e33b, 0x81d8d913e6e87602},
    {"fma", 0xf77cc3cf362383f9, 0x76f9a2532899b6ec, 0xaf8ea8691abcd194, 0x5fcc8a29cf883b47},
    {"min", 0xe5c7aeadb2aef126, 0x76833ee2065ad4f2, 0x8ca3fd1a05b576d8, 0x7000ef3916dc190a},
    {"max", 0x7348d40a20f91f97, 0x38786318ef896a2a, 0x19df162b043b11cb, 0xc89b23fb16be7b91},
    {"abs", 0xab4a51444506f9d0, 0x2314ab198a92e0d0, 0xea1b686ba32d82a8, 0x8e18771a943ccaa8},
    {"copysign", 0xab64425d38b609d0, 0x7657a250524670d0, 0xbedb6920b9724528, 0x23a818760f818d28},
    {"keep", 0x117e9ffa5012ad32, 0x2c6d046d9a2b5ae1, 0xa50eaba29beddf3b, 0xc96547e08f1aa3da},
};

const Digests& recorded_of(std::string_view operation) {
  for (const Digests& row : recorded) {
    if (row.operation == operation) return row;
  }
  throw std::out_of_range("nothing is recorded of " + std::string(operation));
}

template <class V, class F>
void expect_digest(std::string_view operation, F&& vector_operation) {
  using T = typename V::value_type;
  const Digests& want = recorded_of(operation);
  constexpr bool is_float = sizeof(T) == sizeof(float);
  {
    const std::vector<T> out = results<V>(vector_operation);
    EXPECT_EQ(digest<T>(out, false), is_float ? want.floats : want.doubles) << operation;
  }
  const FlushSubnormals mode;
  const std::vector<T> out = results<V>(vector_operation);
  EXPECT_EQ(digest<T>(out, true), is_float ? want.flushed_floats : want.flushed_doubles)
      << operation << " without subnormals";
}

TYPED_TEST(Simd, SameBitsOnEveryTarget) {
  using V = TypeParam;
  expect_digest<V>("a + b", [](V a, V b, V) { return a + b; });
  expect_digest<V>("a - b", [](V a, V b, V) { return a - b; });
  expect_digest<V>("a * b", [](V a, V b, V) { return a * b; });
  expect_digest<V>("a / b", [](V a, V b, V) { return a / b; });
  expect_digest<V>("sqrt", [](V a, V, V) { return sqrt(a); });
  if (fuses<V>) {
    expect_digest<V>("fma", [](V a, V b, V c) { return fma(a, b, c); });
  }
  expect_digest<V>("min", [](V a, V b, V) { return min(a, b); });
  expect_digest<V>("max", [](V a, V b, V) { return max(a, b); });
  expect_digest<V>("abs", [](V a, V, V) { return abs(a); });
  expect_digest<V>("copysign", [](V a, V b, V) { return copysign(a, b); });
  expect_digest<V>("keep", [](V a, V b, V c) { return keep(not_equal(a, b), c); });
}

#if defined(__unix__) || defined(__APPLE__)

// A readable and writable page between two that may not be touched.
class GuardedPage {
 public:
  GuardedPage()
      : size_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))),
        memory_(mmap(nullptr, 3 * size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED || mprotect(begin(), size_, PROT_READ | PROT_WRITE) != 0) {
      throw std::bad_alloc();
    }
  }
  ~GuardedPage() { munmap(memory_, 3 * size_); }
  GuardedPage(const GuardedPage&) = delete;
  GuardedPage& operator=(const GuardedPage&) = delete;

  std::byte* begin() const { return static_cast<std::byte*>(memory_) + size_; }
  std::byte* end() const { return begin() + size_; }

 private:
  const std::size_t size_;
  void* const memory_;
};

TYPED_TEST(Simd, PartialLoadsAndStoresStayInside) {
  using V = TypeParam;
  using T = typename V::value_type;
  const GuardedPage page;
  std::array<T, V::lanes> values{};
  for (std::size_t i = 0; i < V::lanes; ++i) values[i] = T(i + 1);
  const V all = V::load(values.data());
  for (std::size_t n = 0; n < V::lanes; ++n) {
    T* const last = reinterpret_cast<T*>(page.end()) - n;  // the page behind is out of bounds
    T* const first = reinterpret_cast<T*>(page.begin());   // and so is the page in front
    for (T* const p : {last, first}) {
      std::memset(page.begin(), 0x5a, static_cast<std::size_t>(page.end() - page.begin()));
      all.store_partial(p, n);
      for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(p[i], values[i]);
      for (const std::byte* q = page.begin(); q != page.end(); ++q) {
        const bool stored =
            q >= reinterpret_cast<std::byte*>(p) && q < reinterpret_cast<std::byte*>(p + n);
        ASSERT_TRUE(stored || *q == std::byte{0x5a}) << "n = " << n;
      }
      std::array<T, V::lanes> out{};
      V::load_partial(p, n).store(out.data());
      for (std::size_t i = 0; i < V::lanes; ++i) {
        EXPECT_EQ(bits(out[i]), bits(i < n ? values[i] : T(0))) << "n = " << n;
      }
    }
  }
}

TYPED_TEST(Simd, PartialWideningLoadsStayInside) {
  using V = TypeParam;
  if constexpr (std::is_same_v<typename V::value_type, double>) {
    const GuardedPage page;
    for (std::size_t n = 0; n <= V::lanes; ++n) {
      float* const p = reinterpret_cast<float*>(page.end()) - n;
      for (std::size_t i = 0; i < n; ++i) p[i] = 1.0f / static_cast<float>(i + 3);
      std::array<double, V::lanes> out{};
      (n < V::lanes ? V::load_widened_partial(p, n) : V::load_widened(p)).store(out.data());
      for (std::size_t i = 0; i < V::lanes; ++i) {
        EXPECT_EQ(bits(out[i]), bits(i < n ? double(p[i]) : 0.0)) << "n = " << n;
      }
    }
  }
}

#endif

TEST(Target, GivesItsVectorsAndName) {
  namespace native = flatstep::native;
  EXPECT_TRUE((std::is_same_v<native::Target::Vector<float>, native::Vector<float>>));
  EXPECT_TRUE((std::is_same_v<native::Target::Vector<double>, native::Vector<double>>));
  namespace own = flatstep::FLATSTEP_TARGET;
  EXPECT_TRUE((std::is_same_v<own::Target::Vector<float>, own::Vector<float>>));
  EXPECT_EQ(FLATSTEP_TARGET_HEADER, "flatstep/simd/" + std::string(own::Target::name) + ".hpp");
  EXPECT_EQ(flatstep::emulated::Target::Vector<float>::lanes, 16u);
  EXPECT_EQ(flatstep::emulated::Target::name, std::string_view("emulated"));
}

#if defined(__x86_64__) || defined(_M_X64) || defined(__aarch64__)

double half_of_smallest_normal() {
  return scalar([](double a, double b, double) { return a * b; },
                std::numeric_limits<double>::min(), 0.5);
}

double twice_a_subnormal() {
  return scalar([](double a, double b, double) { return a * b; },
                std::numeric_limits<double>::min() / 2, 2.0);
}

TEST(FlushSubnormals, HoldsWhileItLives) {
  const double half = std::numeric_limits<double>::min() / 2;
  const auto subnormals_count = [&] {
    return half_of_smallest_normal() == half && twice_a_subnormal() != 0;
  };
  const auto subnormals_are_zero = [&] {
    return bits(half_of_smallest_normal()) == 0 && bits(twice_a_subnormal()) == 0;
  };
  EXPECT_TRUE(subnormals_count());
  {
    const FlushSubnormals outer;
    EXPECT_TRUE(subnormals_are_zero());
    {
      const FlushSubnormals inner;
      EXPECT_TRUE(subnormals_are_zero());
    }
    EXPECT_TRUE(subnormals_are_zero());
  }
  EXPECT_TRUE(subnormals_count());
}

TEST(FlushSubnormals, IsTheThreadsOwn) {
  std::latch set(1);
  double in_other_thread = 0;
  std::thread other([&] {
    set.wait();
    in_other_thread = half_of_smallest_normal();
  });
  {
    const FlushSubnormals mode;
    set.count_down();
    other.join();
    EXPECT_EQ(bits(half_of_smallest_normal()), 0u);
  }
  EXPECT_EQ(bits(in_other_thread), bits(std::numeric_limits<double>::min() / 2));
}

#endif

#if defined(__x86_64__)

TEST(FlushSubnormals, RestoresTheWholeMode) {
  const unsigned found = _mm_getcsr();
  for (const unsigned rounding : {0x0000u, 0x2000u, 0x4000u, 0x6000u}) {
    for (const unsigned flush : {0x0000u, 0x0040u, 0x8000u, 0x8040u}) {
      const unsigned caller = 0x1f80u | rounding | flush;
      _mm_setcsr(caller);
      unsigned inside = 0;
      {
        const FlushSubnormals mode;
        inside = _mm_getcsr();
      }
      const unsigned after = _mm_getcsr();
      _mm_setcsr(found);
      EXPECT_EQ(inside, (caller & ~0x6000u) | 0x8040u);
      EXPECT_EQ(after, caller);
    }
  }
}

#endif

}  // namespace
