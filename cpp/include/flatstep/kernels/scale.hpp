// scale: g·pre, the factor of gradient normalisation and of the division by the batch size.
//
// Inputs: the gradient g, two factors. The product of the factors may lie outside the normal range
// of the type (a threshold of 1e-30 against a norm of 1e30, say); each factor does not, and both
// lie on the same side of 1, so that what comes between is never smaller than the smaller of g and
// the result. Rounding: two; exact where a factor is 1 or a power of two.
#pragma once

namespace flatstep {

template <class V>
inline V scale(V g, V pre0, V pre1) {
  return (g * pre0) * pre1;
}

}  // namespace flatstep
