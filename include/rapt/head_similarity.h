#pragma once

#include <cstdint>
#include <vector>

#include "rapt/attention.h"

namespace rapt {

/// How alike the query heads of a layer attend, by their rows: means over the rows in which both heads
/// have a key with a weight. A and B are the rows' weights among their keys; sinks take no part.
///
///     bhattacharyya = sum sqrt(A_j B_j)       1: the same weights; 0: no key in common
///     cosine        = sum A_j B_j / sqrt(sum A_j^2 sum B_j^2)
///     kl            = sum A_j ln(A_j / B_j), in nats, of head a (line) from head b (column); inf where
///                     a key that a attends to is hidden from b; of a row at most 2^40
///
/// With BC the first one, the Jensen-Shannon divergence of two rows is ln 2 (1 - BC) to 1 - BC, and at
/// most ln 2.
struct HeadSimilarity {
  std::int64_t heads = 0;             ///< Hq
  std::vector<double> bhattacharyya;  ///< [Hq, Hq], symmetric
  std::vector<double> cosine;         ///< [Hq, Hq], symmetric
  std::vector<double> kl;             ///< [Hq, Hq]
  std::vector<std::int64_t> rows;     ///< [Hq, Hq] rows that count; 0: the figures are NaN
};

/// Compares every pair of heads of a problem, over all sequences, in the stream: two passes over the
/// scores, the rows' sums first.
///
/// Figures of rows are summed in units of 2^-32, exactly: the means have the same bits for any
/// schedule and cut of the queries' work. NaN scores make the pairs of their head NaN.
///
/// @param  inputs as run's; v may be left empty.
/// @throws Error as make_plan and run; Error{kBadArgument} above 2^22 queries.
/// @error  1e-5 max(1, |x|) of the f64 matrix.
/// @cost   4 visible_pairs() D flops, and 8 a pair of heads for each pair of tokens.
/// @source Bhattacharyya 1943; bounds of the divergence: Topsoe 2000.
HeadSimilarity head_similarity(const Problem& problem, const Inputs& inputs, const Threads& threads,
                               Scratch& scratch);

}  // namespace rapt
