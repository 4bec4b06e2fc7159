#pragma once

#include <cstdint>
#include <vector>

#include "rapt/rotary.h"

namespace rapt {

/// What a scaling makes of theta and R for sequences of one length.
struct RotaryFrequencies {
  std::vector<double> inv_freq;   ///< [pairs]; f32 values in that precision
  double attention_factor = 1.0;  ///< of cos and sin
};

/// @throws Error{kBadArgument} naming the field out of range.
void check_rotary(const RotaryConfig& config);

/// Inverse frequencies of sequences of `length` tokens, by the steps of transformers'
/// modeling_rope_utils.py in f32, and by the same formulas in f64.
/// @pre    check_rotary(config), CanonicalFloatEnv.
RotaryFrequencies rotary_frequencies(const RotaryConfig& config, std::int64_t length);

/// Whether sequences of `length` tokens have other frequencies than short ones.
bool is_beyond(const RotaryScaling& scaling, std::int64_t length);

}  // namespace rapt
