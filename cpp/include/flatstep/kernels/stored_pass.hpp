// stored_pass: the fused pass over what is not all kept as numbers: gradients and parameters of
// bfloat16, state in codes.
//
// Group by group, what is in another form is decoded where the plain pass would load it, and goes
// through the same Formula; new state waits in a buffer until its block is through, as only then the
// largest of it is known, and is encoded group by group beside the next block. So memory is read as
// evenly as by the plain pass; but between two groups there is so much more to do that processors
// do not look far enough ahead by themselves, and everything is asked for in advance. Blocks that are
// not whole, or whose scales are out of the ordinary, go through buffers and the plain pass: the
// numbers are the same. Inputs and outputs: kernel_table.hpp. Rounding: that of pass.hpp and storage.hpp.
#pragma once

#include <flatstep/kernels/pass.hpp>
#include <flatstep/kernels/storage.hpp>

#include <type_traits>

namespace flatstep {

namespace detail {

/// The code of one of U's state arrays in a pass over state of that width, 32 being numbers.
template <class U, unsigned width, std::size_t array>
consteval StateCode code_in() {
  if constexpr (width < 32 && array < U::state_names.size()) {
    const StateDescription description = describe_state<U>(array);
    if (description.may_be_coded()) {
      return state_code(width, description.never_negative, description.keeps_maximum);
    }
  }
  return StateCode::none;
}

/// A block's numbers of a state array.
using BlockBuffer = float[code_block];

/// What a stored pass loads and stores together: two vectors, whose elements have Halves together.
inline constexpr std::size_t stored_vectors = 2;
template <class V>
inline constexpr std::size_t stored_group = stored_vectors * V::lanes;

/// Asks for the group that is some way behind this one.
template <class V, class N>
[[gnu::always_inline]] inline void prefetch_group(const N* group) {
  prefetch_ahead<stored_group<V> * sizeof(N)>(group);
}

/// A state array under way, block by block. New numbers whose code has a scale wait in a buffer for
/// one block, as only then the largest is known, and are encoded beside the next block's: in the
/// shadow of its roots and divisions.
template <class V, StateCode code>
class StateUnderWay {
 public:
  using Bits = typename V::Bits;
  using Halves = typename V::Halves;
  using Code = CodeType<code>;
  /// A code, as it is written.
  using Stored = std::conditional_t<bytes_of(code) == 1, std::uint8_t, std::uint16_t>;

  /// @param buffers two
  StateUnderWay(const StoredState& array, std::size_t first, BlockBuffer* buffers)
      : array_(array), first_(first), buffers_(buffers) {}

  bool is_near(std::size_t block) const { return !scaled || array_.scales[block] <= far_scale; }

  void begin(std::size_t block) {
    if constexpr (code == StateCode::none) {
      numbers_ = array_.numbers + block * code_block;
    } else {
      codes_ = codes(block);
    }
    if constexpr (code == StateCode::signed_16) start_ = start_of(block);
    if constexpr (scaled) {
      const float scale = array_.scales[block];
      scale_ = V::broadcast(Code::scale_arguments == 1 ? scale * up : scale);
      if constexpr (Code::scale_arguments == 2) {
        minus_offset_ = V::broadcast(-Code::offset * scale);
      }
      largest_ = Bits::broadcast(0);
      numbers_ = buffers_[block % 2];
    }
  }

  /// Of the group from the block's i-th element on.
  void prefetch(std::size_t i) const {
    if constexpr (code == StateCode::none) {
      prefetch_group<V>(numbers_ + i);
    } else {
      prefetch_group<V>(reinterpret_cast<const Stored*>(codes_) + i);
    }
  }

  /// The vector from the block's i-th element on.
  V load(std::size_t i) const {
    if constexpr (code == StateCode::none) {
      return V::load(numbers_ + i);
    } else if constexpr (code == StateCode::signed_16) {
      return V::of_bits(Bits::load_upper(reinterpret_cast<const std::uint16_t*>(codes_) + i));
    } else {
      const Bits stored = Bits::load(reinterpret_cast<const typename Code::Stored*>(codes_) + i);
      if constexpr (Code::scale_arguments == 1) {
        return Code::template number_of<V>(stored, scale_);
      } else {
        return Code::template number_of<V>(stored, scale_, minus_offset_);
      }
    }
  }

  /// A group's new numbers.
  void keep(V x, V y, std::size_t i) {
    if constexpr (code == StateCode::signed_16) {
      Halves::upper_of(Code::rounded(x, numbers_at(i)), Code::rounded(y, numbers_at(i + V::lanes)))
          .store(reinterpret_cast<Stored*>(codes_) + i);
    } else {
      x.store(numbers_ + i);
      y.store(numbers_ + i + V::lanes);
      if constexpr (scaled) {
        largest_ = max(largest_, max(Code::magnitude_of(x), Code::magnitude_of(y)));
      }
    }
  }

