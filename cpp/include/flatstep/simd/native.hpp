// The target that the including unit is compiled for, as the namespace `flatstep::native`.
//
// Units compiled with different flags may meet in one program. What depends on the target therefore
// lives in an inline namespace of its own name, and only there is `native` to be used:
//   namespace flatstep::inline FLATSTEP_NATIVE_NAMESPACE { ... native::Vector<float> ... }
#pragma once

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__) && \
    defined(__AVX512VL__) && defined(__FMA__)
#include <flatstep/simd/avx512.hpp>
#define FLATSTEP_NATIVE_NAMESPACE on_avx512
namespace flatstep {
namespace native = avx512;
}
#elif defined(__AVX2__) && defined(__FMA__)
#include <flatstep/simd/avx2.hpp>
#define FLATSTEP_NATIVE_NAMESPACE on_avx2
namespace flatstep {
namespace native = avx2;
}
#elif defined(__aarch64__) || defined(_M_ARM64)
#include <flatstep/simd/neon.hpp>
#define FLATSTEP_NATIVE_NAMESPACE on_neon
namespace flatstep {
namespace native = neon;
}
#elif defined(__x86_64__) || defined(_M_X64)
#include <flatstep/simd/sse2.hpp>
#define FLATSTEP_NATIVE_NAMESPACE on_sse2
namespace flatstep {
namespace native = sse2;
}
#else
#include <flatstep/simd/emulated.hpp>
#define FLATSTEP_NATIVE_NAMESPACE on_emulated
namespace flatstep {
namespace native = emulated;
}
#endif
