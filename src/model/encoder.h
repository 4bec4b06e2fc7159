#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/decoder_block.h"
#include "model/decoder_weights.h"
#include "rapt/model.h"

namespace rapt {

/// The encoder of an encoder-decoder: weights and the network that runs on them. Immutable.
///
///     x = E[tokens] scale + P[positions]    as in a decoder
///     the blocks, as decoder_weights.h has them, each token seeing all
///     output = norm(x)                      x where there is no norm
class Encoder {
 public:
  /// Packs the weights of the encoder of `config`, a block at a time; `before_block` is told which.
  /// @throws Error{kBadFile} naming the part of the model.
  Encoder(const ModelConfig& config, const Weights& weights, const ModelOptions& options,
          const std::function<void(std::int64_t)>& before_block);

  /// The output [1, 1, T, hidden_size] for all of a text, in `activations` until they are used again.
  /// @cost   memory O(T): a layer's keys and values at a time.
  ConstTensor run(const Threads& threads, std::span<const std::int32_t> tokens,
                  MultiHeadAttention::Workspace& workspace, Scratch& activations) const;

 private:
  ModelConfig config_;
  DType cache_type_;
  EndWeights ends_;
  std::vector<DecoderBlock> blocks_;
};

/// The encoder of an encoder-decoder as a model by itself: its extents in the place of the decoder's.
ModelConfig encoder_config(const ModelConfig& config);

}  // namespace rapt
