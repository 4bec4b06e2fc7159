#pragma once

// The 16-lane contract on Advanced SIMD as every ARMv8-A has it (AArch64): four registers a vector.
// vec_contract.md says what each operation means.

#include <arm_neon.h>

#include <cstdint>

#include "rapt/dtype.h"

namespace rapt::RAPT_ISA {
namespace {

struct F32x16 {
  float32x4_t at[4];
};
struct I32x16 {
  int32x4_t at[4];
};
struct Mask16 {
  uint32x4_t at[4];  // all bits of a lane set, or none
};

// kF on each register of the arguments.
template <class Result, auto kF, class... Vectors>
[[gnu::always_inline]] inline Result each(const Vectors&... a) {
  return {{kF(a.at[0]...), kF(a.at[1]...), kF(a.at[2]...), kF(a.at[3]...)}};
}

// A register of any element type.
inline uint16x4_t load4_bits(const void* p) {
  return vld1_u16(static_cast<const std::uint16_t*>(p));
}
inline float32x4_t load4(const float* p) { return vld1q_f32(p); }
inline float32x4_t load4(const BF16* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(load4_bits(p), 16));
}
inline float32x4_t load4(const F16* p) { return vcvt_f32_f16(vreinterpret_f16_u16(load4_bits(p))); }
inline int32x4_t load4_bytes(const void* p) {
  std::uint32_t bytes;
  __builtin_memcpy(&bytes, p, sizeof bytes);
  const int8x8_t lanes = vreinterpret_s8_u32(vdup_n_u32(bytes));
  return vmovl_s16(vget_low_s16(vmovl_s8(lanes)));
}
inline float32x4_t load4(const std::int8_t* p) { return vcvtq_f32_s32(load4_bytes(p)); }
inline float32x4_t load4(const F8E4M3* p) {  // first as f32 with 120 too little in the exponent
  const int32x4_t bits = vshlq_n_s32(load4_bytes(p), 20);
  const int32x4_t kept = vandq_s32(bits, vdupq_n_s32(static_cast<int>(0x87F00000u)));
  return vmulq_n_f32(vreinterpretq_f32_s32(kept), 0x1p120f);
}
inline uint16x4_t to_bf16(float32x4_t a) {
  const uint32x4_t bits = vreinterpretq_u32_f32(a);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t sum = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
  return vbsl_u16(vmovn_u32(vceqq_f32(a, a)), vshrn_n_u32(sum, 16), vdup_n_u16(0x7FC0));
}
inline uint16x4_t to_f16(float32x4_t a) {
  const uint16x4_t rounded = vreinterpret_u16_f16(vcvt_f16_f32(a));
  return vbsl_u16(vmovn_u32(vceqq_f32(a, a)), rounded, vdup_n_u16(0x7E00));
}

template <class T>
inline F32x16 load(const T* p) {
  return {{load4(p), load4(p + 4), load4(p + 8), load4(p + 12)}};
}
inline void store(float* p, F32x16 a) {
  for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, a.at[i]);
}
inline void store(BF16* p, F32x16 a) {
  for (int i = 0; i < 4; ++i) vst1_u16(&p[4 * i].bits, to_bf16(a.at[i]));
}
inline void store(F16* p, F32x16 a) {
  for (int i = 0; i < 4; ++i) vst1_u16(&p[4 * i].bits, to_f16(a.at[i]));
}
inline F32x16 broadcast(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {{v, v, v, v}};
}
inline F32x16 zero() { return broadcast(0.0f); }

// Not vmaxq_f32 and vminq_f32, which return a NaN of either side.
inline float32x4_t max4(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline float32x4_t min4(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }

inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return each<F32x16, vfmaq_f32>(c, a, b); }
inline F32x16 add(F32x16 a, F32x16 b) { return each<F32x16, vaddq_f32>(a, b); }
inline F32x16 sub(F32x16 a, F32x16 b) { return each<F32x16, vsubq_f32>(a, b); }
inline F32x16 mul(F32x16 a, F32x16 b) { return each<F32x16, vmulq_f32>(a, b); }
inline F32x16 div(F32x16 a, F32x16 b) { return each<F32x16, vdivq_f32>(a, b); }
inline F32x16 sqrt(F32x16 a) { return each<F32x16, vsqrtq_f32>(a); }
inline F32x16 max(F32x16 a, F32x16 b) { return each<F32x16, max4>(a, b); }
inline F32x16 min(F32x16 a, F32x16 b) { return each<F32x16, min4>(a, b); }
inline F32x16 ceil(F32x16 a) { return each<F32x16, vrndpq_f32>(a); }

