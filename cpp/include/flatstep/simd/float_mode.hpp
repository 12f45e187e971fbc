// FlushSubnormals: inside a step subnormal inputs and results count as zero, on every target,
// rounding is to nearest and no exception traps.
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

// For as long as it lives, the thread treats subnormals as zeros, rounds to nearest and traps nothing
// (a caller may have made exceptions trap, and padding lanes divide 0 by 0); then the mode it found
// is back (on x86 with the exception flags of before, which are in the same register). A few cycles
// where the mode is set already. On machines other than x86-64 and 64-bit ARM it does nothing.
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

  // While it lives the thread has the mode that was found: for the caller's own code, called from
  // within. What that changes of the mode does not outlive it.
  class Suspended {
   public:
    explicit Suspended(const FlushSubnormals& within) : flush_(within) {
      if (flush_.wanted() != flush_.found_) write(flush_.found_);
    }
    ~Suspended() { write(flush_.wanted()); }
    Suspended(const Suspended&) = delete;
    Suspended& operator=(const Suspended&) = delete;

   private:
    const FlushSubnormals& flush_;
  };

 private:
#if defined(__x86_64__) || defined(_M_X64)
  using Word = unsigned int;
  static constexpr Word flush = 0x8040;     // MXCSR: flush to zero, denormals are zeros
  static constexpr Word rounding = 0x6000;  // 0 is to nearest
  static constexpr Word masked = 0x1f80;    // exceptions that do not trap
  static constexpr Word trapping = 0;
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
  static constexpr Word masked = 0;
  static constexpr Word trapping = 0x9f00;  // FPCR.IDE, IXE, UFE, OFE, DZE, IOE
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
  static constexpr Word masked = 0;
  static constexpr Word trapping = 0;
  static Word read() { return 0; }
  static void write(Word) {}
#endif

  Word wanted() const { return (found_ & ~(rounding | trapping)) | flush | masked; }

  // Compilers do not know that arithmetic depends on the mode; they do know not to move its loads
  // and stores across this.
  static void fence() { std::atomic_signal_fence(std::memory_order_seq_cst); }

  const Word found_;
};

}  // namespace flatstep
