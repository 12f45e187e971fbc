// The loops behind the limits: the bytes of a step, or its bytes, roots and divisions, and nothing
// else. For the Python module (limit.cpp) and for the microbenchmarks (kernels.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

namespace flatstep_bench {

using Word = std::uint64_t;

/// Reads g, reads and writes the first `targets` of four arrays; 1 to 4.
void touch(std::size_t n, const Word* g, Word* const* arrays, std::size_t targets);

/// Reads only.
Word read(std::size_t n, const Word* x);

/// An Adam step's bytes, root and division. The additions keep g in the work and, g being positive,
/// all values finite and normal.
void roots_and_divisions(std::size_t n, float* p, const float* g, float* m, float* v);

}  // namespace flatstep_bench
