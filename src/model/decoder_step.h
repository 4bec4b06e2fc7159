#pragma once

#include <cstdint>
#include <span>

#include "rapt/head_interventions.h"
#include "rapt/kv_cache.h"
#include "rapt/layer.h"
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
  const HeadInterventions* interventions = nullptr;  ///< the same; see Session::intervene
  std::span<const DenseKvCache> memory = {};         ///< Decoder::encode's; a step of one sequence
};

}  // namespace rapt
