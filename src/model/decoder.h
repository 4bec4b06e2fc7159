#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/decoder_block.h"
#include "model/decoder_step.h"
#include "model/decoder_weights.h"
#include "model/encoder.h"
#include "rapt/linear.h"
#include "rapt/model.h"
#include "rapt/paged_kv_cache.h"

namespace rapt {

/// A decoder, with the encoder whose output it reads where there is one: weights and the network
/// that runs on them. Immutable.
///
///     x = E[tokens] scale + P[positions]    P where there is a table; a norm where there is one
///     the blocks, as decoder_weights.h has them
///     logits = W_head (head_scale norm(x)) + b_head         with a cap, cap tanh(logits / cap)
///
/// What families differ in is data: ModelConfig, and which weights are there.
class Decoder {
 public:
  /// Packs the weights, a block at a time.
  /// @throws Error{kBadFile} naming the part of the model.
  Decoder(const ModelConfig& config, const Weights& weights, const ModelOptions& options,
          const LoadProgress& progress = {});

  const ModelConfig& config() const { return config_; }
  const ModelOptions& options() const { return options_; }

  /// Stores the tokens' keys and values and computes the logits that are wanted, a row after the
  /// other, in the bits that each sequence has alone. Returns how many prefixes several sequences
  /// attended to at once, the most of any layer.
  /// @shape  logits [1, 1, all rows wanted, vocab_size]
  std::int64_t run(const DecoderStep& step, const MutableTensor& logits) const;

  /// The memory of a step, from the tokens that the encoder reads: keys and values of each layer's
  /// attention to its output.
  /// @pre    config().encoder
  std::vector<DenseKvCache> encode(const Threads& threads, std::span<const std::int32_t> tokens,
                                   MultiHeadAttention::Workspace& workspace,
                                   Scratch& activations) const;

 private:
  void write_logits(const DecoderStep& step, const MutableTensor& x, const MutableTensor& normed,
                    const MutableTensor& logits) const;

  ModelConfig config_;
  ModelOptions options_;
  EndWeights ends_;
  std::vector<DecoderBlock> blocks_;
  Linear head_;
  std::optional<Encoder> encoder_;
};

/// @throws Error{kUnsupported} if the model needs an encoder's input, which only a Session takes.
void require_decoder_only(const ModelConfig& config, const std::string& where);

/// Keys and values of all layers, in `pages` pages.
PagedKvCache::Shape cache_shape(const ModelConfig& config, DType dtype, std::int64_t page_size,
                                std::int64_t pages);

/// The cache of one sequence of up to `capacity` tokens, whose chunks lie in one piece.
PagedKvCache::Shape session_cache_shape(const ModelConfig& config, DType dtype,
                                        std::int64_t capacity);

/// Bytes of all pages of a cache.
std::size_t cache_bytes(const PagedKvCache::Shape& shape);

}  // namespace rapt
