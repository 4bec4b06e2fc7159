#pragma once

// The 16-lane contract on AVX2, FMA and F16C: two ymm registers a vector. vec_contract.md says what each
// operation means.

#include <immintrin.h>

#include <cstdint>

#include "rapt/dtype.h"
#include "simd/flushed_x86.h"
#include "simd/transpose_x86.h"

namespace rapt::RAPT_ISA {
namespace {

struct F32x16 {
  __m256 lo, hi;
};
struct I32x16 {
  __m256i lo, hi;
};
struct Mask16 {
  __m256 lo, hi;  // all bits of a lane set, or none
};

// A register of any element type.
inline __m256 load8(const float* p) { return _mm256_loadu_ps(p); }
inline __m256 load8(const BF16* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
inline __m256 load8(const F16* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m256 load8(const std::int8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}
inline __m128i to_bf16(__m256 a) {
  const __m256i bits = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  const __m256i rounded =
      _mm256_blendv_epi8(_mm256_srli_epi32(sum, 16), _mm256_set1_epi32(0x7FC0), nan);
  return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}
inline __m128i to_f16(__m256 a) {
  const __m128i rounded = _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m128i magnitude = _mm_and_si128(rounded, _mm_set1_epi16(0x7FFF));
  const __m128i nan = _mm_cmpgt_epi16(magnitude, _mm_set1_epi16(0x7C00));
  return _mm_blendv_epi8(rounded, _mm_set1_epi16(0x7E00), nan);
}

inline __m256 load8(const F8E4M3* p) {  // first as f32 with 120 too little in the exponent
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  const __m256i bits = _mm256_slli_epi32(_mm256_cvtepi8_epi32(bytes), 20);
  const __m256i kept = _mm256_and_si256(bits, _mm256_set1_epi32(static_cast<int>(0x87F00000u)));
  return _mm256_mul_ps(_mm256_castsi256_ps(kept), _mm256_set1_ps(0x1p120f));
}
template <class T>
inline F32x16 load(const T* p) {
  return {load8(p), load8(p + 8)};
}
inline void store(float* p, F32x16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline void store(BF16* p, F32x16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_bf16(a.lo));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), to_bf16(a.hi));
}
inline void store(F16* p, F32x16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_f16(a.lo));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), to_f16(a.hi));
}
inline F32x16 broadcast(float x) {
  const __m256 v = _mm256_set1_ps(x);
  return {v, v};
}
inline F32x16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }

inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline F32x16 add(F32x16 a, F32x16 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
inline F32x16 sub(F32x16 a, F32x16 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
inline F32x16 mul(F32x16 a, F32x16 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
inline F32x16 div(F32x16 a, F32x16 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
inline F32x16 sqrt(F32x16 a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
inline F32x16 max(F32x16 a, F32x16 b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
inline F32x16 min(F32x16 a, F32x16 b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
inline F32x16 ceil(F32x16 a) { return {_mm256_ceil_ps(a.lo), _mm256_ceil_ps(a.hi)}; }

inline Mask16 less(F32x16 a, F32x16 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)};
}
inline Mask16 not_less(F32x16 a, F32x16 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_NLT_UQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_NLT_UQ)};
}
inline Mask16 equal(F32x16 a, F32x16 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_EQ_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_EQ_OQ)};
}
inline Mask16 lanes_of(std::uint32_t bits) {
  const __m256i all = _mm256_set1_epi32(static_cast<int>(bits));
  const __m256i lo = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i hi = _mm256_slli_epi32(lo, 8);
  return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(all, lo), lo)),
          _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(all, hi), hi))};
}
inline bool all(Mask16 m) { return _mm256_movemask_ps(_mm256_and_ps(m.lo, m.hi)) == 0xFF; }
inline F32x16 select(Mask16 m, F32x16 yes, F32x16 no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, m.lo), _mm256_blendv_ps(no.hi, yes.hi, m.hi)};
}
inline F32x16 zero_unless(Mask16 m, F32x16 a) {
  return {_mm256_and_ps(m.lo, a.lo), _mm256_and_ps(m.hi, a.hi)};
}

