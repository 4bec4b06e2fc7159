#include "model/decoder.h"

#include <algorithm>

#include "base/round.h"
#include "rapt/state.h"

namespace rapt {

PagedKvCache::Shape cache_shape(const ModelConfig& config, DType dtype, std::int64_t page_size,
                                std::int64_t pages) {
  return {.layers = config.num_hidden_layers,
          .kv_heads = config.num_key_value_heads,
          .head_dim = config.head_dim,
          .page_size = page_size,
          .pages = pages,
          .dtype = dtype};
}

PagedKvCache::Shape session_cache_shape(const ModelConfig& config, DType dtype,
                                        std::int64_t capacity) {
  const std::int64_t page = std::min(kChunk, round_up(capacity, 16));
  return cache_shape(config, dtype, page, ceil_div(capacity, page));
}

std::size_t cache_bytes(const PagedKvCache::Shape& shape) {
  return PagedKvCache::page_bytes(shape) * static_cast<std::size_t>(shape.pages);
}

}  // namespace rapt
