// The loops behind the limits, compiled for all that the machine that builds them has.
#include "limit_loops.hpp"

#include <cmath>

namespace flatstep_bench {
namespace {

// Reads g, reads and writes the others. One function for each number of them: of pointers, only
// parameters are taken at their word about __restrict.
void touch(std::size_t n, const Word* __restrict g, Word* __restrict a) {
  for (std::size_t i = 0; i < n; ++i) a[i] ^= g[i];
}
void touch(std::size_t n, const Word* __restrict g, Word* __restrict a, Word* __restrict b) {
  for (std::size_t i = 0; i < n; ++i) {
    const Word x = g[i];
    a[i] ^= x;
    b[i] ^= x;
  }
}
void touch(std::size_t n, const Word* __restrict g, Word* __restrict a, Word* __restrict b,
           Word* __restrict c) {
  for (std::size_t i = 0; i < n; ++i) {
    const Word x = g[i];
    a[i] ^= x;
    b[i] ^= x;
    c[i] ^= x;
  }
}
void touch(std::size_t n, const Word* __restrict g, Word* __restrict a, Word* __restrict b,
           Word* __restrict c, Word* __restrict d) {
  for (std::size_t i = 0; i < n; ++i) {
    const Word x = g[i];
    a[i] ^= x;
    b[i] ^= x;
    c[i] ^= x;
    d[i] ^= x;
  }
}

}  // namespace

void touch(std::size_t n, const Word* g, Word* const* arrays, std::size_t targets) {
  switch (targets) {
    case 1:
      return touch(n, g, arrays[0]);
    case 2:
      return touch(n, g, arrays[0], arrays[1]);
    case 3:
      return touch(n, g, arrays[0], arrays[1], arrays[2]);
    default:
      return touch(n, g, arrays[0], arrays[1], arrays[2], arrays[3]);
  }
}

Word read(std::size_t n, const Word* __restrict x) {
  Word all = 0;
  for (std::size_t i = 0; i < n; ++i) all ^= x[i];
  return all;
}

void roots_and_divisions(std::size_t n, float* __restrict p, const float* __restrict g,
                         float* __restrict m, float* __restrict v) {
  for (std::size_t i = 0; i < n; ++i) {
    const float m_next = m[i] + g[i];
    const float v_next = v[i] + g[i];
    m[i] = m_next;
    v[i] = v_next;
    p[i] -= m_next / std::sqrt(v_next);
  }
}

}  // namespace flatstep_bench
