// What the engine calls: one table of kernels per instruction set and element type.
//
// Nothing here depends on an instruction set. The tables are made by make_kernel_table.hpp.
#pragma once

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error \
    "flatstep: -ffast-math and -ffinite-math-only take NaN and infinity out of the comparisons \
that look for them; compile without"
#endif

#include <cfloat>

#if FLT_EVAL_METHOD != 0
#error \
    "flatstep: expected arithmetic in the type of its operands (FLT_EVAL_METHOD 0); on 32-bit x86 \
compile with -msse2 -mfpmath=sse"
#endif

#include <flatstep/kernels/storage_kernels.hpp>
#include <flatstep/updaters/updaters.hpp>

#include <cstddef>

namespace flatstep {

/// Norms are summed over chunks of this many elements, counted from the start of each slot,
/// whatever the number of threads; it is also the grain in which threads share work.
inline constexpr std::size_t chunk_size = 16384;

/// sum·2^(2·exponent): a sum of squares that neither overflows nor vanishes.
struct ScaledSum {
  double sum;
  int exponent;
};

/// One stretch of memory in a fused pass.
template <class T>
struct Segment {
  const T* gradient;
  T* parameter;  ///< read where the pass regularises or its updater asks, written where it applies
  T* update;     ///< written where the pass does not apply; may be `gradient`'s memory
  T* state[max_state_arrays];  ///< read and written
  std::size_t size;
  T pre[2];  ///< two factors of the gradient: normalisation and division by the batch
};

/// What all segments of a pass share.
template <class T>
struct PassConstants {
  T clamp;      ///< g' = clamp(g·pre, −clamp, clamp)
  T l2_before;  ///< g'' = g' + l2_before·p + l1_before·sign(p)
  T l1_before;
  T l2_after;  ///< u' = (u + l2_after·p + l1_after·sign(p))·post
  T l1_after;
  T post;
  T updater[max_constants];
};

/// Flags of a pass; a kernel exists for every combination.
inline constexpr unsigned pass_applies = 1;      ///< p −= u', else u' is written
inline constexpr unsigned pass_regularizes = 2;  ///< reads p
inline constexpr unsigned pass_clamps = 4;
inline constexpr unsigned pass_kinds = 8;

template <class T>
using Pass = void (*)(const Segment<T>* segments, std::size_t count, const PassConstants<T>&);

/// A state array of a stored pass, from the beginning of a block on: numbers, or codes.
struct StoredState {
  StateCode code = StateCode::none;
  float* numbers = nullptr;
  std::byte* codes = nullptr;
  float* scales = nullptr;
  Dither dither{};
};

/// One stretch of memory in a pass that applies, of which something is not kept as numbers: null where
/// it is in another form. It starts with a block.
struct StoredSegment {
  const float* gradient = nullptr;
  const std::uint16_t* narrow_gradient = nullptr;  ///< of bfloat16
  float* parameter = nullptr;
  std::uint16_t* upper = nullptr;  ///< a parameter that is split
  std::uint16_t* lower = nullptr;
  StoredState state[max_state_arrays]{};
  std::size_t size = 0;
  float pre[2] = {1, 1};
  std::size_t block = 0;  ///< the number of the first one among the slot's
};

using StoredPass = void (*)(const StoredSegment& segment, const PassConstants<float>&);

/// The kernels of one updater.
template <class T>
struct KernelRow {
  Pass<T> passes[pass_kinds];
};
template <>
struct KernelRow<float> {
  Pass<float> passes[pass_kinds];
  /// That apply and do not clamp, without and with regularisation; null for targets without their own.
  StoredPass stored[2];
};

template <class... U>
constexpr std::size_t count_updaters(UpdaterList<U...>) {
  return sizeof...(U);
}

template <class T>
struct KernelTable {
  KernelRow<T> updaters[count_updaters(Updaters{})];
  /// Of at most chunk_size elements.
  ScaledSum (*sum_of_squares)(const T* x, std::size_t size);
  bool (*all_finite)(const T* x, std::size_t size);
  /// Of at most chunk_size elements.
  std::size_t (*count_clipped)(const T* gradient, std::size_t size, const T (&pre)[2], T threshold);
  /// p −= u.
  void (*subtract)(T* p, const T* u, std::size_t size);
  /// a = decay·a + (1−decay)·p.
  void (*average)(T* a, const T* p, std::size_t size, T decay, T one_minus_decay);
  /// sum += x.
  void (*accumulate)(T* sum, const T* x, std::size_t size);
  ElementKernels<T> elements;
  StorageKernels<T> storage;
};

}  // namespace flatstep
