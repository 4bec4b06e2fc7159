#pragma once

// Queries, keys and values of native bf16 in the layout of its kernels.

#include "kernels/attention/tile_inl.h"

namespace rapt::RAPT_ISA {
namespace {

inline std::int64_t even_up(std::int64_t n) { return n + (n & 1); }

/// The number alone: the scale comes after the chain.
inline void pack_query(const void* x, std::int64_t stride, std::int64_t dim, float,
                       float* q) noexcept {
  const BF16* from = static_cast<const BF16*>(x);
  PairItem* to = reinterpret_cast<PairItem*>(q);
  std::int64_t e = 0;
  if (stride == 1)
    for (; e + 16 <= dim; e += 16) store(to + e, load(from + e));
  for (; e < dim; ++e) to[e] = converted<PairItem>(from[e * stride]);
  if (even_up(dim) > dim) to[dim] = PairItem{};
}

/// out[i] = (even[i], odd[i]), i < 16.
inline void pair16(const BF16* even, const BF16* odd, BF16* out) {
  const I32x16 lower = bit_and(shift_right<16>(as_int(load(even))), broadcast_int(0xFFFF));
  store(reinterpret_cast<float*>(out), as_float(bit_or(lower, as_int(load(odd)))));
}

constexpr BF16 kNothing[16] = {};

inline void pair_keys(const void* tiles, std::int64_t keys, std::int64_t dim, void* out) noexcept {
  const BF16* from = static_cast<const BF16*>(tiles);
  BF16* to = static_cast<BF16*>(out);
  for (std::int64_t j = 0; j < keys; j += kGroupKeys)
    for (std::int64_t e = 0; e < dim; e += 2, to += 32) {
      const bool both = e + 1 < dim;
      pair16(from, both ? from + 16 : kNothing, to);
      from += both ? 32 : 16;
    }
}

inline void pair_values(const void* rows, std::int64_t keys, std::int64_t v_stride,
                        void* out) noexcept {
  const BF16* from = static_cast<const BF16*>(rows);
  BF16* to = static_cast<BF16*>(out);
  for (std::int64_t j = 0; j < keys; j += 2, from += 2 * v_stride)
    for (std::int64_t e = 0; e < v_stride; e += 16, to += 32)
      pair16(from + e, from + v_stride + e, to);
}

inline void pack_key_pairs(const KeyRows& k, void* out) noexcept {
  const BF16* group = static_cast<const BF16*>(k.data);
  BF16* tile = static_cast<BF16*>(out);
  const std::int64_t pairs = even_up(k.dim) / 2;
  // A pair of neighbours is a float, as far as moving it goes.
  const bool in_words = kRegisterLanes < 16 || kRegisters > 8;
  const bool aligned = reinterpret_cast<std::uintptr_t>(k.data) % sizeof(float) == 0;
  const bool words = in_words && aligned && k.feature_stride == 1 && k.key_stride % 2 == 0;
  for (int j = 0; j < k.keys; j += kGroupKeys, tile += pairs * 32) {
    std::int64_t pair = 0;
    if (words && k.keys - j >= kGroupKeys)
      for (; 2 * pair + 16 <= k.dim; pair += 8)
        transpose16x8(reinterpret_cast<const float*>(group + 2 * pair), k.key_stride / 2,
                      reinterpret_cast<float*>(tile + pair * 32));
    for (std::int64_t e = 2 * pair; e < 2 * pairs; ++e)
      for (int lane = 0; lane < kGroupKeys; ++lane) {
        const bool is_there = j + lane < k.keys && e < k.dim;
        tile[e / 2 * 32 + 2 * lane + e % 2] =
            is_there ? group[lane * k.key_stride + e * k.feature_stride] : BF16{0};
      }
    group += kGroupKeys * k.key_stride;
  }
}

/// 16 features of a key, those beyond the last 0.
inline void gather16(const KeyRows& v, const BF16* row, std::int64_t e, BF16 (&out)[16]) {
  if (v.feature_stride == 1 && e + 16 <= v.dim) {
    __builtin_memcpy(out, row + e, sizeof out);
    return;
  }
  for (int lane = 0; lane < 16; ++lane)
    out[lane] = e + lane < v.dim ? row[(e + lane) * v.feature_stride] : BF16{0};
}

inline std::uint32_t pack_value_pairs(const KeyRows& v, std::int64_t v_stride, void* out) noexcept {
  std::uint32_t nonfinite = 0;
  const BF16* from = static_cast<const BF16*>(v.data);
  BF16* to = static_cast<BF16*>(out);
  for (int j = 0; j < v.keys; j += 2, from += 2 * v.key_stride) {
    F32x16 probe = zero();  // 0 x is NaN exactly where x is not finite
    for (std::int64_t e = 0; e < v_stride; e += 16, to += 32) {
      BF16 even[16], odd[16] = {};
      gather16(v, from, e, even);
      if (j + 1 < v.keys) gather16(v, from + v.key_stride, e, odd);
      pair16(even, odd, to);
      probe = fma(load(even), zero(), fma(load(odd), zero(), probe));
    }
    if (!all(equal(probe, probe))) nonfinite |= 1u << (j / kGroupKeys);
  }
  return nonfinite;
}

}  // namespace
}  // namespace rapt::RAPT_ISA
