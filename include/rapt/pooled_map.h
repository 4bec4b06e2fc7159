#pragma once

#include <cstdint>
#include <vector>

#include "rapt/attention.h"

namespace rapt {

/// The attention matrix of one sequence and query head, averaged over blocks.
///
///     mass[R, C] = mean over rows i of block R of  sum of A_ij over keys j of block C
///
/// A line sums to 1, less what sinks take. Query token i of Tq is of block floor(i blocks / Tq), key
/// tokens likewise, padding included.
struct PooledMap {
  std::int64_t query_blocks = 0, key_blocks = 0;
  std::vector<double> mass;        ///< [query_blocks, key_blocks]
  std::vector<std::int64_t> rows;  ///< [query_blocks] in which a key has a weight; 0: the line is 0

  double at(std::int64_t query_block, std::int64_t key_block) const {
    return mass[static_cast<std::size_t>(query_block * key_blocks + key_block)];
  }
};

/// The maps of every sequence and query head, [B, Hq] in that order, in one pass: no row of A is ever
/// whole in memory. For one head of many give views of its q and k alone.
///
/// Masses are summed in units of 2^-32, exactly: any order, so any schedule, has the same bits. A
/// row with a NaN score makes its line NaN.
///
/// @param  inputs as run's; v may be left empty.
/// @throws Error as make_plan and run; Error{kBadArgument} unless there are 1 to 8,192 blocks of each
///         kind, and at most 2^22 queries.
/// @error  1e-5 of the f64 matrix.
/// @cost   2 visible_pairs() D flops; 16 B Hq query_blocks key_blocks bytes, half of them the maps,
///         and of working memory O(key_blocks log Tk) floats a row of the block a thread is at.
std::vector<PooledMap> pooled_map(const Problem& problem, const Inputs& inputs,
                                  std::int64_t query_blocks, std::int64_t key_blocks,
                                  const Threads& threads, Scratch& scratch);

}  // namespace rapt