  /// The same group of the block before.
  void encode(std::size_t i) const {
    if constexpr (scaled) {
      if (waiting_codes_ == nullptr) return;
      const Bits first = sum_at(i);
      const Bits second = sum_at(i + V::lanes);
      Stored* const to = reinterpret_cast<Stored*>(waiting_codes_) + i;
      if constexpr (sizeof(Stored) == 1) {
        Code::template code_in<16>(Halves::upper_of(first, second)).store(to);
      } else {
        Halves::lower_of(Code::code_in(first), Code::code_in(second)).store(to);
      }
    }
  }

  /// A block is through.
  void finish(std::size_t block) {
    if constexpr (scaled) {
      const BlockScale found = Scaled<V>::scale_of(largest(largest_), Code::top, Code::far);
      if (found.is_far) {
        waiting_codes_ = nullptr;
        return Code::template encode<V>(numbers_, codes_, array_.scales + block, code_block,
                                        array_.dither, first_ + block);
      }
      array_.scales[block] = found.scale;
      factor_ = V::broadcast(Code::scale_arguments == 1 ? found.inverse * down : found.inverse);
      start_ = start_of(block);
      waiting_ = numbers_;
      waiting_codes_ = codes_;
    }
  }

  /// Nothing waits any longer.
  void flush() {
    if constexpr (!scaled) return;
#pragma GCC unroll 1
    for (std::size_t i = 0; i < code_block; i += stored_group<V>) encode(i);
    waiting_codes_ = nullptr;
  }

 private:
  static constexpr bool scaled = Code::scale_arguments > 0;

  std::byte* codes(std::size_t block) const {
    return array_.codes + block * code_block * bytes_of(code);
  }
  Bits start_of(std::size_t block) const {
    return Code::template Numbers<V>::start_of(array_.dither.of_block(first_ + block));
  }
  Bits numbers_at(std::size_t i) const { return Code::template Numbers<V>::at(start_, i); }
  Bits sum_at(std::size_t i) const {
    return Code::sum_of(V::load(waiting_ + i), factor_, numbers_at(i));
  }

  const StoredState& array_;
  std::size_t first_;
  BlockBuffer* buffers_;
  // Of the block under way.
  float* numbers_ = nullptr;
  std::byte* codes_ = nullptr;
  V scale_ = V::zero();
  V minus_offset_ = V::zero();
  Bits largest_ = Bits::broadcast(0);
  // Of the one that waits, if one does.
  const float* waiting_ = nullptr;
  std::byte* waiting_codes_ = nullptr;
  V factor_ = V::zero();
  Bits start_ = Bits::broadcast(0);  ///< bfloat16's, which does not wait: of the one under way
};

/// Those of an updater, whose state has that many bits.
template <class V, class U, unsigned width>
class StatesUnderWay {
 public:
  StatesUnderWay(const StoredSegment& s, BlockBuffer (&buffers)[max_state_arrays][2])
      : first_(s.state[0], s.block, buffers[0]),
        second_(s.state[1], s.block, buffers[1]),
        third_(s.state[2], s.block, buffers[2]) {}

  /// use(state, number) for each.
  template <class Use>
  [[gnu::always_inline]] void each(Use&& use) {
    if constexpr (arrays > 0) use(first_, 0);
    if constexpr (arrays > 1) use(second_, 1);
    if constexpr (arrays > 2) use(third_, 2);
  }

  /// Whether the segment's state is of this kind.
  static bool are_of(const StoredSegment& s) {
    return (arrays < 1 || s.state[0].code == code_in<U, width, 0>()) &&
           (arrays < 2 || s.state[1].code == code_in<U, width, 1>()) &&
           (arrays < 3 || s.state[2].code == code_in<U, width, 2>());
  }

