// stored_pass: the fused pass over what is not all kept as numbers: gradients and parameters of
// bfloat16, state in codes.
//
// Group by group, what is in another form is decoded where the plain pass would load it, and goes
// through the same Formula; new state waits in a buffer, and is encoded when its block is through, as
// only then the largest of it is known. So memory is read as evenly as by the plain pass, which
// processors' prefetching needs. Blocks that are not whole, or whose scales are out of the ordinary, go
// through buffers and the plain pass: the numbers are the same. Inputs and outputs: kernel_table.hpp.
// Rounding: that of pass.hpp and storage.hpp.
#pragma once

#include <flatstep/kernels/pass.hpp>
#include <flatstep/kernels/storage.hpp>

namespace flatstep {

namespace detail {

template <class V>
[[gnu::noinline]] inline void decode_state(StateCode code, const void* codes, const float* scales,
                                           float* to, std::size_t size) {
  switch (code) {
    case StateCode::none:
      return;
    case StateCode::signed_16:
      return BFloat16Code::decode<V>(codes, scales, to, size);
    case StateCode::non_negative_16:
      return NonNegative16Code::decode<V>(codes, scales, to, size);
    case StateCode::signed_8:
      return Signed8Code::decode<V>(codes, scales, to, size);
    case StateCode::non_negative_8:
      return NonNegative8Code::decode<V>(codes, scales, to, size);
  }
}

template <class V>
[[gnu::noinline]] inline void encode_state(StateCode code, const float* from, void* codes,
                                           float* scales, std::size_t size, const Dither& dither,
                                           std::size_t block) {
  switch (code) {
    case StateCode::none:
      return;
    case StateCode::signed_16:
      return BFloat16Code::encode<V>(from, codes, scales, size, dither, block);
    case StateCode::non_negative_16:
      return NonNegative16Code::encode<V>(from, codes, scales, size, dither, block);
    case StateCode::signed_8:
      return Signed8Code::encode<V>(from, codes, scales, size, dither, block);
    case StateCode::non_negative_8:
      return NonNegative8Code::encode<V>(from, codes, scales, size, dither, block);
  }
}

/// What codes a state array of U may have.
template <class U, std::size_t array>
constexpr bool is_never_negative() {
  if constexpr (requires { U::never_negative(array); }) {
    return U::never_negative(array);
  } else {
    return false;
  }
}

/// body(code) for what stands for the code, of the two that there are of state of that sign; nothing
/// where there is none.
template <bool never_negative, class Body>
inline void by_code(StateCode code, Body&& body) {
  if (code == StateCode::none) return;
  if constexpr (never_negative) {
    if (code == StateCode::non_negative_16) return body(NonNegative16Code{});
    return body(NonNegative8Code{});
  } else {
    if (code == StateCode::signed_16) return body(BFloat16Code{});
    return body(Signed8Code{});
  }
}

/// A state array under way, block by block.
template <class V, bool never_negative>
class CodedState {
 public:
  using Bits = typename V::Bits;

  CodedState(const StoredState& array, std::size_t first) : array_(array), first_(first) {}

  /// Where a block's new state goes.
  float* numbers(std::size_t block) {
    return array_.code == StateCode::none ? array_.numbers + block * code_block : buffer_;
  }
  bool is_near(std::size_t block) const {
    return !has_scales(array_.code) || array_.scales[block] <= far_scale;
  }

  void begin(std::size_t block) {
    codes_ = codes(block);
    if (!has_scales(array_.code)) return;
    const float scale = array_.scales[block];
    scale_ = V::broadcast(never_negative ? scale * up : scale);
    minus_offset_ = V::broadcast(-Signed8Code::offset * scale);
  }

  template <std::size_t vectors>
  void load(std::size_t block, std::size_t i, V (&state)[vectors][max_state_arrays],
            std::size_t a) const {
    if (array_.code == StateCode::none) {
      const float* const from = array_.numbers + block * code_block + i;
#pragma GCC unroll 4
      for (std::size_t k = 0; k < vectors; ++k) state[k][a] = V::load(from + k * V::lanes);
      return;
    }
    by_code<never_negative>(array_.code, [&]<class Code>(Code) {
      const auto* const from = reinterpret_cast<const typename Code::Stored*>(codes_) + i;
#pragma GCC unroll 4
      for (std::size_t k = 0; k < vectors; ++k) {
        const Bits code = Bits::load(from + k * V::lanes);
        if constexpr (Code::scale_arguments == 0) {
          state[k][a] = Code::template number_of<V>(code);
        } else if constexpr (Code::scale_arguments == 1) {
          state[k][a] = Code::template number_of<V>(code, scale_);
        } else {
          state[k][a] = Code::template number_of<V>(code, scale_, minus_offset_);
        }
      }
    });
  }

  void decode(std::size_t block, std::size_t size) {
    if (array_.code == StateCode::none) return;
    decode_state<V>(array_.code, codes(block), scales(block), buffer_, size);
  }
  void encode(std::size_t block, std::size_t size) {
    if (array_.code == StateCode::none) return;
    encode_state<V>(array_.code, buffer_, codes(block), scales(block), size, array_.dither,
                    first_ + block);
  }

