// pass: the fused pass over gradient, parameters and state, the heart of every step.
//
//   g'  = clamp(g·pre)                         scale.hpp, clip.hpp
//   g'' = g' + l2_before·p + l1_before·sign(p) regularization.hpp
//   u   = updater(g'', state)                  updaters/
//   u'  = (u + l2_after·p + l1_after·sign(p))·post
//   p  −= u'                                   or u' is written
//
// Inputs and outputs: kernel_table.hpp. What a pass does not do (clamp, read p, apply) is decided
// by its flags, when it is compiled. Both of DL4J's orders are values of the constants. Rounding:
// that of the parts, one for post (none where it is 1), one for p.
#pragma once

#include <flatstep/kernels/clip.hpp>
#include <flatstep/kernels/kernel_table.hpp>
#include <flatstep/kernels/scale.hpp>
#include <flatstep/kernels/transform.hpp>
#include <flatstep/regularization.hpp>

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
    } array;
    std::size_t i = 0;
    for (V& value : array.values) value = V::broadcast(constants[i++]);
    return __builtin_bit_cast(Constants, array);
  }
}

template <class V, class U, unsigned flags>
void pass(const Segment<typename V::value_type>* segments, std::size_t count,
          const PassConstants<typename V::value_type>& k) {
  const V clamp = V::broadcast(k.clamp);
  const Regularization<V> before(k.l2_before, k.l1_before);
  const Regularization<V> after(k.l2_after, k.l1_after);
  const V post = V::broadcast(k.post);
  const auto constants = broadcast_constants<U, V>(k.updater);

  for (const auto *segment = segments, *end = segments + count; segment != end; ++segment) {
    const auto& s = *segment;
    const V pre0 = V::broadcast(s.pre[0]);
    const V pre1 = V::broadcast(s.pre[1]);

    transform<V>(s.size, [&](auto lanes, std::size_t i) {
      V g = scale(lanes.load(s.gradient + i), pre0, pre1);
      if constexpr ((flags & pass_clamps) != 0) g = clip(g, clamp);

      V p = V::zero();
      if constexpr ((flags & (pass_applies | pass_regularizes)) != 0) {
        p = lanes.load(s.parameter + i);
      }
      if constexpr ((flags & pass_regularizes) != 0) g = before.add(g, p);

      V state[max_state_arrays];
      for (std::size_t a = 0; a < U::state_names.size(); ++a) state[a] = lanes.load(s.state[a] + i);
      V u = U::apply(g, state, constants);
      for (std::size_t a = 0; a < U::state_names.size(); ++a) {
        lanes.store(state[a], s.state[a] + i);
      }

      if constexpr ((flags & pass_regularizes) != 0) u = after.add(u, p);
      u = u * post;
      if constexpr ((flags & pass_applies) != 0) {
        lanes.store(p - u, s.parameter + i);
      } else {
        lanes.store(u, s.update + i);
      }
    });
  }
}

}  // namespace flatstep
