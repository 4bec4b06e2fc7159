#pragma once

#include <cstddef>

#include "kernels/linear/linear.h"
#include "rapt/tensor.h"
#include "rapt/weight.h"

namespace rapt {

/// Inputs that a tile has room for: of native bf16 whole pairs.
std::int64_t tile_depth(WeightType type, std::int64_t inputs);

/// Bytes of the tiles of a map, padded to whole groups of outputs.
std::size_t tile_bytes(WeightType type, std::int64_t outputs, std::int64_t inputs);

/// Writes the weights [1, 1, N, K] as tiles [group of 16 outputs][K][16 outputs] of `type`, the
/// nearest number of it, ties to even; outputs that are padded stay as they are. Native bf16 has tiles
/// [group][pair of inputs][16 outputs][2], an odd last input paired with 0. `scale`, one float an output,
/// is written for int8 alone:
///
///     scale_n = the least f32 with 127 scale_n >= max_k |W_nk|    q_nk = round(W_nk / scale_n)
///
/// or the f32 before it, where 127 scale_n would pass the largest. So |scale q - W| <= scale / 2, for
/// denormals too.
///
/// @throws Error{kBadArgument} naming the output, if a weight that becomes int8 is not finite.
void pack_tiles(const AnyConstTensor& weight, WeightType type, std::byte* tiles, float* scale);

}  // namespace rapt
