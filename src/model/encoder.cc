#include "model/encoder.h"

#include <algorithm>
#include <string>

#include "base/round.h"
#include "model/embedding.h"
#include "model/families.h"
#include "model/part_errors.h"
#include "rapt/state.h"

namespace rapt {
namespace {

/// Of one layer: the next one's keys and values take the place of the last one's.
PagedKvCache::Shape layer_cache(const ModelConfig& config, DType dtype, std::int64_t tokens) {
  const std::int64_t page = std::min(kChunk, round_up(tokens, 16));
  return {.kv_heads = config.num_key_value_heads,
          .head_dim = config.head_dim,
          .page_size = page,
          .pages = ceil_div(tokens, page),
          .dtype = dtype};
}

}  // namespace

ModelConfig encoder_config(const ModelConfig& config) {
  ModelConfig c = config;
  c.num_hidden_layers = config.encoder->num_hidden_layers;
  c.num_attention_heads = c.num_key_value_heads = config.encoder->num_attention_heads;
  c.head_dim = config.encoder->head_dim;
  c.intermediate_size = config.encoder->intermediate_size;
  c.max_position_embeddings = config.encoder->max_position_embeddings;
  c.layers.assign(static_cast<std::size_t>(c.num_hidden_layers), config.layers.front());
  c.encoder.reset();
  return c;
}

Encoder::Encoder(const ModelConfig& config, const Weights& weights, const ModelOptions& options,
                 const std::function<void(std::int64_t)>& before_block)
    : config_(encoder_config(config)),
      cache_type_(options.attention == Arithmetic::kNativeBF16 ? DType::kBF16 : DType::kF32),
      ends_(find_family(config.architecture)->encoder_ends(config_, weights)) {
  for (std::int64_t n = 0; n < config_.num_hidden_layers; ++n) {
    before_block(n);
    blocks_.push_back(named("encoder layer " + std::to_string(n), [&] {
      const Family& family = *find_family(config_.architecture);
      return DecoderBlock(config_, 0, family.encoder_block(config_, weights, n), options,
                          BlockKind::kEncoder);
    }));
  }
}

ConstTensor Encoder::run(const Threads& threads, std::span<const std::int32_t> tokens,
                         MultiHeadAttention::Workspace& workspace, Scratch& activations) const {
  const std::int64_t count = std::ssize(tokens);
  PagedKvCache cache(layer_cache(config_, cache_type_, count));
  const DecoderSequence text{cache.create(), count};
  cache.extend(text.sequence, count);
  const DecoderStep step{threads, tokens, {&text, 1}, cache, count, workspace, activations};
  const Activations a = Activations::carve(config_, count, activations);
  StepPlans plans(step);
  embed(step, ends_, config_.rms_norm_eps, a.x);
  for (const DecoderBlock& block : blocks_) block.run(step, plans, a);
  if (!ends_.final_norm) return a.x;
  apply_norm(threads, ends_.final_norm, config_.rms_norm_eps, a.x, a.normed);
  return a.normed;
}

}  // namespace rapt
