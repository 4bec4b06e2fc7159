#pragma once

#include <cstdint>
#include <vector>

#include "rapt/tensor.h"
#include "rapt/threads.h"

namespace rapt {

/// Learned absolute positions, as in GPT-2: a row of a table is added to each token's embedding.
///
///     x_t += E[position_t]
///
/// @shape  table E [1, 1, P, d]; x [1, B, T, d]; both views of any strides. Token (b, t) has
///         position b T + t of the list; a list of T positions serves every b.
/// @throws Error{kBadShape} naming the view; Error{kBadArgument} naming a position outside 0 .. P-1.
///         x is then as it was before.
/// @source arXiv:1706.03762, 3.5
void add_positions(const Threads& threads, const ConstTensor& table,
                   const std::vector<std::int64_t>& positions, const MutableTensor& x);

}  // namespace rapt
