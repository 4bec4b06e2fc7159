#include <cmath>
#include <limits>

#include "audit/context.h"
#include "base/check.h"

namespace rapt {
namespace {

/// Calls weight(row, key, a) for every weight of the audited rows under `q`. With v_j = e_(j - first)
/// a call shows the weights of Dv keys: o_i,e = A_i,(first + e).
template <class Weight>
void read_weights(AuditContext& audit, const ConstTensor& q, Weight&& weight) {
  const AuditExtents& x = audit.extents;
  Buffer v(audit.v.view.extents);
  for (std::int64_t first = 0; first < x.kv_tokens; first += x.v_head_dim) {
    const std::int64_t keys = std::min(x.v_head_dim, x.kv_tokens - first);
    const auto set = [&](float value) {
      for (std::int64_t b = 0; b < x.batch; ++b)
        for (std::int64_t h = 0; h < x.kv_heads; ++h)
          for (std::int64_t e = 0; e < keys; ++e) v.view.at(b, first + e, h, e) = value;
    };
    set(1);
    audit.call(q, audit.k.view, v.view);
    set(0);
    for (std::int64_t row = 0; row < audit.rows.count(); ++row)
      for (std::int64_t e = 0; e < keys; ++e) weight(row, first + e, audit.o_of(row)[e]);
  }
}

/// For each key the rows in which it weighs nothing although it is visible.
using Weightless = std::vector<std::vector<std::int64_t>>;

/// With a NaN in it, a key that a row sees makes its output NaN, whatever it weighs. The rows that
/// stay as they are miss it.
void find_missing(AuditContext& audit, const Weightless& weightless, const ConstTensor& q) {
  const AuditExtents& x = audit.extents;
  Buffer k(audit.k.view);
  const Buffer ones(audit.v.view.extents, 1);
  std::vector<std::int64_t> first(audit.report.size(), -1);
  const auto set = [&](std::int64_t j, bool poisoned) {
    for (std::int64_t b = 0; b < x.batch; ++b)
      for (std::int64_t h = 0; h < x.kv_heads; ++h)
        for (std::int64_t e = 0; e < x.head_dim; ++e)
          k.view.at(b, j, h, e) =
              poisoned ? std::numeric_limits<float>::quiet_NaN() : audit.k.view.at(b, j, h, e);
  };
  for (std::int64_t j = 0; j < x.kv_tokens; ++j) {
    const auto& rows = weightless[static_cast<std::size_t>(j)];
    if (rows.empty()) continue;
    set(j, true);
    audit.call(q, k.view, ones.view);
    set(j, false);
    for (const std::int64_t row : rows) {
      if (std::isnan(audit.o_of(row)[0]))
        ++audit.report[static_cast<std::size_t>(row)].found_keys;
      else if (std::int64_t& key = first[static_cast<std::size_t>(row)]; key < 0)
        key = j;
    }
  }
  for (std::int64_t row = 0; row < audit.rows.count(); ++row) {
    const AuditRow& entry = audit.report[static_cast<std::size_t>(row)];
    if (const std::int64_t key = first[static_cast<std::size_t>(row)]; key >= 0)
      audit.findings.add(audit.at(AuditCheck::kMissingKey, row, key,
                                  static_cast<double>(entry.expected_keys),
                                  static_cast<double>(entry.found_keys)));
  }
}

void audit_keys(AuditContext& audit) {
  const auto forbid = [&](std::int64_t row, std::int64_t j, float a) {
    audit.findings.add(audit.at(AuditCheck::kHiddenMass, row, j, 0, a));
  };
  read_weights(audit, audit.q.view, [&](std::int64_t row, std::int64_t j, float a) {
    if (audit.rows.visible(row, j) || a == 0) return;
    audit.report[static_cast<std::size_t>(row)].hidden_mass += std::abs(a);
    forbid(row, j, a);
  });
  const Buffer zero(audit.q.view.extents);
  Weightless weightless(static_cast<std::size_t>(audit.extents.kv_tokens));
  read_weights(audit, zero.view, [&](std::int64_t row, std::int64_t j, float a) {
    const bool visible = audit.rows.visible(row, j);
    if (a != 0)
      ++audit.report[static_cast<std::size_t>(row)].found_keys;
    else if (visible)
      weightless[static_cast<std::size_t>(j)].push_back(row);
    if (!visible && a != 0) forbid(row, j, a);
  });
  find_missing(audit, weightless, zero.view);
}

/// exp(sink - lse): what a row's sink takes.
double sink_mass(const AuditContext& audit, std::int64_t row) {
  if (audit.options.sinks.empty()) return 0;
  const double sink = audit.options.sinks[static_cast<std::size_t>(audit.rows[row].h)];
  if (std::isinf(sink)) return 0;
  const double lse = *audit.lse_of(row);
  require(!std::isnan(lse), ErrorCode::kBadArgument, "audit_attention sinks",
          "attention that writes lse", "NaN");
  return std::exp(sink - lse);
}

/// With v = 1, o is the sum of the weights.
void audit_sums(AuditContext& audit) {
  const Buffer ones(audit.v.view.extents, 1);
  audit.call(audit.q.view, audit.k.view, ones.view);
  for (std::int64_t row = 0; row < audit.rows.count(); ++row) {
    AuditRow& entry = audit.report[static_cast<std::size_t>(row)];
    entry.mass = audit.o_of(row)[0];
    entry.expected_mass = entry.expected_keys == 0 ? 0 : 1 - sink_mass(audit, row);
    if (entry.expected_keys == 0) continue;
    for (std::int64_t e = 0; e < audit.extents.v_head_dim; ++e) {
      const double sum = audit.o_of(row)[e];
      if (std::abs(sum - entry.expected_mass) <= audit.options.row_sum_tolerance) continue;
      audit.findings.add(audit.at(AuditCheck::kRowSum, row, -1, entry.expected_mass, sum));
    }
  }
}

/// A row without keys is exactly 0, and its lse, where there is one, the sink or -inf.
void audit_empty_rows(AuditContext& audit) {
  audit.call(audit.q.view, audit.k.view, audit.v.view);
  const auto& sinks = audit.options.sinks;
  for (std::int64_t row = 0; row < audit.rows.count(); ++row) {
    if (audit.report[static_cast<std::size_t>(row)].expected_keys > 0) continue;
    for (std::int64_t e = 0; e < audit.extents.v_head_dim; ++e)
      if (audit.o_of(row)[e] != 0)
        audit.findings.add(audit.at(AuditCheck::kEmptyRow, row, -1, 0, audit.o_of(row)[e]));
    const double lse = *audit.lse_of(row),
                 expected = sinks.empty() ? -std::numeric_limits<double>::infinity()
                                          : sinks[static_cast<std::size_t>(audit.rows[row].h)];
    const double tolerance =
        std::isinf(expected) ? 0 : std::abs(expected) * audit.options.row_sum_tolerance;
    if (std::isnan(lse) || lse == expected || std::abs(lse - expected) <= tolerance) continue;
    audit.findings.add(audit.at(AuditCheck::kEmptyRow, row, -1, expected, lse));
  }
}

}  // namespace

void audit_weights(AuditContext& audit) {
  audit_keys(audit);
  audit_empty_rows(audit);
  audit_sums(audit);
}

}  // namespace rapt
