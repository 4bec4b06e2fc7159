#pragma once

#include <optional>

#include "model/families.h"

namespace rapt {

// What Gemma 2 and 3 share; in gemma2.cc.

/// All fields but those of rotary positions, windows and scores.
void read_gemma(ConfigFields& fields, ModelConfig& config);

/// Softcaps of a configuration that does not have the fields; null is none in every case.
struct GemmaSoftcaps {
  std::optional<float> attention, logits;
};

/// query_pre_attn_scalar and the softcaps: the scale and the softcap of every layer, whose windows
/// and positions are set, and the softcap of the logits.
void read_gemma_scores(ConfigFields& fields, ModelConfig& config, const GemmaSoftcaps& absent);

EndWeights gemma_ends(const ModelConfig& config, const Weights& weights);
BlockWeights gemma_block(const ModelConfig& config, const Weights& weights, std::int64_t layer);

}  // namespace rapt
