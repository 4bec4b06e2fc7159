#pragma once

// The intrinsics of vec_avx512.h in those of AVX2, by SIMDe, so that a CPU without AVX-512 can test
// its kernels. Included before everything else by a build with RAPT_EMULATE_AVX512.

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

// Those that SIMDe 0.7.4 does not have.
namespace {

inline simde__m512 emulated_cvtepi32_ps(simde__m512i a) {
  const simde__m512i_private from = simde__m512i_to_private(a);
  simde__m512_private to;
  for (int half = 0; half < 2; ++half) to.m256[half] = _mm256_cvtepi32_ps(from.m256i[half]);
  return simde__m512_from_private(to);
}

template <int kBits>
inline simde__m512i emulated_srai_epi32(simde__m512i a) {
  simde__m512i_private to = simde__m512i_to_private(a);
  for (__m256i& half : to.m256i) half = _mm256_srai_epi32(half, kBits);
  return simde__m512i_from_private(to);
}

}  // namespace

#define _mm512_cvtepi32_ps(a) emulated_cvtepi32_ps(a)
#define _mm512_srai_epi32(a, bits) emulated_srai_epi32<bits>(a)
#define _mm512_extractf32x8_ps(a, half) (simde__m512_to_private(a).m256[half])
