#pragma once

// Tokens for the tests of paged caches.

#include <cstdint>
#include <vector>

#include "rapt/paged_kv_cache.h"
#include "util.h"

namespace rapt::test {

inline constexpr DType kCacheDTypes[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kInt8,
                                         DType::kF8E4M3};

/// Tokens of both kinds.
struct Tokens {
  Tensor k, v;

  Tokens(std::int64_t count, const PagedKvCache::Shape& shape, std::uint64_t seed = 0)
      : k(normal({1, count, shape.kv_heads, shape.head_dim}, seed)),
        v(normal({1, count, shape.kv_heads, shape.v_head_dim}, seed + 1)) {}
};

/// A sequence of `count` tokens in layer 0 of a cache, all at once.
inline std::int64_t add(PagedKvCache& cache, const Tokens& x) {
  const std::int64_t id = cache.create();
  cache.extend(id, x.k.view.extents[1]);
  cache.store(0, id, 0, x.k.view, x.v.view);
  return id;
}

/// The sequences of a problem in pages of a cache's second layer, in mixed order.
struct PagedSequences {
  PagedKvCache cache;
  std::vector<std::int64_t> ids;  // of each sequence of the batch

  /// @shape  k [B, Tk, Hkv, D]   v [B, Tk, Hkv, Dv]
  PagedSequences(const Problem& problem, const AnyConstTensor& k, const AnyConstTensor& v,
                 std::int64_t page_size);

  Inputs inputs(const AnyConstTensor& q, const ConstTensor& bias = {}) const {
    return {.q = q, .k = {}, .v = {}, .cache = &cache.layer(1), .bias = bias, .sequences = ids};
  }
};

}  // namespace rapt::test
