#pragma once

#include <cstdint>

#include "kv/layout.h"
#include "rapt/kv_cache.h"

namespace rapt {

/// Extents of a cache of which values are the first features of keys: rows of keys, D rounded up to
/// 16 apart, which are read in place.
inline KvTiles::Extents in_rows(KvTiles::Extents extents) {
  const std::int64_t row = round_up(extents.head_dim, 16);
  extents.rows = KvRowStrides{row, 1, row, 1};
  return extents;
}

/// The first features of keys, which are their values.
inline AnyConstTensor values_in(AnyConstTensor k, std::int64_t v_head_dim) {
  k.extents[3] = v_head_dim;
  return k;
}

/// @throws Error{kBadArgument} unless tokens are stored as the cache keeps them.
void check_v_in_k(bool v_in_k, bool expected, const char* where);

/// Elements of keys and of values that a slot takes.
struct SlotElements {
  std::int64_t k, v;
};
inline SlotElements slot_elements(const KvTiles::Extents& extents) {
  if (extents.rows) return {extents.rows->k_token, 0};
  return {extents.head_dim, round_up(extents.v_head_dim, 16)};
}

/// Where keys and values of consecutive slots of one kv head lie, in the layout of a KvTile.
struct HeadTiles {
  std::int64_t slots;  ///< a multiple of 16
  std::byte* k;
  std::byte* v;               ///< not used of rows
  std::uint32_t* nonfinite;   ///< [chunks_of(slots)] a bit for each group; not used of rows
  float* k_scales = nullptr;  ///< [slots] read and written of quantised types alone
  float* v_scales = nullptr;
};

/// Tokens [first, first + count) of one sequence and head of a tensor: [1, count, 1, D].
template <class Memory>
AnyView<Memory> head_tokens(const AnyView<Memory>& x, std::int64_t b, std::int64_t first,
                            std::int64_t count, std::int64_t h) {
  return {x.address(b, first, h, 0), x.dtype, {1, count, 1, x.extents[3]}, x.strides};
}

/// Checks tokens of a cache: k [batch, T, Hkv, D], v [batch, T, Hkv, Dv].
/// @throws Error{kBadShape}; Error{kBadArgument} for a null pointer or a quantised type.
void check_tokens(const KvTiles::Extents& extents, std::int64_t batch, const AnyConstTensor& k,
                  const AnyConstTensor& v, const char* where);

/// Writes tokens [1, T, 1, D] and [1, T, 1, Dv] at slots [slot, slot + T): the same type bit for
/// bit, others rounded once or quantised. Flags the groups of values that are not finite, and never
/// clears a flag; other slots stay as they are.
/// @pre CanonicalFloatEnv
void store_tokens(const AttentionKernels& kernels, const KvTiles::Extents& extents,
                  const HeadTiles& to, std::int64_t slot, const AnyConstTensor& k,
                  const AnyConstTensor& v);

/// Reads tokens [1, T, 1, D] and [1, T, 1, Dv] from slots [slot, slot + T).
/// @pre CanonicalFloatEnv
void read_tokens(const KvTiles::Extents& extents, const HeadTiles& from, std::int64_t slot,
                 const AnyTensor& k, const AnyTensor& v);

/// The tile from `slot` on, a multiple of 16.
KvTile tile_at(const KvTiles::Extents& extents, const HeadTiles& head, std::int64_t slot);

}  // namespace rapt
