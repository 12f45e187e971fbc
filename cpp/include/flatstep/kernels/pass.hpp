// pass: the fused pass over gradient, parameters and state, the heart of every step.
//
//   g'  = clamp(g·pre)                         scale.hpp, clip.hpp
//   g'' = g' + l2_before·p + l1_before·sign(p) regularize.hpp
//   u   = updater(g'', state)                  updaters/; some need p as well
//   u'  = (u + l2_after·p + l1_after·sign(p))·post
//   p  −= u'                                   or u' is written
//
// Inputs and outputs: kernel_table.hpp. What a pass does not do (clamp, read p, apply) is decided
// by its flags, when it is compiled. Both of DL4J's orders are values of the constants. Rounding:
// that of the parts, one for post (none where it is 1), one for p.
#pragma once

#include <flatstep/kernels/clip.hpp>
#include <flatstep/kernels/kernel_table.hpp>
#include <flatstep/kernels/regularize.hpp>
#include <flatstep/kernels/scale.hpp>
#include <flatstep/kernels/transform.hpp>

namespace flatstep {

/// The updater's constants in all lanes.
template <class U, class V>
inline auto broadcast_constants(const typename V::value_type* constants) {
  using Constants = typename U::template Constants<V>;
  if constexpr (__is_empty(Constants)) {
    return Constants{};
  } else {
    struct Array {
      V values[sizeof(Constants) / sizeof(V)];
    } array{};
    std::size_t i = 0;
    for (V& value : array.values) value = V::broadcast(constants[i++]);
    return __builtin_bit_cast(Constants, array);
  }
}

/// Vectors of each stream that a pass loads and stores together.
inline constexpr std::size_t vectors_per_group = 4;

/// Where two state arrays begin at the same place of a page, as those of a parameter of 2^26
/// elements do, some processors' level-1 caches keep only one line of the two, and their own
/// prefetching of one drives out the other. Asking for the later arrays this many bytes ahead makes
/// up for most of it.
inline constexpr std::size_t page_bytes = 4096;
inline constexpr std::size_t cache_line_bytes = 64;
inline constexpr std::size_t prefetch_bytes = 1024 + cache_line_bytes;

/// Asks for as many bytes as these, some way behind them.
template <std::size_t bytes>
[[gnu::always_inline]] inline void prefetch_ahead(const void* from) {
  const char* const begin = static_cast<const char*>(from) + prefetch_bytes;
#pragma GCC unroll 4
  for (std::size_t b = 0; b < bytes; b += cache_line_bytes) __builtin_prefetch(begin + b);
}

/// Whether a pass loads the parameter.
template <class U, unsigned flags>
inline constexpr bool loads_parameter =
    (flags & (pass_applies | pass_regularizes)) != 0 || reads_parameter<U>;

/// What a pass computes of vectors, whatever way they come and go.
template <class V, class U, unsigned flags>
class Formula {
 public:
  using T = typename V::value_type;

  explicit Formula(const PassConstants<T>& shared)
      : clamp_(V::broadcast(shared.clamp)),
        before_(shared.l2_before, shared.l1_before),
        after_(shared.l2_after, shared.l1_after),
        post_(V::broadcast(shared.post)),
        constants_(broadcast_constants<U, V>(shared.updater)) {}

  /// g becomes what is written: p − u', or u'.
  /// @tparam scales  whether any factor is not 1
  template <bool scales, std::size_t vectors>
  void compute(V pre0, V pre1, V (&g)[vectors], const V (&p)[vectors],
               V (&state)[vectors][max_state_arrays]) const {
#pragma GCC unroll 4
    for (std::size_t k = 0; k < vectors; ++k) {
      V x = g[k];
      if constexpr (scales) x = scale(x, pre0, pre1);
      if constexpr ((flags & pass_clamps) != 0) x = clip(x, clamp_);
      if constexpr ((flags & pass_regularizes) != 0) x = before_.add(x, p[k]);
      if constexpr (reads_parameter<U>) {
        x = U::apply(x, p[k], state[k], constants_);
      } else {
        x = U::apply(x, state[k], constants_);
      }
      if constexpr ((flags & pass_regularizes) != 0) x = after_.add(x, p[k]);
      if constexpr (scales) x = x * post_;
      if constexpr ((flags & pass_applies) != 0) x = p[k] - x;
      g[k] = x;
    }
  }

 private:
  V clamp_;
  Regularization<V> before_;
  Regularization<V> after_;
  V post_;
  decltype(broadcast_constants<U, V>(static_cast<const T*>(nullptr))) constants_;
};

template <class V, class U, unsigned flags>
void pass(const Segment<typename V::value_type>* segments, std::size_t count,
          const PassConstants<typename V::value_type>& shared) {
  using T = typename V::value_type;
  const Formula<V, U, flags> formula(shared);

  for (const auto *segment = segments, *end = segments + count; segment != end; ++segment) {
    const auto& s = *segment;
    const V pre0 = V::broadcast(s.pre[0]);
    const V pre1 = V::broadcast(s.pre[1]);
    // Copies: the compiler cannot know that the stores below leave the segment alone.
    const T* const gradient = s.gradient;
    T* const parameter = s.parameter;
    T* const update = s.update;
    T* const arrays[max_state_arrays] = {s.state[0], s.state[1], s.state[2]};
    // A constant: a call of size() in an unoptimised build would be a function that every unit emits.
    constexpr bool keeps_several = U::state_names.size() > 1;
    const bool collides =
        keeps_several && static_cast<std::size_t>(reinterpret_cast<const char*>(arrays[1]) -
                                                  reinterpret_cast<const char*>(arrays[0])) %
                                 page_bytes ==
                             0;

    transform<V, vectors_per_group>(s.size, [=](auto lanes, std::size_t i) {
      constexpr std::size_t vectors = decltype(lanes)::vectors;
      constexpr std::size_t state_arrays = U::state_names.size();
      if constexpr (vectors > 1 && state_arrays > 1) {
        if (collides) {
#pragma GCC unroll 2
          for (std::size_t a = 1; a < state_arrays; ++a) {
            prefetch_ahead<vectors * sizeof(V)>(arrays[a] + i);
          }
        }
      }
      V g[vectors];
      V p[vectors];
      V state[vectors][max_state_arrays];
#pragma GCC unroll 4
      for (std::size_t k = 0; k < vectors; ++k) g[k] = lanes.load(gradient + i, k);
      if constexpr (loads_parameter<U, flags>) {
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) p[k] = lanes.load(parameter + i, k);
      }
#pragma GCC unroll 3
      for (std::size_t a = 0; a < state_arrays; ++a) {
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) state[k][a] = lanes.load(arrays[a] + i, k);
      }
      formula.template compute<true>(pre0, pre1, g, p, state);
      // Backwards: of two arrays that collide, the cache holds the one that was loaded last.
#pragma GCC unroll 3
      for (std::size_t a = 0; a < state_arrays; ++a) {
        const std::size_t last = state_arrays - 1 - a;
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) lanes.store(state[k][last], arrays[last] + i, k);
      }
      T* const target = (flags & pass_applies) != 0 ? parameter : update;
#pragma GCC unroll 4
      for (std::size_t k = 0; k < vectors; ++k) lanes.store(g[k], target + i, k);
    });
  }
}

}  // namespace flatstep
