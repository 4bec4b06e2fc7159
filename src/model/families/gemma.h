#pragma once

#include "model/families.h"

namespace rapt {

// What Gemma 2 and 3 share; in gemma2.cc.

/// All fields but rotary positions and windows: query_pre_attn_scalar and the softcaps.
void read_gemma(ConfigFields& fields, ModelConfig& config);

/// Scale and softcap of every layer, once windows and positions are set.
void set_gemma_scores(ConfigFields& fields, ModelConfig& config);

EndWeights gemma_ends(const ModelConfig& config, const Weights& weights);
BlockWeights gemma_block(const ModelConfig& config, const Weights& weights, std::int64_t layer);

}  // namespace rapt
