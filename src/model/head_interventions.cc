#include "rapt/head_interventions.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/check.h"
#include "base/require_index.h"
#include "model/decoder.h"
#include "rapt/session.h"

namespace rapt {
namespace {

std::string name_of(HeadIndex head) {
  return "layer " + std::to_string(head.layer) + ", head " + std::to_string(head.head);
}

/// Calls take(seen, first) with each layer's outputs for the tokens from `first` on.
template <class Take>
void run_observed(const Model& model, const Threads& threads, std::span<const std::int32_t> tokens,
                  Take&& take) {
  require_decoder_only(model.config(), "head_outputs.model");
  Session session(model, threads, std::ssize(tokens));
  session.observe([&](const LayerAttention& seen) {
    const Problem& p = seen.plan.problem();
    take(seen, p.kv_tokens - p.q_tokens);
  });
  session.prefill(tokens);
}

HeadOutputs empty_outputs(const ModelConfig& config, std::int64_t tokens) {
  HeadOutputs outputs{
      config.num_hidden_layers, tokens, config.num_attention_heads, config.head_dim, {}};
  outputs.values.resize(outputs.layers * tokens * outputs.heads * outputs.dim);
  return outputs;
}

}  // namespace

std::string to_string(HeadIndex head) {
  return std::to_string(head.layer) + "." + std::to_string(head.head);
}

std::vector<HeadIndex> heads_of_group(const ModelConfig& config, std::int64_t layer,
                                      std::int64_t kv_head) {
  require_index(layer, config.num_hidden_layers, "heads_of_group.layer");
  require_index(kv_head, config.num_key_value_heads, "heads_of_group.kv_head");
  const std::int64_t group = config.num_attention_heads / config.num_key_value_heads;
  std::vector<HeadIndex> heads;
  for (std::int64_t n = 0; n < group; ++n) heads.push_back({layer, kv_head * group + n});
  return heads;
}

void HeadInterventions::set(HeadIndex head, Change change) {
  require(head.layer >= 0 && head.head >= 0, ErrorCode::kBadArgument, "HeadInterventions.head",
          "a layer and a head, 0 or more", name_of(head));
  changes_[head] = std::move(change);
  positions_ = INT64_MAX;
  for (const auto& [index, each] : changes_)
    if (each.rows > 1) positions_ = std::min(positions_, each.rows);
}

void HeadInterventions::gate(HeadIndex head, float gate) {
  require(std::isfinite(gate), ErrorCode::kBadArgument, "HeadInterventions.gate", "a finite number",
          gate);
  set(head, {.gate = gate, .rows = 0, .values = {}});
}

void HeadInterventions::replace(HeadIndex head, const ConstTensor& values) {
  const Dims& x = values.extents;
  require(x[0] == 1 && x[1] == 1 && x[2] > 0 && x[3] > 0, ErrorCode::kBadShape,
          "HeadInterventions.values", "[1, 1, T, Dv] of at least one row", x);
  Change change;
  change.rows = x[2];
  for (std::int64_t t = 0; t < x[2]; ++t)
    for (std::int64_t e = 0; e < x[3]; ++e) change.values.push_back(values.at(0, 0, t, e));
  set(head, std::move(change));
}

void HeadInterventions::check(const ModelConfig& config) const {
  for (const auto& [head, change] : changes_) {
    if (head.layer >= config.num_hidden_layers || head.head >= config.num_attention_heads)
      require(false, ErrorCode::kBadArgument, "HeadInterventions.head",
              "one of " + std::to_string(config.num_hidden_layers) + " layers and " +
                  std::to_string(config.num_attention_heads) + " heads",
              name_of(head));
    const std::int64_t wide =
        change.rows == 0 ? config.head_dim : std::ssize(change.values) / change.rows;
    if (wide != config.head_dim)
      require(false, ErrorCode::kBadShape, "HeadInterventions.values of " + name_of(head),
              std::to_string(config.head_dim) + " features, the dimension of a head", wide);
  }
}

void HeadInterventions::apply(std::int64_t layer, std::int64_t first,
                              const MutableTensor& o) const {
  const std::int64_t tokens = o.extents[1], dim = o.extents[3];
  for (auto at = changes_.lower_bound({layer, 0}); at != changes_.end() && at->first.layer == layer;
       ++at) {
    const auto& [head, change] = *at;
    for (std::int64_t t = 0; t < tokens; ++t) {
      float* const row = &o.at(0, t, head.head, 0);
      if (change.rows == 0 && change.gate == 0) {
        std::fill_n(row, dim, 0.0f);  // also where o is NaN
      } else if (change.rows == 0) {
        for (std::int64_t e = 0; e < dim; ++e) row[e] *= change.gate;
      } else {
        const std::int64_t from = change.rows == 1 ? 0 : first + t;
        std::copy_n(change.values.data() + from * dim, dim, row);
      }
    }
  }
}

ConstTensor HeadOutputs::of(HeadIndex head) const {
  require_index(head.layer, layers, "HeadOutputs.of.layer");
  require_index(head.head, heads, "HeadOutputs.of.head");
  const std::int64_t row = heads * dim;
  return {values.data() + head.layer * tokens * row + head.head * dim,
          {1, 1, tokens, dim},
          {0, 0, row, 1}};
}

HeadOutputs head_outputs(const Model& model, const Threads& threads,
                         std::span<const std::int32_t> tokens) {
  const std::int64_t count = std::ssize(tokens);
  HeadOutputs outputs = empty_outputs(model.config(), count);
  const std::int64_t row = outputs.heads * outputs.dim;
  run_observed(model, threads, tokens, [&](const LayerAttention& seen, std::int64_t first) {
    std::copy_n(seen.o.data, seen.o.extents[1] * row,
                outputs.values.data() + (seen.layer * count + first) * row);
  });
  return outputs;
}

HeadOutputs head_output_means(const Model& model, const Threads& threads,
                              std::span<const std::vector<std::int32_t>> texts) {
  require(!texts.empty(), ErrorCode::kBadArgument, "head_output_means.texts", "at least one",
          "none");
  HeadOutputs means = empty_outputs(model.config(), 1);
  const std::int64_t row = means.heads * means.dim;
  std::vector<double> sums(means.values.size());
  std::int64_t count = 0;
  for (const std::vector<std::int32_t>& tokens : texts) {
    run_observed(model, threads, tokens, [&](const LayerAttention& seen, std::int64_t) {
      for (std::int64_t t = 0; t < seen.o.extents[1]; ++t)
        for (std::int64_t n = 0; n < row; ++n)
          sums[seen.layer * row + n] += static_cast<double>(seen.o.data[t * row + n]);
    });
    count += std::ssize(tokens);
  }
  for (std::size_t n = 0; n < sums.size(); ++n)
    means.values[n] = static_cast<float>(sums[n] / static_cast<double>(count));
  return means;
}

}  // namespace rapt
