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

/// The mean over queries, of every head, of the weight that `sparse` leaves where it was:
///
///     kept_i = l_sparse 2^(m_sparse - m) / l        m, l as Result has them; sparse hides no less
inline std::vector<double> kept_mass(rapt::Problem p, const rapt::Mask& sparse,
                                     const rapt::Inputs& inputs) {
  const rapt::Dims rows = {1, 1, p.q_heads, p.q_tokens};
  Tensor o({1, p.q_tokens, p.q_heads, p.value_dim()}), m(rows), l(rows), m_sparse(rows),
      l_sparse(rows);
  rapt::Scratch scratch;
  rapt::run(rapt::make_plan(p, rapt::Threads(1)), inputs, scratch, {o, {}, m, l});
  p.mask = p.mask & sparse;
  rapt::run(rapt::make_plan(p, rapt::Threads(1)), inputs, scratch, {o, {}, m_sparse, l_sparse});
  std::vector<double> kept(p.q_heads, 0.0);
  for (std::int64_t n = 0; n < p.q_heads * p.q_tokens; ++n)
    kept[n / p.q_tokens] += l_sparse.data[n] * std::exp2(m_sparse.data[n] - m.data[n]) / l.data[n] /
                            static_cast<double>(p.q_tokens);
  return kept;
}

}  // namespace example
