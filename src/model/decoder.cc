#include "model/decoder.h"

#include <algorithm>

#include "base/check.h"
#include "base/round.h"
#include "base/rows.h"
#include "kernels/math/math.h"
#include "model/embedding.h"
#include "model/families.h"
#include "model/part_errors.h"
#include "rapt/state.h"

namespace rapt {
namespace {

/// Rows [first, first + count) of a contiguous [1, 1, T, width].
MutableTensor rows(const MutableTensor& x, std::int64_t first, std::int64_t count) {
  return {&x.at(0, 0, first, 0), {1, 1, count, x.extents[3]}};
}

/// x = cap tanh(x / cap) of every row.
void cap_logits(const Threads& threads, float cap, const MutableTensor& x) {
  const std::int64_t width = x.extents[3];
  const auto tanh = math_kernels().tanh;
  for_rows(threads, x.extents[2], 1, [&](std::int64_t first, std::int64_t end) {
    float* const begin = x.data + first * width;
    const std::int64_t count = (end - first) * width;
    for (std::int64_t n = 0; n < count; ++n) begin[n] /= cap;
    tanh(begin, begin, count);
    for (std::int64_t n = 0; n < count; ++n) begin[n] *= cap;
  });
}

}  // namespace

Decoder::Decoder(const ModelConfig& config, const Weights& weights, const ModelOptions& options,
                 const LoadProgress& progress)
    : config_(config),
      options_(options),
      ends_(find_family(config.architecture)->ends(config, weights)),
      head_(named("head", [&] {
        return pack({ends_.head, ends_.head_bias}, options);
      })) {
  ends_.head = {};  // is packed
  const std::int64_t learned = ends_.positions.view.extents[2];
  require(ends_.positions.view.data == nullptr || config.context() <= learned,
          ErrorCode::kBadArgument, "ModelConfig.rope_scaling",
          "a context of at most the " + std::to_string(learned) + " learned positions",
          config.context());
  require(!config.encoder || !is_quantised(options.cache), ErrorCode::kBadArgument,
          "ModelOptions.cache", "f32, bf16 or f16 for an encoder-decoder", name(options.cache));
  const std::int64_t layers = config.num_hidden_layers,
                     parts = layers + (config.encoder ? config.encoder->num_hidden_layers : 0) + 1;
  const auto tell = [&](std::int64_t done) {
    if (progress) progress(done, parts);
  };
  for (std::int64_t n = 0; n < layers; ++n) {
    tell(n + 1);
    blocks_.push_back(named("layer " + std::to_string(n), [&] {
      return DecoderBlock(config, n, find_family(config.architecture)->block(config, weights, n),
                          options);
    }));
  }
  if (config.encoder)
    encoder_.emplace(config, weights, options, [&](std::int64_t n) { tell(layers + n + 1); });
}

std::int64_t Decoder::run(const DecoderStep& step, const MutableTensor& logits) const {
  const Activations a = Activations::carve(config_, std::ssize(step.tokens), step.activations);
  StepPlans plans(step);
  embed(step, ends_, config_.rms_norm_eps, a.x);
  for (const DecoderBlock& block : blocks_) block.run(step, plans, a);
  if (logits.extents[2] > 0) write_logits(step, a.x, a.normed, logits);
  return plans.prefixes();
}

std::vector<DenseKvCache> Decoder::encode(const Threads& threads,
                                          std::span<const std::int32_t> tokens,
                                          MultiHeadAttention::Workspace& workspace,
                                          Scratch& activations) const {
  const ConstTensor output = encoder_->run(threads, tokens, workspace, activations);
  std::vector<DenseKvCache> memory;
  for (const DecoderBlock& block : blocks_)
    memory.push_back(block.project(threads, output, options_.cache, workspace));
  return memory;
}

void Decoder::write_logits(const DecoderStep& step, const MutableTensor& x,
                           const MutableTensor& normed, const MutableTensor& logits) const {
  std::int64_t token = 0, row = 0;
  for (const DecoderSequence& part : step.sequences) {  // rows wanted come together in `normed`
    token += part.tokens;
    const MutableTensor from = rows(x, token - part.logits, part.logits),
                        to = rows(normed, row, part.logits);
    if (ends_.final_norm)
      apply_norm(step.threads, ends_.final_norm, config_.rms_norm_eps, from, to);
    else
      std::copy_n(from.data, part.logits * config_.hidden_size, to.data);
    row += part.logits;
  }
  if (ends_.head_scale != 1)
    for (std::int64_t n = 0; n < row * config_.hidden_size; ++n) normed.data[n] *= ends_.head_scale;
  head_(step.threads, rows(normed, 0, row), logits, step.workspace.kernels);
  if (config_.final_logit_softcapping)
    cap_logits(step.threads, *config_.final_logit_softcapping, logits);
}

void require_decoder_only(const ModelConfig& config, const std::string& where) {
  require(!config.encoder, ErrorCode::kUnsupported, where,
          "a decoder-only model, as there is no way to give an encoder's input",
          config.architecture);
}

PagedKvCache::Shape cache_shape(const ModelConfig& config, DType dtype, std::int64_t page_size,
                                std::int64_t pages) {
  return {.layers = config.num_hidden_layers,
          .kv_heads = config.num_key_value_heads,
          .head_dim = config.head_dim,
          .page_size = page_size,
          .pages = pages,
          .dtype = dtype};
}

PagedKvCache::Shape session_cache_shape(const ModelConfig& config, DType dtype,
                                        std::int64_t capacity) {
  const std::int64_t page = std::min(kChunk, round_up(capacity, 16));
  return cache_shape(config, dtype, page, ceil_div(capacity, page));
}

std::size_t cache_bytes(const PagedKvCache::Shape& shape) {
  return PagedKvCache::page_bytes(shape) * static_cast<std::size_t>(shape.pages);
}

}  // namespace rapt
