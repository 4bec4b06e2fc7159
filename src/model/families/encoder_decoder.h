#pragma once

#include <string>

#include "model/families.h"

namespace rapt {

/// The fields that every encoder-decoder has, among them decoder_start_token_id: absent it is `start`
/// or, where that is negative, bos_token_id, as in transformers.
void read_encoder_decoder(ConfigFields& fields, ModelConfig& config, std::int32_t start = -1);

/// The embedding of one stack: the copy `own` that some files hold, else the one that both share.
WeightMatrix stack_embedding(const ModelConfig& config, const Weights& weights,
                             const std::string& shared, const std::string& own);

/// sqrt(hidden_size), in f32.
float root_of_width(const ModelConfig& config);

}  // namespace rapt
