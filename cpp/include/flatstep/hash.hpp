// Hash: of numbers, for what is looked up among many others.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace flatstep {

class Hash {
 public:
  template <std::integral X>
  Hash& add(X number) {
    // The step of splitmix64.
    bits_ += static_cast<std::uint64_t>(number) + 0x9e3779b97f4a7c15;
    bits_ = (bits_ ^ (bits_ >> 30)) * 0xbf58476d1ce4e5b9;
    bits_ = (bits_ ^ (bits_ >> 27)) * 0x94d049bb133111eb;
    bits_ ^= bits_ >> 31;
    return *this;
  }
  /// 0 and -0 are the same.
  Hash& add(double number) { return add(std::bit_cast<std::uint64_t>(number + 0.0)); }
  std::size_t get() const { return static_cast<std::size_t>(bits_); }

 private:
  std::uint64_t bits_ = 0;
};

}  // namespace flatstep
