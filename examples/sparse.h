#pragma once

#include "example.h"

namespace example {

/// Causal attention to `keep` blocks of keys for each block of queries and each head: its own, the
/// first, and those before it whose mean key fits the mean query best.
/// @shape  q [1, T, Hq, D]   k [1, T, Hkv, D], T a multiple of `block`
inline rapt::Mask top_blocks(const Tensor& q, const Tensor& k, std::int64_t block,
                             std::int64_t keep) {
  const std::int64_t blocks = q.extents[1] / block, heads = q.extents[2];
  Tensor scores({1, heads, blocks, blocks});
  rapt::mean_block_scores(q, k, block, block, scores);
  for (std::int64_t n = 0; n < heads * blocks * blocks; ++n) {
    const std::int64_t x = n / blocks % blocks, y = n % blocks;
    const float infinity = std::numeric_limits<float>::infinity();
    if (y > x) scores.data[n] = -infinity;
    if (y == x || y == 0) scores.data[n] = infinity;
  }
  const rapt::BlockMask::Shape shape = {1, heads, blocks, blocks, block, block};
  return rapt::Mask::blocks(rapt::BlockMask::from_top(shape, scores, keep)) & rapt::Mask::causal();
}

}  // namespace example