inline I32x16 as_int(F32x16 a) { return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)}; }
inline F32x16 as_float(I32x16 a) { return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)}; }
inline I32x16 broadcast_int(std::int32_t x) {
  const __m256i v = _mm256_set1_epi32(x);
  return {v, v};
}
inline I32x16 add(I32x16 a, I32x16 b) {
  return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
inline I32x16 sub(I32x16 a, I32x16 b) {
  return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}
inline I32x16 bit_and(I32x16 a, I32x16 b) {
  return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}
inline I32x16 bit_or(I32x16 a, I32x16 b) {
  return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}
template <int kBits>
inline I32x16 shift_left(I32x16 a) {
  return {_mm256_slli_epi32(a.lo, kBits), _mm256_slli_epi32(a.hi, kBits)};
}
template <int kBits>
inline I32x16 shift_right(I32x16 a) {  // arithmetic
  return {_mm256_srai_epi32(a.lo, kBits), _mm256_srai_epi32(a.hi, kBits)};
}
inline F32x16 to_float(I32x16 a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }

inline float reduce_max(F32x16 a) {
  const __m256 h = _mm256_max_ps(a.lo, a.hi);
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}
inline float reduce_add(F32x16 a) {
  const __m256 h = _mm256_add_ps(a.lo, a.hi);
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

// The registers of a vector, for register tiles. The fma is assembly because GCC 12, left to choose
// among the three forms of the instruction, moves and spills the accumulators of a full tile: 81%
// of the FMA peak instead of 94%.
using Register = __m256;
inline constexpr int kRegisters = 16;
inline constexpr int kRegisterLanes = 8;
template <class T>
inline F32x16 load_unordered(const T* p) {
  return load(p);
}
inline F32x16 load_unordered(const BF16* p) {  // even lanes, then odd ones
  const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)),
          _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-1 << 16)))};
}
template <class T>
inline Register load_unordered_register(const T* p, int i) {
  return load8(p + 8 * i);
}
inline Register load_unordered_register(const BF16* p, int i) {
  alignas(32) static constexpr std::int32_t kOdd[8] = {-1 << 16, -1 << 16, -1 << 16, -1 << 16,
                                                       -1 << 16, -1 << 16, -1 << 16, -1 << 16};
  if (i == 0) return load_unordered(p).lo;
  Register odd;  // as assembly, or GCC keeps pairs and mask in registers and accumulators in memory
  asm("vmovdqu %1, %0\n\tvpand %2, %0, %0"
      : "=&x"(odd)
      : "m"(*reinterpret_cast<const __m256i_u*>(p)), "m"(kOdd));
  return odd;
}
template <class T>
inline F32x16 in_order(F32x16 a) {
  return a;
}
template <>
inline F32x16 in_order<BF16>(F32x16 a) {
  const __m256 low = _mm256_unpacklo_ps(a.lo, a.hi), high = _mm256_unpackhi_ps(a.lo, a.hi);
  return {_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)};
}
inline Register broadcast_register(float x) { return _mm256_set1_ps(x); }
inline void accumulate(Register& acc, Register a, Register b) {
  asm("vfmadd231ps %1, %2, %0" : "+x"(acc) : "x"(a), "x"(b));
}
inline Register register_of(F32x16 a, int i) { return i == 0 ? a.lo : a.hi; }
inline void set_register(F32x16& a, int i, Register r) { (i == 0 ? a.lo : a.hi) = r; }

// Always inlined: GCC takes a function that only prefetches for one without effects, and drops its
// calls.
[[gnu::always_inline]] inline void fetch_l1(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}
[[gnu::always_inline]] inline void fetch_l2(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
}

// Register tiles of the products: rows by vectors of 16 lanes. 12 accumulators of the 16 registers
// hide the FMA latency (2 a cycle, 4 to 5 cycles); 2 hold the loaded vector, 1 a broadcast.
inline constexpr int kTileRows = 6;
inline constexpr int kTileVectors = 1;
inline constexpr int kStreamTileRows = 6;

// Pairs of bf16 for native bf16, in two steps: the odd elements, then the even ones.
inline constexpr int kPairSteps = 2;
using PairItem = float;
using PairRegister = Register;

template <int kStep>
inline PairRegister load_pairs(const BF16* pairs) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(pairs));
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xFFFF0000u));
  return _mm256_castsi256_ps(kStep == 0 ? _mm256_and_si256(words, upper)
                                        : _mm256_slli_epi32(words, 16));
}
template <int kStep>
inline PairRegister load_pairs(const BF16* even, const BF16* odd) {
  return load8(kStep == 0 ? odd : even);
}
template <int kStep>
inline PairRegister broadcast_pairs(const PairItem* pair) {
  return broadcast_register(pair[1 - kStep]);
}
template <int kStep, bool kOdd>
inline PairRegister half_of_pairs(PairRegister a) {
  return (kStep == 0) == kOdd ? a : _mm256_setzero_ps();
}
inline void accumulate_pairs(Register& acc, PairRegister a, PairRegister b) {
  accumulate(acc, a, b);
}

}  // namespace
}  // namespace rapt::RAPT_ISA
