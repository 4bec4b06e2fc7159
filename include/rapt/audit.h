#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "rapt/attention.h"

namespace rapt {

/// Whether query token i of head h of sequence b may see key token j, padding included: what an
/// audit holds attention to. Write it from what the model should do, not from a `Mask`.
using VisiblePredicate =
    std::function<bool(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j)>;

/// Attention that is audited. Writes out.o and, if it has one, out.lse for the q, k and v of `in`,
/// under the same mask and modifiers at every call; extents are those of the audit's inputs.
using AttentionFunction = std::function<void(const Inputs& in, const Result& out)>;

/// `run` of a plan. A plan of a cache gets keys and values through one.
/// @pre  `bias` lives as long as the function.
AttentionFunction attention_of(const Plan& plan, const ConstTensor& bias = {});

/// What an audit looks at, in this order.
enum class AuditCheck {
  kRepeat,          ///< two calls on the same inputs give the same bits; else nothing more is asked
  kHiddenMass,      ///< the weight of a hidden key is exactly 0
  kMissingKey,      ///< every visible key is seen
  kEmptyRow,        ///< a row that sees nothing is o = 0, lse = -inf or the sink
  kRowSum,          ///< weights sum to 1, less exp(sink - lse)
  kPoisonRandom,    ///< hidden keys and values change to random ones: o and lse keep their bits
  kPoisonHuge,      ///< to +-1e30
  kPoisonInfinity,  ///< to +-infinity
  kPoisonNan,       ///< to NaN
  kSuffix,          ///< later tokens change or are not there: earlier logits keep their bits
};

/// "hidden mass", "poison nan", ...
const char* name(AuditCheck check);

/// The first place at which a check failed: the least (sequence, head, query), then the least key.
/// What is unknown or means nothing is -1.
struct AuditFinding {
  AuditCheck check = AuditCheck::kRepeat;
  std::int64_t layer = -1;  ///< of a model
  std::int64_t sequence = -1;
  std::int64_t head = -1;          ///< query head
  std::int64_t query = -1;         ///< token
  std::int64_t key = -1;           ///< token
  std::int64_t key_sequence = -1;  ///< another than `sequence` where sequences mix
  std::int64_t kv_head = -1;       ///< another than the query head's own where heads mix
  double expected = 0;             ///< number of keys, mass, lse, or value before the change
  double found = 0;

  bool operator==(const AuditFinding&) const = default;
};

/// One audited row.
struct AuditRow {
  std::int64_t sequence, head, query;
  std::int64_t expected_keys = 0, found_keys = 0;  ///< visible ones
  double hidden_mass = 0;                          ///< sum of the weights of hidden keys
  double expected_mass = 0, mass = 0;              ///< sum of all weights
};

/// What audit_attention has found.
struct AuditReport {
  std::vector<std::int64_t> queries;   ///< tokens whose rows were audited, ascending
  std::vector<AuditRow> rows;          ///< [B, Hq, queries]
  std::vector<AuditFinding> findings;  ///< one a check at most, in the order of the checks

  bool passed() const { return findings.empty(); }

  /// The finding of the first row, of those one that names a key; none if the audit has passed.
  std::optional<AuditFinding> first() const;
};

/// How audit_attention audits.
struct AuditOptions {
  /// Rows to audit: all queries if there are no more, else those at edges of tiles and chunks and
  /// others, spread.
  std::int64_t queries = 64;
  /// Of a row's sum. The default suits bf16 weights.
  double row_sum_tolerance = 0x1p-7;
  std::vector<float> sinks{};  ///< [Hq], as in ScoreModifiers; the attention must then write lse
};

/// Audits attention against `visible`: everything an implementation can be asked from outside.
///
/// Weights are read off the outputs: with values v_j = e_j, o is the row of A. They are read twice,
/// with the q given and with q = 0, where a mask alone decides what weighs nothing. A visible key
/// that weighs nothing even then (ALiBi far away) is looked for with a NaN in it.
///
/// A pass shows nothing of rows that were not audited, nor of other extents.
///
/// @shape  in.q [B, Tq, Hq, D]   in.k [B, Tk, Hkv, D]   in.v [B, Tk, Hkv, Dv]
/// @throws Error{kBadShape, kBadArgument} naming the view or option, also if an input is not finite;
///         what `attention` throws.
/// @cost   2 Tk / Dv + 4 (queries + B Hkv) calls of `attention`; queries Hq / Hkv of them where the
///         heads of a group have masks of their own; up to Tk more for missing keys. Memory: B Hq
///         queries Tk bits and copies of the tensors.
AuditReport audit_attention(const VisiblePredicate& visible, const Inputs& in,
                            const AttentionFunction& attention, const AuditOptions& options = {});

}  // namespace rapt
