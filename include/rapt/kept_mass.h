#pragma once

#include <cstdint>
#include <vector>

#include "rapt/attention.h"

namespace rapt {

/// What a sparser mask keeps of the attention of one query head.
struct KeptMass {
  double mean = 1.0;      ///< over the rows
  double least = 1.0;     ///< of the row that loses most
  std::int64_t rows = 0;  ///< with a key under the problem's own mask, or a sink
};

/// Attention mass that `sparse` keeps, on real q and k: for every row the sum of its weights A_ij
/// under the problem's mask, over the keys that `sparse` shows as well. 1 is all of it.
///
///     kept_i = l_sparse 2^(m_sparse - m) / l
///
/// A sink keeps its mass. A row with a NaN score makes its head's figures NaN. What is kept says how
/// much weight a pattern leaves where it was, not how much worse the output or the model is.
///
/// @return one for each query head.
/// @throws Error as make_plan and run.
/// @cost   two runs of attention, O(tokens) memory.
std::vector<KeptMass> kept_mass(const Problem& problem, const Mask& sparse, const Inputs& inputs,
                                const Threads& threads, Scratch& scratch);

}  // namespace rapt
