#include "model/decoder.h"

#include <algorithm>

#include "base/check.h"
#include "base/float_env.h"
#include "base/round.h"
#include "base/rows.h"
#include "kernels/math/math.h"
#include "model/families.h"
#include "rapt/state.h"

namespace rapt {
namespace {

/// make(), whose errors begin with `name`.
template <class F>
auto named(const std::string& name, F&& make) {
  try {
    return make();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kBadArgument) throw;
    throw Error(ErrorCode::kBadFile, name + ": " + error.what());
  }
}

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
        return pack({ends_.head, {}}, options);
      })) {
  ends_.head = {};  // is packed
  const std::int64_t learned = ends_.positions.view.extents[2];
  require(ends_.positions.view.data == nullptr || config.context() <= learned,
          ErrorCode::kBadArgument, "ModelConfig.rope_scaling",
          "a context of at most the " + std::to_string(learned) + " learned positions",
          config.context());
  const std::int64_t layers = config.num_hidden_layers;
  for (std::int64_t n = 0; n < layers; ++n) {
    if (progress) progress(n + 1, layers + 1);
    blocks_.push_back(named("layer " + std::to_string(n), [&] {
      return DecoderBlock(config, n, find_family(config.architecture)->block(config, weights, n),
                          options);
    }));
  }
}

void Decoder::run(const DecoderStep& step, const MutableTensor& logits) const {
  const Activations a = Activations::carve(config_, std::ssize(step.tokens), step.activations);
  StepPlans plans(step);
  embed(step, a.x);
  for (const DecoderBlock& block : blocks_) block.run(step, plans, a);
  if (logits.extents[2] > 0) write_logits(step, a.x, a.normed, logits);
}

void Decoder::embed(const DecoderStep& step, const MutableTensor& x) const {
  const CanonicalFloatEnv environment;  // an f16 may pass a denormal f32
  const std::int64_t width = config_.hidden_size;
  visit(ends_.embedding.view, [&](const auto& embedding) {
    for (std::size_t t = 0; t < step.tokens.size(); ++t)
      for (std::int64_t e = 0; e < width; ++e)
        x.data[t * width + e] = to_float(embedding.at(0, 0, step.tokens[t], e));
  });
  if (ends_.embedding_scale != 1)
    for (std::int64_t n = 0; n < x.extents[2] * width; ++n) x.data[n] *= ends_.embedding_scale;
  if (ends_.positions.view.data != nullptr) {
    std::int64_t t = 0;
    for (const DecoderSequence& part : step.sequences) {
      const std::int64_t end = step.cache.length(part.sequence);
      for (std::int64_t slot = end - part.tokens; slot < end; ++slot, ++t)
        for (std::int64_t e = 0; e < width; ++e)
          x.data[t * width + e] += ends_.positions.view.at(0, 0, slot, e);
    }
  }
  if (ends_.embedding_norm)
    apply_norm(step.threads, ends_.embedding_norm, config_.rms_norm_eps, x, x);
}

void Decoder::write_logits(const DecoderStep& step, const MutableTensor& x,
                           const MutableTensor& normed, const MutableTensor& logits) const {
  std::int64_t token = 0, row = 0;
  for (const DecoderSequence& part : step.sequences) {  // rows wanted come together in `normed`
    token += part.tokens;
    apply_norm(step.threads, ends_.final_norm, config_.rms_norm_eps,
               rows(x, token - part.logits, part.logits), rows(normed, row, part.logits));
    row += part.logits;
  }
  head_(step.threads, rows(normed, 0, row), logits, step.workspace.kernels);
  if (config_.final_logit_softcapping)
    cap_logits(step.threads, *config_.final_logit_softcapping, logits);
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
