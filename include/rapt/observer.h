#pragma once

#include <cstdint>
#include <functional>

#include "rapt/attention.h"
#include "rapt/paged_kv_cache.h"

namespace rapt {

/// What one layer's attention has read and given, for tokens that ran through the model together.
/// It lives as long as the observer's call.
struct LayerAttention {
  std::int64_t layer;
  const Plan& plan;           ///< kv_tokens - q_tokens tokens come before its first query
  const PagedKvCache& cache;  ///< keys and values, those of the queries' own tokens included
  std::int64_t sequence;      ///< of the cache
  ConstTensor q;              ///< [1, T, Hq, D], rotated
  ConstTensor o;              ///< [1, T, Hq, Dv], before the output projection
};

/// See Session::observe.
using AttentionObserver = std::function<void(const LayerAttention&)>;

}  // namespace rapt
