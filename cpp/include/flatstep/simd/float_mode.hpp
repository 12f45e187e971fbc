// FlushSubnormals: inside a step subnormal inputs and results count as zero, on every target, and
// rounding is to nearest.
//
// x86 takes a result for subnormal after rounding it, ARM before: a product or quotient that rounds
// up to the smallest normal number is that number on x86 and zero on ARM. It is the one place where
// the two differ in a bit.
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace flatstep {

// For as long as it lives, the thread treats subnormals as zeros and rounds to nearest; then the mode
// it found is back (on x86 with the exception flags of before, which are in the same register). A few
// cycles where the mode is set already. On machines other than x86-64 and 64-bit ARM it does nothing.
//
// Not for units that are compiled once per target: the linker may keep their copy of it.
class FlushSubnormals {
 public:
  FlushSubnormals() : found_(read()) {
    if (wanted() != found_) write(wanted());
  }
  ~FlushSubnormals() {
    if (wanted() != found_) write(found_);
  }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
#if defined(__x86_64__) || defined(_M_X64)
  using Word = unsigned int;
  static constexpr Word flush = 0x8040;     // MXCSR: flush to zero, denormals are zeros
  static constexpr Word rounding = 0x6000;  // 0 is to nearest
  static Word read() { return _mm_getcsr(); }
  static void write(Word mode) {
    fence();
    _mm_setcsr(mode);
    fence();
  }
#elif defined(__aarch64__)
  using Word = std::uint64_t;
  static constexpr Word flush = Word{1} << 24;     // FPCR.FZ
  static constexpr Word rounding = Word{3} << 22;  // FPCR.RMode: 0 is to nearest
  static Word read() {
    Word mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void write(Word mode) {
    fence();
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
    fence();
  }
#else
  using Word = unsigned int;
  static constexpr Word flush = 0;
  static constexpr Word rounding = 0;
  static Word read() { return 0; }
  static void write(Word) {}
#endif

  Word wanted() const { return (found_ & ~rounding) | flush; }

  // Compilers do not know that arithmetic depends on the mode; they do know not to move its loads
  // and stores across this.
  static void fence() { std::atomic_signal_fence(std::memory_order_seq_cst); }

  const Word found_;
};

}  // namespace flatstep
