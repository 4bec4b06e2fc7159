#include "rapt/rotary_append.h"

#include <algorithm>
#include <string>

#include "base/check.h"
#include "base/float_env.h"
#include "kv/tile_store.h"
#include "layer/rotate.h"

namespace rapt {
namespace {

/// Rotates tokens of sequence b, and calls store(first token, k, v) for those of each group of slots.
template <class Store>
void rotate_groups(const RotaryTable& table, std::int64_t row, const MutableTensor& k,
                   const AnyConstTensor& v, std::int64_t b, std::int64_t slot, Store&& store) {
  const CanonicalFloatEnv env;
  for (std::int64_t t = 0, count; t < k.extents[1]; t += count) {
    count = std::min(k.extents[1] - t, kGroupKeys - (slot + t) % kGroupKeys);
    const MutableTensor keys(&k.at(b, t, 0, 0), {1, count, k.extents[2], k.extents[3]}, k.strides);
    rotate_tokens(table, row + t, keys, keys);
    store(t, keys,
          {v.address(b, t, 0, 0), v.dtype, {1, count, v.extents[2], v.extents[3]}, v.strides});
  }
}

}  // namespace

void append_rotary(const RotaryTable& table, const MutableTensor& k, const AnyConstTensor& v,
                   DenseKvCache& cache) {
  const std::int64_t batch = cache.shape().batch, tokens = k.extents[1];
  check_rotated(table, k.extents, "append_rotary", "k");
  check_v_in_k(cache.shape().v_in_k, false, "append_rotary");
  check_tokens(cache.extents(), batch, k, v, "append_rotary");
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t room = cache.shape().capacity - cache.length(b);
    if (tokens > room)
      require(false, ErrorCode::kBadArgument, "append_rotary",
              "at most " + std::to_string(room) + " more tokens", tokens);
  }
  for (std::int64_t b = 0; b < batch && tokens > 0; ++b)
    rotate_groups(table, b * tokens % table.tokens(), k, v, b, cache.length(b),
                  [&](auto, const MutableTensor& keys, const AnyConstTensor& values) {
                    cache.append(b, keys, values);
                  });
}

void store_rotary(const RotaryTable& table, std::int64_t row, const MutableTensor& k,
                  const AnyConstTensor& v, PagedKvCache& cache, std::int64_t layer,
                  std::int64_t sequence, std::int64_t first) {
  const std::int64_t tokens = k.extents[1];
  if (row < 0 || row > table.tokens() || tokens > table.tokens() - row)
    require(false, ErrorCode::kBadShape, "store_rotary.table",
            std::to_string(tokens) + " rows from " + std::to_string(row),
            std::to_string(table.tokens()) + " rows");
  if (k.extents[3] < 2 * table.pairs())
    require(false, ErrorCode::kBadShape, "store_rotary.k",
            "a last extent of at least " + std::to_string(2 * table.pairs()), k.extents);
  check_tokens(cache.layer(layer).extents(), 1, k, v, "store_rotary");
  rotate_groups(table, row, k, v, 0, first,
                [&](std::int64_t t, const MutableTensor& keys, const AnyConstTensor& values) {
                  cache.store(layer, sequence, first + t, keys, values);
                });
}

}  // namespace rapt
