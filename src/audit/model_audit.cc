#include "rapt/model_audit.h"

#include <algorithm>

#include "base/buffer.h"
#include "model/decoder.h"
#include "rapt/session.h"

namespace rapt {
namespace {

/// What the queries of a block may see: every layer that ModelConfig describes is causal, over a
/// window or the whole context.
VisiblePredicate visible_of(std::int64_t tokens_before, std::int64_t window) {
  return [=](std::int64_t, std::int64_t, std::int64_t i, std::int64_t j) {
    const std::int64_t query = tokens_before + i;
    return j <= query && (window == 0 || query - j < window);
  };
}

/// Numbers queries as tokens of the text.
void shift_queries(AuditReport& report, std::int64_t tokens_before) {
  for (std::int64_t& query : report.queries) query += tokens_before;
  for (AuditRow& row : report.rows) row.query += tokens_before;
  for (AuditFinding& finding : report.findings) finding.query += tokens_before;
}

LayerAudit audit_layer(const LayerAttention& seen, const LayerConfig& layer,
                       const ModelAuditOptions& options) {
  const Problem& p = seen.plan.problem();
  const Buffer k({1, p.kv_tokens, p.kv_heads, p.head_dim}),
      v({1, p.kv_tokens, p.kv_heads, p.value_dim()});
  seen.cache.read(seen.layer, seen.sequence, k.view, v.view);
  Inputs in;
  in.q = seen.q;
  in.k = k.view;
  in.v = v.view;
  AuditOptions attention = options.attention;
  attention.sinks = p.modifiers.sinks;
  const std::int64_t before = p.kv_tokens - p.q_tokens;
  LayerAudit audit;
  audit.layer = seen.layer;
  audit.report =
      audit_attention(visible_of(before, layer.window), in,
                      options.attention_of_layer ? options.attention_of_layer(seen.layer, seen.plan)
                                                 : attention_of(seen.plan),
                      attention);
  shift_queries(audit.report, before);
  for (AuditFinding& finding : audit.report.findings) finding.layer = seen.layer;
  return audit;
}

}  // namespace

std::optional<AuditFinding> ModelAudit::first() const {
  std::optional<AuditFinding> least;
  for (const LayerAudit& audit : layers)  // of a layer, blocks come in the order of their queries
    if (const auto found = audit.report.first(); found && (!least || found->layer < least->layer))
      least = found;
  if (!least && !prefixes.passed()) least = prefixes.findings.front();
  return least;
}

ModelAudit audit_model(const Model& model, const Threads& threads,
                       std::span<const std::int32_t> tokens, const ModelAuditOptions& options) {
  const ModelConfig& config = model.config();
  require_decoder_only(config, "audit_model.model");
  const auto progress = [&](const std::string& part) {
    if (options.progress) options.progress(part);
  };
  ModelAudit audit;
  Session session(model, threads, std::ssize(tokens));
  session.observe([&](const LayerAttention& seen) {
    progress("layer " + std::to_string(seen.layer + 1) + " of " +
             std::to_string(config.num_hidden_layers));
    audit.layers.push_back(
        audit_layer(seen, config.layers[static_cast<std::size_t>(seen.layer)], options));
  });
  session.prefill(tokens);
  session.observe({});
  std::int64_t runs = 0;
  const auto logits = [&](std::span<const std::int32_t> text) {
    progress("prefixes, run " + std::to_string(++runs));
    session.truncate(0);
    return session.prefill(text, Logits::kAll);
  };
  audit.prefixes = audit_prefixes(logits, tokens, config.vocab_size);
  return audit;
}

}  // namespace rapt
