// Random numbers for tests and fuzzers that no library changes: recorded bits depend on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace flatstep::tests {

/// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed = 0) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    std::uint64_t x = state_;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  /// In [-1, 1), a multiple of 2^-23: exact as float and as double.
  template <class T>
  std::vector<T> values(std::size_t size) {
    std::vector<T> result(size);
    for (T& x : result) {
      x = static_cast<T>(static_cast<std::int32_t>(next() >> 40) - (1 << 23)) /
          static_cast<T>(1 << 23);
    }
    return result;
  }

 private:
  std::uint64_t state_;
};

}  // namespace flatstep::tests
