#pragma once

#include "model/decoder_step.h"
#include "model/decoder_weights.h"

namespace rapt {

/// What the blocks begin with, of a step whose sequences have room in the cache already:
///
///     x = E[tokens] scale + P[slots],  then a norm where there is one
///
/// @shape  x [1, 1, T, hidden_size], contiguous
void embed(const DecoderStep& step, const EndWeights& ends, double norm_eps,
           const MutableTensor& x);

}  // namespace rapt
