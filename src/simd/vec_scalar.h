#pragma once

// The 16-lane contract in portable C++; vec_contract.md says what each operation means.

#include <cmath>
#include <cstdint>
#include <cstring>

#include "rapt/dtype.h"

namespace rapt::RAPT_ISA {
namespace {

struct F32x16 {
  float lane[16];
};
struct I32x16 {
  std::int32_t lane[16];
};
struct Mask16 {
  bool lane[16];
};

template <class F>
inline F32x16 map(F&& f) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) r.lane[i] = f(i);
  return r;
}
template <class F>
inline I32x16 map_int(F&& f) {
  I32x16 r;
  for (int i = 0; i < 16; ++i) r.lane[i] = f(i);
  return r;
}
template <class F>
inline Mask16 map_mask(F&& f) {
  Mask16 r;
  for (int i = 0; i < 16; ++i) r.lane[i] = f(i);
  return r;
}

inline F32x16 load(const float* p) {
  F32x16 r;
  std::memcpy(r.lane, p, sizeof r.lane);
  return r;
}
inline F32x16 load(const BF16* p) {
  return map([&](int i) { return to_float(p[i]); });
}
inline F32x16 load(const F16* p) {
  return map([&](int i) { return to_float(p[i]); });
}
inline F32x16 load(const std::int8_t* p) {
  return map([&](int i) { return static_cast<float>(p[i]); });
}
inline F32x16 load(const F8E4M3* p) {
  return map([&](int i) { return to_float(p[i]); });
}
inline void store(float* p, F32x16 a) { std::memcpy(p, a.lane, sizeof a.lane); }
inline void store(BF16* p, F32x16 a) {
  for (int i = 0; i < 16; ++i) p[i] = to_bf16(a.lane[i]);
}
inline void store(F16* p, F32x16 a) {
  for (int i = 0; i < 16; ++i) p[i] = to_f16(a.lane[i]);
}
inline F32x16 broadcast(float x) {
  return map([&](int) { return x; });
}
inline F32x16 zero() { return broadcast(0.0f); }

inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return map([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
inline F32x16 add(F32x16 a, F32x16 b) {
  return map([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline F32x16 sub(F32x16 a, F32x16 b) {
  return map([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline F32x16 mul(F32x16 a, F32x16 b) {
  return map([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline F32x16 div(F32x16 a, F32x16 b) {
  return map([&](int i) { return a.lane[i] / b.lane[i]; });
}
inline F32x16 sqrt(F32x16 a) {
  return map([&](int i) { return std::sqrt(a.lane[i]); });
}
inline F32x16 max(F32x16 a, F32x16 b) {
  return map([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline F32x16 min(F32x16 a, F32x16 b) {
  return map([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline F32x16 ceil(F32x16 a) {
  return map([&](int i) { return std::ceil(a.lane[i]); });
}

inline Mask16 less(F32x16 a, F32x16 b) {
  return map_mask([&](int i) { return a.lane[i] < b.lane[i]; });
}
inline Mask16 not_less(F32x16 a, F32x16 b) {
  return map_mask([&](int i) { return !(a.lane[i] < b.lane[i]); });
}
inline Mask16 equal(F32x16 a, F32x16 b) {
  return map_mask([&](int i) { return a.lane[i] == b.lane[i]; });
}
inline Mask16 lanes_of(std::uint32_t bits) {
  return map_mask([&](int i) { return (bits >> i & 1) != 0; });
}
inline bool all(Mask16 m) {
  bool r = true;
  for (bool lane : m.lane) r &= lane;
  return r;
}
inline F32x16 select(Mask16 m, F32x16 yes, F32x16 no) {
  return map([&](int i) { return m.lane[i] ? yes.lane[i] : no.lane[i]; });
}
inline F32x16 zero_unless(Mask16 m, F32x16 a) { return select(m, a, zero()); }

inline I32x16 as_int(F32x16 a) {
  I32x16 r;
  std::memcpy(r.lane, a.lane, sizeof r.lane);
  return r;
}
inline F32x16 as_float(I32x16 a) {
  F32x16 r;
  std::memcpy(r.lane, a.lane, sizeof r.lane);
  return r;
}
inline I32x16 broadcast_int(std::int32_t x) {
  return map_int([&](int) { return x; });
}
inline I32x16 add(I32x16 a, I32x16 b) {
  return map_int([&](int i) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(a.lane[i]) +
                                     static_cast<std::uint32_t>(b.lane[i]));
  });
}
inline I32x16 sub(I32x16 a, I32x16 b) {
  return map_int([&](int i) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(a.lane[i]) -
                                     static_cast<std::uint32_t>(b.lane[i]));
  });
}
inline I32x16 bit_and(I32x16 a, I32x16 b) {
  return map_int([&](int i) { return a.lane[i] & b.lane[i]; });
}
inline I32x16 bit_or(I32x16 a, I32x16 b) {
  return map_int([&](int i) { return a.lane[i] | b.lane[i]; });
}
template <int kBits>
inline I32x16 shift_left(I32x16 a) {
  return map_int([&](int i) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(a.lane[i]) << kBits);
  });
}
template <int kBits>
inline I32x16 shift_right(I32x16 a) {  // arithmetic
  return map_int([&](int i) { return a.lane[i] >> kBits; });
}
inline F32x16 to_float(I32x16 a) {
  return map([&](int i) { return static_cast<float>(a.lane[i]); });
}

inline float reduce_max(F32x16 a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i)
      a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
  return a.lane[0];
}
inline float reduce_add(F32x16 a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.lane[i] += a.lane[i + half];
  return a.lane[0];
}

// The registers of a vector, for register tiles: here the vector itself.
using Register = F32x16;
inline constexpr int kRegisters = 8;
inline constexpr int kRegisterLanes = 16;
template <class T>
inline F32x16 load_unordered(const T* p) {
  return load(p);
}
template <class T>
inline Register load_unordered_register(const T* p, int) {
  return load(p);
}
template <class T>
inline F32x16 in_order(F32x16 a) {
  return a;
}
inline Register broadcast_register(float x) { return broadcast(x); }
inline void accumulate(Register& acc, Register a, Register b) { acc = fma(a, b, acc); }
inline Register register_of(F32x16 a, int) { return a; }
inline void set_register(F32x16& a, int, Register r) { a = r; }

// Register tiles of the products: rows by vectors of 16 lanes.
inline constexpr int kTileRows = 4;
inline constexpr int kTileVectors = 1;
inline constexpr int kStreamTileRows = 4;

inline void fetch_l1(const void*) {}
inline void fetch_l2(const void*) {}

inline void transpose16x8(const float* rows, std::int64_t stride, float* out) {
  for (int e = 0; e < 8; ++e)
    for (int j = 0; j < 16; ++j) out[e * 16 + j] = rows[j * stride + e];
}

// Pairs of bf16 for native bf16, in two steps: the odd elements, then the even ones.
inline constexpr int kPairSteps = 2;
using PairItem = float;
using PairRegister = Register;

// x, or the zero of its sign where x is denormal.
inline float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

// Near 2^-126 the fma's own steps are those of denormals; of numbers 2^24 times as large they are not.
inline float flushed_fma(float a, float b, float c) {
  const float x = std::fma(a, b, c);
  if (!(std::fabs(x) <= 0x1p-126f)) return x;
  const float large = std::fma(a * 0x1p24f, b, c * 0x1p24f);
  return std::fabs(large) < 0x1p-102f ? std::copysign(0.0f, x) : x;
}

template <int kStep>
inline PairRegister load_pairs(const BF16* pairs) {
  return map([&](int i) { return flushed(to_float(pairs[2 * i + 1 - kStep])); });
}
template <int kStep>
inline PairRegister load_pairs(const BF16* even, const BF16* odd) {
  return map([&](int i) { return flushed(to_float((kStep == 0 ? odd : even)[i])); });
}
template <int kStep>
inline PairRegister broadcast_pairs(const PairItem* pair) {
  return broadcast(flushed(pair[1 - kStep]));
}
template <int kStep, bool kOdd>
inline PairRegister half_of_pairs(PairRegister a) {
  return (kStep == 0) == kOdd ? a : zero();
}
inline void accumulate_pairs(Register& acc, PairRegister a, PairRegister b) {
  acc = map([&](int i) { return flushed_fma(a.lane[i], b.lane[i], acc.lane[i]); });
}
struct FlushedDenormals {
  FlushedDenormals() {}  // not trivial, so that no compiler warns of one that is not used
};

}  // namespace
}  // namespace rapt::RAPT_ISA
