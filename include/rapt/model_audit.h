#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rapt/audit.h"
#include "rapt/model.h"
#include "rapt/threads.h"

namespace rapt {

/// Logits of all tokens of a sequence, [1, 1, T, vocab], of any model; they live until the next call.
using LogitsFunction = std::function<ConstTensor(std::span<const std::int32_t> tokens)>;

struct PrefixReport {
  std::vector<std::int64_t> cuts;  ///< the prefixes [0, cut) that were compared

  /// One at most. Its query is the first token whose logits changed, its key the first later token
  /// that changes them, -1 if only its absence does.
  std::vector<AuditFinding> findings;

  bool passed() const { return findings.empty(); }
};

/// Audits a whole model: whatever comes after a cut, other tokens or none, the logits before it keep
/// their bits. Cuts are at edges of groups of 16, tiles of 48 and chunks of 512, at the half, and
/// after the first and before the last token.
///
/// @throws Error{kBadArgument} if there are fewer than two tokens or one is outside the vocabulary;
///         Error{kBadShape} naming the logits; what `logits` throws.
/// @cost   two calls a cut; memory of one sequence's logits.
PrefixReport audit_prefixes(const LogitsFunction& logits, std::span<const std::int32_t> tokens,
                            std::int64_t vocab_size);

/// One layer's attention over the tokens that ran together. Queries and keys are tokens of the text.
struct LayerAudit {
  std::int64_t layer = 0;
  AuditReport report;
};

struct ModelAudit {
  std::vector<LayerAudit> layers;  ///< in the order in which they ran
  PrefixReport prefixes;

  bool passed() const { return !first(); }

  /// The finding of the first layer that has one, as AuditReport::first; else that of the logits.
  std::optional<AuditFinding> first() const;
};

struct ModelAuditOptions {
  AuditOptions attention;  ///< sinks are the model's own

  /// The attention to audit on a layer's q, k and v: by default `attention_of` its plan.
  std::function<AttentionFunction(std::int64_t layer, const Plan& plan)> attention_of_layer;

  /// Called before each part: "layer 3 of 12", "prefixes, run 5".
  std::function<void(const std::string& part)> progress;
};

/// Audits a model on a text: the attention of every layer on the q, k and v that the text gives
/// there, against the mask that the model's configuration asks for; then its prefixes.
///
/// @throws Error{kBadArgument} as Session::prefill and audit_prefixes, and if q, k or v of a layer
///         are not finite; Error{kOutOfMemory}.
/// @cost   audit_attention for each layer; the model on the text two times a cut.
ModelAudit audit_model(const Model& model, const Threads& threads,
                       std::span<const std::int32_t> tokens, const ModelAuditOptions& options = {});

}  // namespace rapt
