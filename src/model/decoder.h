#pragma once

#include <cstdint>
#include <span>

#include "rapt/layer.h"
#include "rapt/model.h"
#include "rapt/observer.h"
#include "rapt/paged_kv_cache.h"

namespace rapt {

/// A sequence's part of a step: its last `tokens`, for which the cache has room already.
struct DecoderSequence {
  std::int64_t sequence = 0;
  std::int64_t tokens = 0;
  std::int64_t logits = 0;  ///< rows wanted: of the last so many of the tokens
};

/// What one run of a decoder works on.
struct DecoderStep {
  const Threads& threads;
  std::span<const std::int32_t> tokens;  ///< of the sequences, one after the other
  std::span<const DecoderSequence> sequences;
  PagedKvCache& cache;                          ///< with a layer for each of the decoder's
  std::int64_t rotary_length;                   ///< see MultiHeadAttention::BatchInputs
  MultiHeadAttention::Workspace& workspace;     ///< of the layers
  Scratch& activations;                         ///< of the residual stream
  const AttentionObserver* observer = nullptr;  ///< of a step of one sequence; see Session::observe
};

/// A decoder-only transformer: weights and the network that runs on them. Immutable.
class Decoder {
 public:
  Decoder(const ModelConfig& config, const ModelOptions& options)
      : config_(config), options_(options) {}
  virtual ~Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  const ModelConfig& config() const { return config_; }
  const ModelOptions& options() const { return options_; }

  /// Stores the tokens' keys and values and computes the logits that are wanted, a row after the
  /// other, in the bits that each sequence has alone.
  /// @shape  logits [1, 1, all rows wanted, vocab_size]
  virtual void run(const DecoderStep& step, const MutableTensor& logits) const = 0;

 private:
  ModelConfig config_;
  ModelOptions options_;
};

/// Keys and values of all layers, in `pages` pages.
PagedKvCache::Shape cache_shape(const ModelConfig& config, DType dtype, std::int64_t page_size,
                                std::int64_t pages);

/// The cache of one sequence of up to `capacity` tokens, whose chunks lie in one piece.
PagedKvCache::Shape session_cache_shape(const ModelConfig& config, DType dtype,
                                        std::int64_t capacity);

/// Bytes of all pages of a cache.
std::size_t cache_bytes(const PagedKvCache::Shape& shape);

}  // namespace rapt
