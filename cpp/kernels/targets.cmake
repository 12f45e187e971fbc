# The instruction sets, best first: the one list of them. The build, the choice at run time and the
# tests all follow it.
#
# flatstep_target(<name> [FLAGS <flag>...] WHERE <condition>): the kernels on the vectors of
# <flatstep/simd/<name>.hpp>, in the namespace flatstep::<name>.
#   FLAGS  the compiler's, each -m<feature>; the set runs on machines that have all these features
#   WHERE  the compiler's macros, with these flags, that say that it can build the set
flatstep_target(avx512
  FLAGS -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma
  WHERE "__AVX512F__ && __AVX512DQ__ && __AVX512BW__ && __AVX512VL__ && __AVX2__ && __FMA__")
flatstep_target(avx2 FLAGS -mavx2 -mfma WHERE "__AVX2__ && __FMA__")
flatstep_target(neon WHERE "__aarch64__ && __ARM_NEON")
flatstep_target(sse2 WHERE "__x86_64__ || _M_X64")
flatstep_target(emulated WHERE 1)