inline Mask16 less(F32x16 a, F32x16 b) { return each<Mask16, vcltq_f32>(a, b); }
inline Mask16 not_less(F32x16 a, F32x16 b) { return each<Mask16, vmvnq_u32>(less(a, b)); }
inline Mask16 equal(F32x16 a, F32x16 b) { return each<Mask16, vceqq_f32>(a, b); }
inline Mask16 lanes_of(std::uint32_t bits) {
  const uint32x4_t all = vdupq_n_u32(bits), first = {1, 2, 4, 8};
  return {{vtstq_u32(all, first), vtstq_u32(all, vshlq_n_u32(first, 4)),
           vtstq_u32(all, vshlq_n_u32(first, 8)), vtstq_u32(all, vshlq_n_u32(first, 12))}};
}
inline bool all(Mask16 m) {
  return vminvq_u32(vandq_u32(vandq_u32(m.at[0], m.at[1]), vandq_u32(m.at[2], m.at[3]))) != 0;
}
inline F32x16 select(Mask16 m, F32x16 yes, F32x16 no) {
  return each<F32x16, vbslq_f32>(m, yes, no);
}
inline F32x16 zero_unless(Mask16 m, F32x16 a) { return select(m, a, zero()); }

inline I32x16 as_int(F32x16 a) { return each<I32x16, vreinterpretq_s32_f32>(a); }
inline F32x16 as_float(I32x16 a) { return each<F32x16, vreinterpretq_f32_s32>(a); }
inline I32x16 broadcast_int(std::int32_t x) {
  const int32x4_t v = vdupq_n_s32(x);
  return {{v, v, v, v}};
}
inline I32x16 add(I32x16 a, I32x16 b) { return each<I32x16, vaddq_s32>(a, b); }
inline I32x16 sub(I32x16 a, I32x16 b) { return each<I32x16, vsubq_s32>(a, b); }
inline I32x16 bit_and(I32x16 a, I32x16 b) { return each<I32x16, vandq_s32>(a, b); }
inline I32x16 bit_or(I32x16 a, I32x16 b) { return each<I32x16, vorrq_s32>(a, b); }
template <int kBits>
inline I32x16 shift_left(I32x16 a) {
  return {{vshlq_n_s32(a.at[0], kBits), vshlq_n_s32(a.at[1], kBits), vshlq_n_s32(a.at[2], kBits),
           vshlq_n_s32(a.at[3], kBits)}};
}
template <int kBits>
inline I32x16 shift_right(I32x16 a) {  // arithmetic
  return {{vshrq_n_s32(a.at[0], kBits), vshrq_n_s32(a.at[1], kBits), vshrq_n_s32(a.at[2], kBits),
           vshrq_n_s32(a.at[3], kBits)}};
}
inline F32x16 to_float(I32x16 a) { return each<F32x16, vcvtq_f32_s32>(a); }

inline float reduce_max(F32x16 a) {
  const float32x4_t q = max4(max4(a.at[0], a.at[2]), max4(a.at[1], a.at[3]));
  const float32x4_t h = max4(q, vextq_f32(q, q, 2));
  return vgetq_lane_f32(max4(h, vextq_f32(h, h, 1)), 0);
}
inline float reduce_add(F32x16 a) {
  const float32x4_t q = vaddq_f32(vaddq_f32(a.at[0], a.at[2]), vaddq_f32(a.at[1], a.at[3]));
  const float32x2_t h = vadd_f32(vget_low_f32(q), vget_high_f32(q));
  return vget_lane_f32(h, 0) + vget_lane_f32(h, 1);
}

// The registers of a vector, for register tiles.
using Register = float32x4_t;
inline constexpr int kRegisters = 32;
inline constexpr int kRegisterLanes = 4;
template <class T>
inline F32x16 load_unordered(const T* p) {
  return load(p);
}
template <class T>
inline Register load_unordered_register(const T* p, int i) {
  return load4(p + 4 * i);
}
template <class T>
inline F32x16 in_order(F32x16 a) {
  return a;
}
inline Register broadcast_register(float x) { return vdupq_n_f32(x); }
inline void accumulate(Register& acc, Register a, Register b) { acc = vfmaq_f32(acc, a, b); }
inline Register register_of(F32x16 a, int i) { return a.at[i]; }
inline void set_register(F32x16& a, int i, Register r) { a.at[i] = r; }