 private:
  static constexpr std::size_t arrays = U::state_names.size();
  StateUnderWay<V, code_in<U, width, 0>()> first_;
  StateUnderWay<V, code_in<U, width, 1>()> second_;
  StateUnderWay<V, code_in<U, width, 2>()> third_;
};

/// A block that is not whole, or has a far scale.
template <class V>
[[gnu::noinline]] void pass_in_buffers(const StoredSegment& s, const PassConstants<float>& shared,
                                       Pass<float> pass, std::size_t arrays, std::size_t block) {
  alignas(64) float gradient[code_block];
  alignas(64) float parameter[code_block];
  alignas(64) float numbers[max_state_arrays][code_block];
  const std::size_t begin = block * code_block;
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
  const auto kernels_of = [](const StoredState& array) -> const CodeKernels& {
    return code_kernels<V>[static_cast<std::size_t>(array.code)];
  };
  const auto codes_of = [=](const StoredState& array) {
    return array.codes + begin * bytes_of(array.code);
  };
  const auto scales_of = [=](const StoredState& array) {
    return has_scales(array.code) ? array.scales + block : nullptr;
  };
  for (std::size_t a = 0; a < arrays; ++a) {
    const StoredState& array = s.state[a];
    if (array.code == StateCode::none) {
      part.state[a] = array.numbers + begin;
    } else {
      part.state[a] = numbers[a];
      kernels_of(array).decode(codes_of(array), scales_of(array), numbers[a], size);
    }
  }
  pass(&part, 1, shared);
  if (s.upper != nullptr) split<V>(parameter, s.upper + begin, s.lower + begin, size);
  for (std::size_t a = 0; a < arrays; ++a) {
    const StoredState& array = s.state[a];
    if (array.code == StateCode::none) continue;
    kernels_of(array).encode(numbers[a], codes_of(array), scales_of(array), size, array.dither,
                             s.block + block);
  }
}

/// @tparam unit  whether every factor is 1
template <class V, class U, unsigned flags, unsigned width, bool unit>
void stored_pass(const StoredSegment& s, const PassConstants<float>& shared) {
  constexpr std::size_t vectors = stored_vectors;
  constexpr std::size_t group = stored_group<V>;
  static_assert(code_block % group == 0 && (flags & pass_applies) != 0);
  constexpr std::size_t arrays = U::state_names.size();
  const Formula<V, U, flags> formula(shared);
  const V pre0 = V::broadcast(s.pre[0]);
  const V pre1 = V::broadcast(s.pre[1]);
  alignas(64) BlockBuffer buffers[max_state_arrays][2];
  StatesUnderWay<V, U, width> states(s, buffers);

  for (std::size_t begin = 0, block = 0; begin < s.size; begin += code_block, ++block) {
    bool is_usual = s.size - begin >= code_block;
    states.each([&](auto& of, std::size_t) { is_usual = is_usual && of.is_near(block); });
    if (!is_usual) {
      states.each([&](auto& of, std::size_t) { of.flush(); });
      pass_in_buffers<V>(s, shared, &pass<V, U, flags>, arrays, block);
      continue;
    }
    states.each([&](auto& of, std::size_t) { of.begin(block); });
    for (std::size_t i = 0; i < code_block; i += group) {
      V g[vectors];
      V p[vectors];
      V state[vectors][max_state_arrays];
      const std::size_t at = begin + i;
      if (s.narrow_gradient == nullptr) {
        prefetch_group<V>(s.gradient + at);
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) g[k] = V::load(s.gradient + at + k * V::lanes);
      } else {
        prefetch_group<V>(s.narrow_gradient + at);
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) {
          g[k] = V::of_bits(V::Bits::load_upper(s.narrow_gradient + at + k * V::lanes));
        }
      }
      if (s.upper == nullptr) {
        prefetch_group<V>(s.parameter + at);
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) p[k] = V::load(s.parameter + at + k * V::lanes);
      } else {
        prefetch_group<V>(s.upper + at);
        prefetch_group<V>(s.lower + at);
        join_two(s.upper + at, s.lower + at, p);
      }
      states.each([&](auto& of, std::size_t) { of.prefetch(i); });
      states.each([&](auto& of, std::size_t a) {
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) state[k][a] = of.load(i + k * V::lanes);
      });
      formula.template compute<!unit>(pre0, pre1, g, p, state);
      states.each([&](auto& of, std::size_t a) { of.keep(state[0][a], state[1][a], i); });
      if (s.upper == nullptr) {
#pragma GCC unroll 4
        for (std::size_t k = 0; k < vectors; ++k) g[k].store(s.parameter + at + k * V::lanes);
      } else {
        split_two(g, s.upper + at, s.lower + at);
      }
      states.each([&](auto& of, std::size_t) { of.encode(i); });
    }
    states.each([&](auto& of, std::size_t) { of.finish(block); });
  }
  states.each([&](auto& of, std::size_t) { of.flush(); });
}

}  // namespace detail

template <class V, class U, unsigned flags>
void stored_pass(const StoredSegment& s, const PassConstants<float>& shared) {
  const bool unit = s.pre[0] == 1 && s.pre[1] == 1 && shared.post == 1;
  const auto go = [&]<unsigned width>(detail::Constant<width>) {
    if constexpr (width < 32 && (flags & pass_regularizes) == 0) {
      if (unit) return detail::stored_pass<V, U, flags, width, true>(s, shared);
    }
    detail::stored_pass<V, U, flags, width, false>(s, shared);
  };
  if constexpr (U::state_names.size() == 0) {
    go(detail::Constant<32u>{});
  } else {
    if (detail::StatesUnderWay<V, U, 32>::are_of(s)) return go(detail::Constant<32u>{});
    if (detail::StatesUnderWay<V, U, 16>::are_of(s)) return go(detail::Constant<16u>{});
    // Arrays of a slot are all of the width that its storage says: layout.hpp.
    go(detail::Constant<8u>{});
  }
}

}  // namespace flatstep
