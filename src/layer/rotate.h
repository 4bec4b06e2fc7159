#pragma once

#include <cstdint>

#include "rapt/rotary.h"
#include "rapt/tensor.h"

namespace rapt {

/// @throws Error{kBadShape} naming the function and its view unless x [B, T, H, D] has the features
///         that the table rotates, and the table T or B T tokens.
void check_rotated(const RotaryTable& table, const Dims& x, const char* function, const char* view);

/// apply_rotary of one sequence on this thread: its tokens are rows [row, row + T) of the table.
/// @pre   CanonicalFloatEnv
/// @shape x, y [1, T, H, D]
void rotate_tokens(const RotaryTable& table, std::int64_t row, const ConstTensor& x,
                   const MutableTensor& y);

}  // namespace rapt
