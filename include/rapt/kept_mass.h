#pragma once

#include <cstdint>
#include <vector>

#include "rapt/attention.h"

namespace rapt {

/// What a sparser mask keeps of the attention of one query head.
struct KeptMass {
  double mean = 1.0;      ///< over the rows
  double least = 1.0;     ///< of the row that loses most
  std::int64_t rows = 0;  ///< in which a key has a weight under the problem's own mask
};

/// Attention mass that `sparse` keeps, on real q and k: for every row the share of its keys' weights
/// under the problem's mask that is on keys which `sparse` shows as well. 1 is all of it.
///
///     kept_i = l_sparse 2^(m_sparse - m) / l
///
/// Sinks take no part. A row with a NaN score makes its head's figures NaN. What is kept says how
/// much weight a pattern leaves where it was, not how much worse the output or the model is.
///
/// @return one for each query head.
/// @throws Error as make_plan and run.
/// @cost   two runs of attention, O(tokens) memory.
std::vector<KeptMass> kept_mass(const Problem& problem, const Mask& sparse, const Inputs& inputs,
                                const Threads& threads, Scratch& scratch);

}  // namespace rapt
