#pragma once

#include <string>

#include "model/families.h"

namespace rapt {

// Names that Llama's checkpoints began with and others kept.

/// "model.layers.N"
std::string llama_layer(std::int64_t layer);

/// model.embed_tokens, model.norm and lm_head.
EndWeights llama_ends(const ModelConfig& config, const Weights& weights);

/// self_attn.{q,k,v,o}_proj of the layer `name`.
void llama_attention(const ModelConfig& config, const Weights& weights, const std::string& name,
                     bool qkv_bias, bool o_bias, BlockWeights& block);

/// mlp.{gate,up,down}_proj.
void llama_mlp(const ModelConfig& config, const Weights& weights, const std::string& name,
               BlockWeights& block);

/// input_layernorm and post_attention_layernorm, both before what they are for.
void llama_norms(const ModelConfig& config, const Weights& weights, const std::string& name,
                 BlockWeights& block);

/// All of a block.
BlockWeights llama_block(const ModelConfig& config, const Weights& weights, std::int64_t layer);

}  // namespace rapt
