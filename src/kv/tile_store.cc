#include "kv/tile_store.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/check.h"
#include "kv/quantise.h"

namespace rapt {
namespace {

std::int64_t v_stride(const KvTiles::Extents& extents) { return round_up(extents.v_head_dim, 16); }

/// Token 0 of x to elements `stride` apart, in their type.
template <class U>
void copy_token(const AnyConstTensor& x, U* to, std::int64_t stride) {
  visit(x, [&](const auto& from) {
    for (std::int64_t e = 0; e < from.extents[3]; ++e)
      to[e * stride] = converted<U>(from.at(0, 0, 0, e));
  });
}

/// The same quantised; returns the scale.
template <class U>
float quantise_token(const AnyConstTensor& x, U* to, std::int64_t stride) {
  return visit(x, [&](const auto& from) {
    return quantise(from.data, from.strides[3], from.extents[3], to, stride);
  });
}

/// Elements `stride` apart to token t of x, times scales[slot] of quantised types.
template <class U>
void read_token(const U* from, std::int64_t stride, const float* scales, std::int64_t slot,
                const AnyTensor& x, std::int64_t t) {
  with_type(x.dtype, [&]<class T>(T) {
    const TensorView<T> to = x.as<T>();
    for (std::int64_t e = 0; e < x.extents[3]; ++e)
      if constexpr (kIsQuantised<U>)
        to.at(0, t, 0, e) = from_float<T>(to_float(from[e * stride]) * scales[slot]);
      else
        to.at(0, t, 0, e) = converted<T>(from[e * stride]);
  });
}

KeyRows rows(const AnyConstTensor& x) {
  return {x.data, x.strides[1], x.strides[3], static_cast<int>(x.extents[1]), x.extents[3]};
}

std::uint32_t& flags_of(const HeadTiles& head, std::int64_t slot) {
  return head.nonfinite[slot / kChunkKeys];
}

std::uint32_t first_bit(std::int64_t slot) {
  return static_cast<std::uint32_t>(slot % kChunkKeys / kGroupKeys);
}

template <class U>
U* key_at(const KvTiles::Extents& extents, const HeadTiles& head, std::int64_t slot) {
  const std::int64_t lane = slot % kGroupKeys;
  return reinterpret_cast<U*>(head.k) + (slot - lane) * extents.head_dim + lane;
}

template <class U>
U* value_at(const KvTiles::Extents& extents, const HeadTiles& head, std::int64_t slot) {
  return reinterpret_cast<U*>(head.v) + slot * v_stride(extents);
}

template <class U>
void store_quantised(const KvTiles::Extents& extents, const HeadTiles& to, std::int64_t slot,
                     const AnyConstTensor& k, const AnyConstTensor& v) {
  to.k_scales[slot] = quantise_token(k, key_at<U>(extents, to, slot), kGroupKeys);
  U* row = value_at<U>(extents, to, slot);
  to.v_scales[slot] = quantise_token(v, row, 1);
  std::fill(row + extents.v_head_dim, row + v_stride(extents), U{});
  if (!std::isfinite(to.v_scales[slot] * kLargest<U>)) flags_of(to, slot) |= 1u << first_bit(slot);
}

/// Rows of keys.
template <class U>
void store_rows(const AttentionKernels& kernels, const KvTiles::Extents& extents,
                const HeadTiles& to, std::int64_t slot, const AnyConstTensor& k) {
  const std::int64_t row = extents.rows->k_token;
  kernels.reading(k.dtype).pack_values[static_cast<std::size_t>(extents.dtype)](
      rows(k), row, reinterpret_cast<U*>(to.k) + slot * row);
}

/// Tokens within one chunk, whole groups or one token.
template <class U>
void store_piece(const AttentionKernels& kernels, const KvTiles::Extents& extents,
                 const HeadTiles& to, std::int64_t slot, const AnyConstTensor& k,
                 const AnyConstTensor& v) {
  const auto type = static_cast<std::size_t>(extents.dtype);
  U* keys = key_at<U>(extents, to, slot);
  if (k.extents[1] == 1)
    copy_token(k, keys, kGroupKeys);
  else
    kernels.reading(k.dtype).pack_keys[type](rows(k), keys);
  flags_of(to, slot) |= kernels.reading(v.dtype).pack_values[type](rows(v), v_stride(extents),
                                                                   value_at<U>(extents, to, slot))
                        << first_bit(slot);
}

}  // namespace

void KvTiles::refuse_missing(std::int64_t sequence, std::int64_t slot) const {
  require(false, ErrorCode::kBadArgument, "Inputs.cache sequence " + std::to_string(sequence),
          "slot " + std::to_string(slot) + ", which is visible", "a cache without it");
}

void check_v_in_k(bool v_in_k, bool expected, const char* where) {
  require(v_in_k == expected, ErrorCode::kBadArgument, where,
          v_in_k ? "k alone, as values are its first features (v_in_k)" : "k and v",
          v_in_k ? "k and v" : "k alone");
}

void check_tokens(const KvTiles::Extents& extents, std::int64_t batch, const AnyConstTensor& k,
                  const AnyConstTensor& v, const char* where) {
  const std::int64_t tokens = k.extents[1];
  const auto check = [&](const char* name, const AnyConstTensor& x, std::int64_t dim) {
    const Dims expected = {batch, tokens, extents.kv_heads, dim};
    const auto part = [&] { return std::string(where) + " " + name; };
    if (x.extents != expected) require(false, ErrorCode::kBadShape, part(), expected, x.extents);
    if (is_quantised(x.dtype))
      require(false, ErrorCode::kBadArgument, part(), "f32, bf16 or f16", rapt::name(x.dtype));
  };
  check("k", k, extents.head_dim);
  check("v", v, extents.v_head_dim);
  if (tokens < 0)
    require(false, ErrorCode::kBadShape, std::string(where) + " k", "at least 0 tokens", tokens);
  const bool empty = batch == 0 || tokens == 0;
  require(empty || (k.data != nullptr && v.data != nullptr), ErrorCode::kBadArgument, where,
          "k and v with data", "a null pointer");
}

void store_tokens(const AttentionKernels& kernels, const KvTiles::Extents& extents,
                  const HeadTiles& to, std::int64_t slot, const AnyConstTensor& k,
                  const AnyConstTensor& v) {
  const std::int64_t tokens = k.extents[1];
  with_cache_type(extents.dtype, [&]<class U>(U) {
    for (std::int64_t t = 0, count; t < tokens; t += count) {
      const std::int64_t at = slot + t,
                         groups = std::min(tokens - t, kChunkKeys - at % kChunkKeys) / kGroupKeys;
      const bool whole = !kIsQuantised<U> && at % kGroupKeys == 0 && groups > 0;
      count = whole ? groups * kGroupKeys : 1;
      const AnyConstTensor keys = head_tokens(k, 0, t, count, 0),
                           values = head_tokens(v, 0, t, count, 0);
      if constexpr (kIsQuantised<U>)
        store_quantised<U>(extents, to, at, keys, values);
      else if (extents.rows)
        store_rows<U>(kernels, extents, to, at, keys);
      else
        store_piece<U>(kernels, extents, to, at, keys, values);
    }
  });
}

void read_tokens(const KvTiles::Extents& extents, const HeadTiles& from, std::int64_t slot,
                 const AnyTensor& k, const AnyTensor& v) {
  with_cache_type(extents.dtype, [&]<class U>(U) {
    for (std::int64_t t = 0; t < k.extents[1]; ++t) {
      const std::int64_t at = slot + t;
      if (extents.rows) {
        const U* row = reinterpret_cast<const U*>(from.k) + at * extents.rows->k_token;
        read_token(row, 1, nullptr, at, k, t);
        read_token(row, 1, nullptr, at, v, t);
        continue;
      }
      read_token(key_at<U>(extents, from, at), kGroupKeys, from.k_scales, at, k, t);
      read_token(value_at<U>(extents, from, at), 1, from.v_scales, at, v, t);
    }
  });
}

KvTile tile_at(const KvTiles::Extents& extents, const HeadTiles& head, std::int64_t slot) {
  const std::int64_t size = size_of(extents.dtype), word = slot / kChunkKeys;
  if (extents.rows) {
    const std::byte* row = head.k + slot * extents.rows->k_token * size;
    return {extents.dtype, row, row, 0};
  }
  std::uint32_t flags = head.nonfinite[word] >> first_bit(slot);
  if (first_bit(slot) != 0 && word + 1 < chunks_of(head.slots))
    flags |= head.nonfinite[word + 1] << (32 - first_bit(slot));
  KvTile tile = {extents.dtype, head.k + slot * extents.head_dim * size,
                 head.v + slot * v_stride(extents) * size, flags};
  if (is_quantised(extents.dtype)) {
    tile.k_scales = head.k_scales + slot;
    tile.v_scales = head.v_scales + slot;
  }
  return tile;
}

}  // namespace rapt