 private:
  std::byte* codes(std::size_t block) const {
    return array_.codes + block * code_block * bytes_of(array_.code);
  }
  float* scales(std::size_t block) const {
    return array_.scales == nullptr ? nullptr : array_.scales + block;
  }

  const StoredState& array_;
  std::size_t first_;
  std::byte* codes_ = nullptr;
  V scale_ = V::zero();
  V minus_offset_ = V::zero();
  alignas(64) float buffer_[code_block];
};

/// Those of an updater.
template <class V, class U>
class CodedStates {
 public:
  explicit CodedStates(const StoredSegment& s)
      : first_(s.state[0], s.block), second_(s.state[1], s.block), third_(s.state[2], s.block) {}

  /// use(state, number) for each.
  template <class Use>
  void each(Use&& use) {
    if constexpr (arrays > 0) use(first_, 0);
    if constexpr (arrays > 1) use(second_, 1);
    if constexpr (arrays > 2) use(third_, 2);
  }

 private:
  static constexpr std::size_t arrays = U::state_names.size();
  CodedState<V, is_never_negative<U, 0>()> first_;
  CodedState<V, is_never_negative<U, 1>()> second_;
  CodedState<V, is_never_negative<U, 2>()> third_;
};

/// A block that is not whole, or has a far scale.
template <class V, class U, unsigned flags>
[[gnu::noinline]] void pass_in_buffers(const StoredSegment& s, const PassConstants<float>& shared,
                                       CodedStates<V, U>& states, std::size_t begin,
                                       std::size_t block) {
  alignas(64) float gradient[code_block];
  alignas(64) float parameter[code_block];
  const std::size_t size = s.size - begin < code_block ? s.size - begin : code_block;
  Segment<float> part{};
  part.size = size;
  part.pre[0] = s.pre[0];
  part.pre[1] = s.pre[1];
  part.gradient = gradient;
  part.parameter = parameter;
  if (s.narrow_gradient == nullptr) {
    part.gradient = s.gradient + begin;
  } else {
    widen_bfloat16<V>(s.narrow_gradient + begin, gradient, size);
  }
  if (s.upper == nullptr) {
    part.parameter = s.parameter + begin;
  } else {
    join<V>(s.upper + begin, s.lower + begin, parameter, size);
  }
  states.each([&](auto& state, std::size_t a) {
    state.decode(block, size);
    part.state[a] = state.numbers(block);
  });
  pass<V, U, flags>(&part, 1, shared);
  if (s.upper != nullptr) split<V>(parameter, s.upper + begin, s.lower + begin, size);
  states.each([&](auto& state, std::size_t) { state.encode(block, size); });
}

}  // namespace detail

template <class V, class U, unsigned flags>
void stored_pass(const StoredSegment& s, const PassConstants<float>& shared) {
  constexpr std::size_t vectors = vectors_per_group;
  constexpr std::size_t group = vectors * V::lanes;
  static_assert(code_block % group == 0 && (flags & pass_applies) != 0);
  const Formula<V, U, flags> formula(shared);
  const V pre0 = V::broadcast(s.pre[0]);
  const V pre1 = V::broadcast(s.pre[1]);
  detail::CodedStates<V, U> states(s);

  for (std::size_t begin = 0, block = 0; begin < s.size; begin += code_block, ++block) {
    bool is_usual = s.size - begin >= code_block;
    states.each([&](auto& of, std::size_t) { is_usual = is_usual && of.is_near(block); });
    if (!is_usual) {
      detail::pass_in_buffers<V, U, flags>(s, shared, states, begin, block);
      continue;
    }
    states.each([&](auto& of, std::size_t) { of.begin(block); });
    for (std::size_t i = 0; i < code_block; i += group) {
      V g[vectors];
      V p[vectors];
      V state[vectors][max_state_arrays];
      const std::size_t at = begin + i;
      if (s.narrow_gradient == nullptr) {
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) g[k] = V::load(s.gradient + at + k * V::lanes);
      } else {
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) {
          g[k] = detail::BFloat16Code::number_of<V>(
              V::Bits::load(s.narrow_gradient + at + k * V::lanes));
        }
      }
      if (s.upper == nullptr) {
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) p[k] = V::load(s.parameter + at + k * V::lanes);
      } else {
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) {
          const auto* const lower = reinterpret_cast<const std::int16_t*>(s.lower);
          p[k] = detail::joined<V>(V::Bits::load(s.upper + at + k * V::lanes),
                                   V::Bits::load(lower + at + k * V::lanes));
        }
      }
      states.each([&](auto& of, std::size_t a) { of.load(block, i, state, a); });
      formula(pre0, pre1, g, p, state);
      states.each([&](auto& of, std::size_t a) {
        float* const to = of.numbers(block) + i;
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) state[k][a].store(to + k * V::lanes);
      });
      if (s.upper == nullptr) {
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) g[k].store(s.parameter + at + k * V::lanes);
      } else {
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) {
          const auto b = bits(g[k]);
          detail::upper_of<V>(b).store(s.upper + at + k * V::lanes);
          b.store(s.lower + at + k * V::lanes);
        }
      }
    }
    states.each([&](auto& of, std::size_t) { of.encode(block, code_block); });
  }
}

}  // namespace flatstep
