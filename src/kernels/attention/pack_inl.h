#pragma once

// Queries, keys and values in the layout of the kernels. Steps are those of docs/numerics.md.

#include "kernels/attention/tile_inl.h"

namespace rapt::RAPT_ISA {
namespace {

template <class T>
constexpr bool kIsFloat = __is_same(T, float);

/// 16 elements in another type; the same type keeps its bits, those of NaN too.
template <class T, class U>
inline void convert16(const T* from, U* to) {
  if constexpr (__is_same(T, U) && !kIsFloat<T>)
    __builtin_memcpy(to, from, 16 * sizeof(T));
  else
    store(to, load(from));
}

template <class T>
inline void scale_query(const void* x, std::int64_t stride, std::int64_t dim, float scale,
                        float* q) noexcept {
  const T* from = static_cast<const T*>(x);
  std::int64_t e = 0;
  if (stride == 1)
    for (; e + 16 <= dim; e += 16) store(q + e, mul(load(from + e), broadcast(scale)));
  for (; e < dim; ++e) q[e] = scale * rapt::to_float(from[e * stride]);
}

/// Features that are transposed at a time: 16 of a half are read at once.
template <class T>
constexpr int kFeatures = kIsFloat<T> ? 8 : 16;

/// kFeatures features of 16 keys, features first.
template <class T, class U>
inline void transpose_features(const T* keys, std::int64_t key_stride, U* out) {
  constexpr int kCount = kFeatures<T>;
  float rows[16 * kCount], columns[16 * kCount];
  const float* from = rows;
  if constexpr (kIsFloat<T>)
    from = keys;
  else
    for (int j = 0; j < 16; ++j) store(rows + j * 16, load(keys + j * key_stride));
  const std::int64_t stride = kIsFloat<T> ? key_stride : 16;
  float* to = columns;
  if constexpr (kIsFloat<U>) to = out;
  for (int e = 0; e < kCount; e += 8) transpose16x8(from + e, stride, to + e * 16);
  if constexpr (!kIsFloat<U>)
    for (int e = 0; e < kCount; ++e) store(out + e * 16, load(columns + e * 16));
}

template <class T, class U>
inline void pack_keys(const KeyRows& k, void* out) noexcept {
  // Halves of the same type keep the bits of NaN, which a conversion would not.
  constexpr bool kConverts = kIsFloat<T> || !__is_same(T, U);
  const T* group = static_cast<const T*>(k.data);
  U* tile = static_cast<U*>(out);
  for (int j = 0; j < k.keys; j += kGroupKeys, tile += k.dim * kGroupKeys) {
    std::int64_t e = 0;
    if constexpr (kConverts)
      if (k.feature_stride == 1 && k.keys - j >= kGroupKeys && k.dim >= kFeatures<T>)
        for (; e < k.dim; e += kFeatures<T>) {
          const std::int64_t last = k.dim - kFeatures<T>, first = e < last ? e : last;
          transpose_features(group + first, k.key_stride, tile + first * kGroupKeys);
        }
    for (; e < k.dim; ++e)
      for (int lane = 0; lane < kGroupKeys; ++lane) {
        const bool is_there = j + lane < k.keys;
        tile[e * kGroupKeys + lane] =
            is_there ? converted<U>(group[lane * k.key_stride + e * k.feature_stride]) : U{};
      }
    group += kGroupKeys * k.key_stride;
  }
}

/// @pre  count is a multiple of 16
template <class T>
inline void widen(const void* from, std::int64_t count, float* to) noexcept {
  const T* x = static_cast<const T*>(from);
  for (std::int64_t i = 0; i < count; i += 16) store(to + i, load(x + i));
}

template <class T, class U>
inline std::uint32_t pack_values(const KeyRows& v, std::int64_t v_stride, void* out) noexcept {
  std::uint32_t nonfinite = 0;
  const T* from = static_cast<const T*>(v.data);
  U* row = static_cast<U*>(out);
  for (int j = 0; j < v.keys; ++j, from += v.key_stride, row += v_stride) {
    F32x16 probe = zero();  // 0 x is NaN exactly where x is not finite
    std::int64_t e = 0;
    if (v.feature_stride == 1)
      for (; e + 16 <= v.dim; e += 16) {
        convert16(from + e, row + e);
        // Of one type, both are the same; a load of what was just stored in pieces has to wait.
        if constexpr (__is_same(T, U))
          probe = fma(load(from + e), zero(), probe);
        else
          probe = fma(load(row + e), zero(), probe);
      }
    for (; e < v.dim; e += 16) {
      for (int lane = 0; lane < 16; ++lane)
        row[e + lane] = e + lane < v.dim ? converted<U>(from[(e + lane) * v.feature_stride]) : U{};
      probe = fma(load(row + e), zero(), probe);
    }
    if (!all(equal(probe, probe))) nonfinite |= 1u << (j / kGroupKeys);
  }
  return nonfinite;
}

template <class T>
inline bool all_finite(const KeyRows& v) noexcept {
  F32x16 probe = zero();
  const T* row = static_cast<const T*>(v.data);
  for (int j = 0; j < v.keys; ++j, row += v.key_stride)
    for (std::int64_t e = 0; e < v.dim; e += 16) probe = fma(load(row + e), zero(), probe);
  return all(equal(probe, probe));
}

}  // namespace
}  // namespace rapt::RAPT_ISA
