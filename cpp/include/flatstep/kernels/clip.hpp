// clip: clamp(g, −threshold, threshold), the strategy ClipElementWiseAbsoluteValue.
//
// Inputs: g, threshold ≥ 0. Output: g where |g| ≤ threshold, else ±threshold. NaN passes.
// Rounding: none.
// Source: DL4J's documentation has sign(g)·max(threshold, |g|), a slip for min; its code clamps.
// Mikolov 2012, http://www.fit.vutbr.cz/~imikolov/rnnlm/thesis.pdf.
#pragma once

namespace flatstep {

template <class V>
inline V clip(V g, V threshold) {
  // min and max return their second argument where one is NaN.
  return max(V::zero() - threshold, min(threshold, g));
}

}  // namespace flatstep
