#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "rapt/audit.h"

namespace rapt {

/// Extents of an audit's inputs.
struct AuditExtents {
  std::int64_t batch, q_tokens, kv_tokens, q_heads, kv_heads, head_dim, v_head_dim;

  /// @throws Error{kBadShape} naming the view.
  explicit AuditExtents(const Inputs& in);

  std::int64_t group() const { return q_heads / kv_heads; }
  std::int64_t kv_head_of(std::int64_t h) const { return h / group(); }
};

/// A set of keys of one sequence and kv head, a bit each.
using KeyBitsView = std::span<const std::uint64_t>;

/// The rows of an audit, and the keys that each may see.
class AuditedRows {
 public:
  struct Row {
    std::int64_t b, h, i;
  };

  AuditedRows(const AuditExtents& extents, const VisiblePredicate& visible, std::int64_t queries);

  const std::vector<std::int64_t>& queries() const { return queries_; }
  std::int64_t count() const { return static_cast<std::int64_t>(rows_.size()); }
  const Row& operator[](std::int64_t row) const { return rows_[static_cast<std::size_t>(row)]; }
  std::int64_t index(std::int64_t b, std::int64_t h, std::int64_t query) const {
    return (b * q_heads_ + h) * static_cast<std::int64_t>(queries_.size()) + query;
  }

  KeyBitsView keys(std::int64_t row) const {
    return std::span(bits_).subspan(static_cast<std::size_t>(row * words_),
                                    static_cast<std::size_t>(words_));
  }
  bool visible(std::int64_t row, std::int64_t j) const {
    return (keys(row)[static_cast<std::size_t>(j / 64)] >> (j % 64) & 1) != 0;
  }
  std::int64_t visible_keys(std::int64_t row) const;

 private:
  std::int64_t q_heads_, words_;
  std::vector<std::int64_t> queries_;
  std::vector<Row> rows_;
  std::vector<std::uint64_t> bits_;  // [rows, words]
};

/// Least finding of each check.
class Findings {
 public:
  void add(const AuditFinding& finding);
  bool has(AuditCheck check) const { return least_.contains(check); }
  std::vector<AuditFinding> list() const;

 private:
  std::map<AuditCheck, AuditFinding> least_;
};

/// What the checks share: the inputs, the attention with outputs of its own, what was found.
struct AuditContext {
  const AuditExtents extents;
  const AttentionFunction& attention;
  const AuditOptions& options;
  const Buffer q, k, v;
  const AuditedRows rows;
  Buffer o, lse;                          // of the last call
  std::vector<float> clean_o, clean_lse;  // of the first one, on the inputs as they are
  Findings findings;
  std::vector<AuditRow> report;  // [rows]

  /// Calls the attention on the inputs as they are.
  AuditContext(const VisiblePredicate& visible, const Inputs& in, const AttentionFunction& f,
               const AuditOptions& options);

  /// Calls the attention; what it does not write is NaN.
  void call(const ConstTensor& queries, const ConstTensor& keys, const ConstTensor& values);

  const float* o_of(std::int64_t row) const;
  const float* lse_of(std::int64_t row) const;

  /// Whether the row has the bits of the clean call.
  bool as_clean(std::int64_t row) const { return first_difference(row) < 0; }

  /// A finding at a row.
  AuditFinding at(AuditCheck check, std::int64_t row, std::int64_t key, double expected,
                  double found) const;

  /// The same of a row that is not as in the clean call: the first value that differs.
  AuditFinding changed(AuditCheck check, std::int64_t row, std::int64_t key) const;

 private:
  /// Feature of o, or Dv for lse; -1 if none differs.
  std::int64_t first_difference(std::int64_t row) const;
};

/// Whether the attention gives the same bits again.
bool audit_repeat(AuditContext& audit);

/// Layer (a): hidden mass, missing keys, empty rows, sums.
void audit_weights(AuditContext& audit);

/// Layer (b): hidden keys and values change.
void audit_poison(AuditContext& audit);

}  // namespace rapt
