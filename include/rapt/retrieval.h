#pragma once

#include <cstdint>
#include <vector>

#include "rapt/attention.h"

namespace rapt {

/// The keys with the largest scores of some rows, [B, Hq, rows, count]: key tokens, by descending
/// score; of equal ones the earlier comes first, a NaN score before all. -1 where a row sees fewer.
///
/// @param  rows query tokens.
/// @throws Error{kBadArgument} if a row is outside [0, Tq), or count is not 1 to Tk; as make_plan and run.
/// @cost   two passes over the scores of these rows; O(Tk) memory.
std::vector<std::int64_t> top_keys(const Problem& problem, const Inputs& inputs,
                                   const std::vector<std::int64_t>& rows, std::int64_t count,
                                   const Threads& threads, Scratch& scratch);

/// What a retrieval head is measured on: a text with a needle, and the tokens that were written.
struct RetrievalRun {
  std::vector<std::int64_t> rows;     ///< query tokens at which a token was written, ascending
  std::vector<std::int32_t> emitted;  ///< the token written at each
  std::vector<std::int32_t> tokens;   ///< [Tk] of the text
  Range needle;                       ///< key tokens of it
};

/// How much of the needle each query head copied: the tokens, each once, for which at some step the
/// head's top key lay in the needle and was the token that was written, over the needle's length. A
/// needle that repeats tokens has no head of score 1. [Hq]
///
/// @pre    problem.batch = 1.
/// @throws Error{kBadArgument} naming the field; as top_keys.
/// @source Wu et al. 2024, arXiv:2404.15574, eq. 1.
std::vector<double> retrieval_scores(const Problem& problem, const Inputs& inputs,
                                     const RetrievalRun& run, const Threads& threads,
                                     Scratch& scratch);

}  // namespace rapt
