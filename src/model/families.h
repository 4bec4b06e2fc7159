#pragma once

#include <cstdint>
#include <string>

#include "model/config_fields.h"
#include "model/decoder_weights.h"
#include "rapt/model.h"

namespace rapt {

/// A model family: which fields of config.json it has, and how a checkpoint names the weights. The
/// network itself is one for all (decoder.h, encoder.h).
struct Family {
  const char* architecture;  ///< as config.json names it
  const char* model_type;    ///< the same, of its field model_type

  /// Reads the family's fields, but for those that all families have.
  /// @throws Error{kBadFile, kUnsupported} naming the field.
  void (*read)(ConfigFields& fields, ModelConfig& config);

  EndWeights (*ends)(const ModelConfig& config, const Weights& weights);
  BlockWeights (*block)(const ModelConfig& config, const Weights& weights, std::int64_t layer);

  /// Whether each kv head has rows of its own in model.layers.N.self_attn.{k,v}_proj, and nothing
  /// else: then heads can be pooled (rapt convert --kv-heads).
  bool has_separate_kv_heads;

  /// The same of the encoder, with the configuration that encoder_config() makes of it; null where
  /// there is none.
  EndWeights (*encoder_ends)(const ModelConfig& config, const Weights& weights) = nullptr;
  BlockWeights (*encoder_block)(const ModelConfig& config, const Weights& weights,
                                std::int64_t layer) = nullptr;

  bool has_encoder() const { return encoder_ends != nullptr; }
};

/// The family of an architecture, or null.
const Family* find_family(const std::string& architecture);

/// The architectures that are served, for messages.
std::string family_names();

}  // namespace rapt
