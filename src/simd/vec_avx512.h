#pragma once

// The 16-lane contract on AVX-512 (F, BW, DQ, VL): one zmm register a vector. vec_contract.md says
// what each operation means.

#include <immintrin.h>

#include <cstdint>

#include "rapt/dtype.h"
#if !defined(RAPT_DOT_INSTRUCTION)
#include "simd/flushed_x86.h"
#endif
#include "simd/transpose_x86.h"

namespace rapt::RAPT_ISA {
namespace {

struct F32x16 {
  __m512 v;
};
struct I32x16 {
  __m512i v;
};
struct Mask16 {
  __mmask16 bits;
};

inline F32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline F32x16 load(const BF16* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}
inline F32x16 load(const F16* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline F32x16 load(const std::int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}
inline F32x16 load(const F8E4M3* p) {  // first as f32 with 120 too little in the exponent
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m512i bits = _mm512_slli_epi32(_mm512_cvtepi8_epi32(bytes), 20);
  const __m512i kept = _mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0x87F00000u)));
  return {_mm512_mul_ps(_mm512_castsi512_ps(kept), _mm512_set1_ps(0x1p120f))};
}
inline void store(float* p, F32x16 a) { _mm512_storeu_ps(p, a.v); }
inline void store(BF16* p, F32x16 a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  const __m512i rounded =
      _mm512_mask_blend_epi32(nan, _mm512_srli_epi32(sum, 16), _mm512_set1_epi32(0x7FC0));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(rounded));
}
inline void store(F16* p, F32x16 a) {
  const __m256i rounded = _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m256i magnitude = _mm256_and_si256(rounded, _mm256_set1_epi16(0x7FFF));
  const __m256i nan = _mm256_cmpgt_epi16(magnitude, _mm256_set1_epi16(0x7C00));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm256_blendv_epi8(rounded, _mm256_set1_epi16(0x7E00), nan));
}
inline F32x16 broadcast(float x) { return {_mm512_set1_ps(x)}; }
inline F32x16 zero() { return {_mm512_setzero_ps()}; }

inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F32x16 add(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32x16 sub(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32x16 mul(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32x16 div(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32x16 sqrt(F32x16 a) { return {_mm512_sqrt_ps(a.v)}; }
inline F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32x16 ceil(F32x16 a) {
  constexpr int kMode = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC;
  return {_mm512_roundscale_ps(a.v, kMode)};
}

inline Mask16 less(F32x16 a, F32x16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline Mask16 not_less(F32x16 a, F32x16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NLT_UQ)}; }
inline Mask16 equal(F32x16 a, F32x16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
inline Mask16 lanes_of(std::uint32_t bits) { return {static_cast<__mmask16>(bits)}; }
inline bool all(Mask16 m) { return m.bits == 0xFFFF; }
inline F32x16 select(Mask16 m, F32x16 yes, F32x16 no) {
  return {_mm512_mask_blend_ps(m.bits, no.v, yes.v)};
}
inline F32x16 zero_unless(Mask16 m, F32x16 a) { return {_mm512_maskz_mov_ps(m.bits, a.v)}; }

inline I32x16 as_int(F32x16 a) { return {_mm512_castps_si512(a.v)}; }
inline F32x16 as_float(I32x16 a) { return {_mm512_castsi512_ps(a.v)}; }
inline I32x16 broadcast_int(std::int32_t x) { return {_mm512_set1_epi32(x)}; }
inline I32x16 add(I32x16 a, I32x16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline I32x16 sub(I32x16 a, I32x16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline I32x16 bit_and(I32x16 a, I32x16 b) { return {_mm512_and_si512(a.v, b.v)}; }
inline I32x16 bit_or(I32x16 a, I32x16 b) { return {_mm512_or_si512(a.v, b.v)}; }
template <int kBits>
inline I32x16 shift_left(I32x16 a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
inline I32x16 shift_right(I32x16 a) {  // arithmetic
  return {_mm512_srai_epi32(a.v, kBits)};
}
inline F32x16 to_float(I32x16 a) { return {_mm512_cvtepi32_ps(a.v)}; }

inline float reduce_max(F32x16 a) {
  const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}
inline float reduce_add(F32x16 a) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

// The register of a vector, for register tiles.
using Register = __m512;
inline constexpr int kRegisters = 32;
inline constexpr int kRegisterLanes = 16;
template <class T>
inline F32x16 load_unordered(const T* p) {
  return load(p);
}
template <class T>
inline Register load_unordered_register(const T* p, int) {
  return load(p).v;
}
template <class T>
inline F32x16 in_order(F32x16 a) {
  return a;
}
inline Register broadcast_register(float x) { return _mm512_set1_ps(x); }
inline void accumulate(Register& acc, Register a, Register b) { acc = _mm512_fmadd_ps(a, b, acc); }
inline Register register_of(F32x16 a, int) { return a.v; }
inline void set_register(F32x16& a, int, Register r) { a.v = r; }

// Always inlined: GCC takes a function that only prefetches for one without effects, and drops its
// calls.
[[gnu::always_inline]] inline void fetch_l1(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}
[[gnu::always_inline]] inline void fetch_l2(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
}

// Register tiles of the products: rows by vectors of 16 lanes. 24 accumulators of the 32 registers.
inline constexpr int kTileRows = 6;
inline constexpr int kTileVectors = 4;
inline constexpr int kStreamTileRows = 12;

// Pairs of bf16 for native bf16.
#if defined(RAPT_DOT_INSTRUCTION)
// The instruction flushes denormals by itself, whatever the float environment.
inline constexpr int kPairSteps = 1;
using PairItem = BF16;
using PairRegister = __m512i;
struct FlushedDenormals {
  FlushedDenormals() {}  // not trivial, so that no compiler warns of one that is not used
};

template <int kStep>
inline PairRegister load_pairs(const BF16* pairs) {
  return _mm512_loadu_si512(pairs);
}
template <int kStep>
inline PairRegister load_pairs(const BF16* even, const BF16* odd) {
  const auto widened = [](const BF16* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  };
  return _mm512_or_si512(widened(even), _mm512_slli_epi32(widened(odd), 16));
}
template <int kStep>
inline PairRegister broadcast_pairs(const PairItem* pair) {
  int word;
  __builtin_memcpy(&word, pair, sizeof word);
  return _mm512_set1_epi32(word);
}
template <int kStep, bool kOdd>
inline PairRegister half_of_pairs(PairRegister a) {
  return _mm512_and_si512(a, _mm512_set1_epi32(static_cast<int>(kOdd ? 0xFFFF0000u : 0xFFFFu)));
}
inline void accumulate_pairs(Register& acc, PairRegister a, PairRegister b) {
  acc = _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
}
#else
// In two steps: the odd elements, then the even ones.
inline constexpr int kPairSteps = 2;
using PairItem = float;
using PairRegister = Register;

template <int kStep>
inline PairRegister load_pairs(const BF16* pairs) {
  const __m512i words = _mm512_loadu_si512(pairs);
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000u));
  return _mm512_castsi512_ps(kStep == 0 ? _mm512_and_si512(words, upper)
                                        : _mm512_slli_epi32(words, 16));
}
template <int kStep>
inline PairRegister load_pairs(const BF16* even, const BF16* odd) {
  return load(kStep == 0 ? odd : even).v;
}
template <int kStep>
inline PairRegister broadcast_pairs(const PairItem* pair) {
  return broadcast_register(pair[1 - kStep]);
}
template <int kStep, bool kOdd>
inline PairRegister half_of_pairs(PairRegister a) {
  return (kStep == 0) == kOdd ? a : _mm512_setzero_ps();
}
inline void accumulate_pairs(Register& acc, PairRegister a, PairRegister b) {
  accumulate(acc, a, b);
}
#endif

}  // namespace
}  // namespace rapt::RAPT_ISA
