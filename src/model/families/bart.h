#pragma once

#include <string>

#include "model/families.h"

namespace rapt {

// Fields and names that BART's checkpoints began with and Marian's kept.

/// All fields but those that not both have. `start` as in read_encoder_decoder.
void read_bart(ConfigFields& fields, ModelConfig& config, std::int32_t start);

/// model.shared and, of the decoder, the head with final_logits_bias; no positions and no norm.
EndWeights bart_decoder_ends(const ModelConfig& config, const Weights& weights);
EndWeights bart_encoder_ends(const ModelConfig& config, const Weights& weights);

/// model.{decoder,encoder}.layers.N.
BlockWeights bart_decoder_block(const ModelConfig& config, const Weights& weights,
                                std::int64_t layer);
BlockWeights bart_encoder_block(const ModelConfig& config, const Weights& weights,
                                std::int64_t layer);

}  // namespace rapt
