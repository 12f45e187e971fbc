// Regularisation: + l2·p + l1·sign(p), before the updater or after it.
//
// Inputs: x (gradient or update), parameters p, coefficients. sign(0) = 0. A term whose coefficient
// is 0 is left out altogether: 0·∞ must not make NaN. Rounding: l2·p + x one (fused), + l1·sign(p)
// one. Source: DL4J's L1Regularization, L2Regularization and WeightDecay (whose coefficient, times
// the learning rate where it applies the rate, is l2 after the updater); Loshchilov and Hutter
// 2019, https://arxiv.org/abs/1711.05101.
#pragma once

namespace flatstep {

/// The coefficients in one place of the order, ready for the loop.
template <class V>
struct Regularization {
  V l2;
  V l1;
  typename V::Mask has_l2;

  Regularization(typename V::value_type l2_coefficient, typename V::value_type l1_coefficient)
      : l2(V::broadcast(l2_coefficient)),
        l1(V::broadcast(l1_coefficient)),
        has_l2(V::all(l2_coefficient != 0)) {}

  V add(V x, V p) const {
    const V decayed = fma(l2, keep(has_l2, p), x);
    return decayed + keep(not_equal(p, V::zero()), copysign(l1, p));
  }
};

}  // namespace flatstep
