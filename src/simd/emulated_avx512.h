#pragma once

// The intrinsics of vec_avx512.h in those of AVX2, by SIMDe, so that a CPU without AVX-512 can test
// its kernels. Included before everything else in their objects (tests/emulated).

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

inline simde__m512i emulated_cvtepu16_epi32(__m256i a) {
  simde__m512i_private to;
  to.m256i[0] = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(a));
  to.m256i[1] = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1));
  return simde__m512i_from_private(to);
}

inline simde__m512i emulated_cvtepi8_epi32(__m128i a) {
  simde__m512i_private to;
  to.m256i[0] = _mm256_cvtepi8_epi32(a);
  to.m256i[1] = _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8));
  return simde__m512i_from_private(to);
}

inline __m256i emulated_cvtepi32_epi16(simde__m512i a) {
  const simde__m512i_private from = simde__m512i_to_private(a);
  const __m256i low = _mm256_set1_epi32(0xFFFF);
  const __m256i pairs = _mm256_packus_epi32(_mm256_and_si256(from.m256i[0], low),
                                            _mm256_and_si256(from.m256i[1], low));
  return _mm256_permute4x64_epi64(pairs, 0xD8);
}

inline simde__m512 emulated_cvtph_ps(__m256i a) {
  simde__m512_private to;
  to.m256[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(a));
  to.m256[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1));
  return simde__m512_from_private(to);
}

template <int kRounding>
inline __m256i emulated_cvtps_ph(simde__m512 a) {
  const simde__m512_private from = simde__m512_to_private(a);
  return _mm256_set_m128i(_mm256_cvtps_ph(from.m256[1], kRounding),
                          _mm256_cvtps_ph(from.m256[0], kRounding));
}

// VDPBF16PS: two fma steps, the odd elements first, denormals flushed. Assembly, so that no arithmetic
// moves in or out; SIMDe's own adds the even products first, unfused, with denormals.
inline __m256 emulated_dpbf16(__m256 acc, __m256i a, __m256i b) {
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xFFFF0000u));
  const __m256i odd_a = _mm256_and_si256(a, upper), odd_b = _mm256_and_si256(b, upper);
  const __m256i even_a = _mm256_slli_epi32(a, 16), even_b = _mm256_slli_epi32(b, 16);
  const unsigned saved = _mm_getcsr(), flushing = saved | 0x8040;
  asm volatile(
      "vldmxcsr %5\n\t"
      "vfmadd231ps %1, %2, %0\n\t"
      "vfmadd231ps %3, %4, %0\n\t"
      "vldmxcsr %6"
      : "+&x"(acc)
      : "x"(odd_a), "x"(odd_b), "x"(even_a), "x"(even_b), "m"(flushing), "m"(saved));
  return acc;
}
inline simde__m512 emulated_dpbf16(simde__m512 acc, simde__m512i a, simde__m512i b) {
  simde__m512_private to = simde__m512_to_private(acc);
  const simde__m512i_private x = simde__m512i_to_private(a), y = simde__m512i_to_private(b);
  for (int half = 0; half < 2; ++half)
    to.m256[half] = emulated_dpbf16(to.m256[half], x.m256i[half], y.m256i[half]);
  return simde__m512_from_private(to);
}

}  // namespace

#define _mm512_cvtepi32_ps(a) emulated_cvtepi32_ps(a)
#define _mm512_srai_epi32(a, bits) emulated_srai_epi32<bits>(a)
#define _mm512_cvtepu16_epi32(a) emulated_cvtepu16_epi32(a)
#define _mm512_cvtepi8_epi32(a) emulated_cvtepi8_epi32(a)
#define _mm512_cvtepi32_epi16(a) emulated_cvtepi32_epi16(a)
#define _mm512_cvtph_ps(a) emulated_cvtph_ps(a)
#define _mm512_cvtps_ph(a, rounding) emulated_cvtps_ph<(rounding) & ~_MM_FROUND_NO_EXC>(a)
#define _mm512_extractf32x8_ps(a, half) (simde__m512_to_private(a).m256[half])
#undef _mm512_dpbf16_ps
#define _mm512_dpbf16_ps(acc, a, b) emulated_dpbf16(acc, (simde__m512i)(a), (simde__m512i)(b))
