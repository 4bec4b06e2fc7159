#pragma once

#include <cstdint>

#include "rapt/kv_cache.h"
#include "rapt/paged_kv_cache.h"
#include "rapt/rotary.h"
#include "rapt/tensor.h"

namespace rapt {

/// Rotates keys in place and appends them to every sequence, in one pass over memory: the 16 tokens
/// of a group are stored while they are in the L1 cache. The bits of apply_rotary, then append.
///
/// @shape  k [B, T, Hkv, D]   v [B, T, Hkv, Dv]; the table as in apply_rotary
/// @throws Error as apply_rotary and DenseKvCache::append: then nothing was appended, and k is as it
///         was.
void append_rotary(const RotaryTable& table, const MutableTensor& k, const AnyConstTensor& v,
                   DenseKvCache& cache);

/// The same of PagedKvCache::store: one sequence's tokens, which are rows [row, row + T) of the table.
///
/// @shape  k [1, T, Hkv, D]   v [1, T, Hkv, Dv]
/// @throws Error{kBadShape} if the table has not these rows, or k fewer features than it rotates;
///         Error as PagedKvCache::store. What was stored before a shared page was met stays.
void store_rotary(const RotaryTable& table, std::int64_t row, const MutableTensor& k,
                  const AnyConstTensor& v, PagedKvCache& cache, std::int64_t layer,
                  std::int64_t sequence, std::int64_t first);

}  // namespace rapt