// Always inlined: GCC takes a function that only prefetches for one without effects, and drops its
// calls.
[[gnu::always_inline]] inline void fetch_l1(const void* p) { __builtin_prefetch(p, 0, 3); }
[[gnu::always_inline]] inline void fetch_l2(const void* p) { __builtin_prefetch(p, 0, 2); }

// Register tiles of the products: rows by vectors of 16 lanes. 24 accumulators of the 32 registers
// hide the FMA latency (4 a cycle, 4 cycles); 4 hold the loaded vector, 1 a broadcast.
inline constexpr int kTileRows = 6;
inline constexpr int kTileVectors = 1;
inline constexpr int kStreamTileRows = 6;

// Reads 4 rows of 4 and writes 4 columns, 16 floats apart.
inline void transpose4x4(const float* rows, std::int64_t stride, float* out) {
  const float32x4_t a = vld1q_f32(rows), b = vld1q_f32(rows + stride);
  const float32x4_t c = vld1q_f32(rows + 2 * stride), d = vld1q_f32(rows + 3 * stride);
  const float32x4_t ac_low = vzip1q_f32(a, c), ac_high = vzip2q_f32(a, c);
  const float32x4_t bd_low = vzip1q_f32(b, d), bd_high = vzip2q_f32(b, d);
  vst1q_f32(out, vzip1q_f32(ac_low, bd_low));
  vst1q_f32(out + 16, vzip2q_f32(ac_low, bd_low));
  vst1q_f32(out + 32, vzip1q_f32(ac_high, bd_high));
  vst1q_f32(out + 48, vzip2q_f32(ac_high, bd_high));
}

inline void transpose16x8(const float* rows, std::int64_t stride, float* out) {
  for (int j = 0; j < 16; j += 4)
    for (int e = 0; e < 8; e += 4) transpose4x4(rows + j * stride + e, stride, out + 16 * e + j);
}

// Pairs of bf16 for native bf16, in two steps: the odd elements, then the even ones. FPCR.FZ is of no
// use: it flushes what is below 2^-126 before rounding, the contract what is below it after.
inline constexpr int kPairSteps = 2;
using PairItem = float;
using PairRegister = Register;

// x, or the zero of its sign where |size| < bound.
inline float32x4_t flushed(float32x4_t x, float32x4_t size, float bound) {
  const uint32x4_t small = vcaltq_f32(size, vdupq_n_f32(bound));
  const uint32x4_t magnitude = vandq_u32(small, vdupq_n_u32(0x7FFFFFFF));
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), magnitude));
}
inline float32x4_t flushed(float32x4_t x) { return flushed(x, x, 0x1p-126f); }

template <int kStep>
inline PairRegister load_pairs(const BF16* pairs) {
  const uint32x4_t words = vreinterpretq_u32_u16(vld1q_u16(&pairs->bits));
  return flushed(vreinterpretq_f32_u32(kStep == 0 ? vandq_u32(words, vdupq_n_u32(0xFFFF0000))
                                                  : vshlq_n_u32(words, 16)));
}
template <int kStep>
inline PairRegister load_pairs(const BF16* even, const BF16* odd) {
  return flushed(load4(kStep == 0 ? odd : even));
}
template <int kStep>
inline PairRegister broadcast_pairs(const PairItem* pair) {
  return flushed(vdupq_n_f32(pair[1 - kStep]));
}
template <int kStep, bool kOdd>
inline PairRegister half_of_pairs(PairRegister a) {
  return (kStep == 0) == kOdd ? a : vdupq_n_f32(0.0f);
}
// Near 2^-126 the fma's own steps are those of denormals; of numbers 2^24 times as large they are not.
inline void accumulate_pairs(Register& acc, PairRegister a, PairRegister b) {
  const float32x4_t large = vfmaq_f32(vmulq_n_f32(acc, 0x1p24f), vmulq_n_f32(a, 0x1p24f), b);
  acc = flushed(vfmaq_f32(acc, a, b), large, 0x1p-102f);
}
struct FlushedDenormals {
  FlushedDenormals() {}  // not trivial, so that no compiler warns of one that is not used
};

}  // namespace
}  // namespace rapt::RAPT_ISA
