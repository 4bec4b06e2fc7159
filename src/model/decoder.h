#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rapt/kv_cache.h"
#include "rapt/layer.h"
#include "rapt/model.h"
#include "rapt/observer.h"

namespace rapt {

/// What one run of a decoder works on.
struct DecoderStep {
  const Threads& threads;
  std::span<const std::int32_t> tokens;         ///< the next ones of the sequence
  std::vector<DenseKvCache>& caches;            ///< one a layer, of the tokens before
  MultiHeadAttention::Workspace& workspace;     ///< of the layers
  Scratch& activations;                         ///< of the residual stream
  const AttentionObserver* observer = nullptr;  ///< called for each layer, once it has attended
};

/// A decoder-only transformer: weights and the network that runs on them. Immutable.
class Decoder {
 public:
  explicit Decoder(const ModelConfig& config) : config_(config) {}
  virtual ~Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  const ModelConfig& config() const { return config_; }

  /// One empty cache a layer, for one sequence of up to `capacity` tokens.
  virtual std::vector<DenseKvCache> make_caches(std::int64_t capacity) const = 0;

  /// Appends the tokens' keys and values to the caches and computes the logits of what follows the
  /// last `logits.extents[2]` of them.
  /// @shape  logits [1, 1, at most tokens.size(), vocab_size]
  virtual void run(const DecoderStep& step, const MutableTensor& logits) const = 0;

 private:
  ModelConfig config_;
};

}  // namespace rapt
