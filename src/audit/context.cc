#include "audit/context.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <string>
#include <tuple>

#include "base/check.h"
#include "base/splitmix64.h"

namespace rapt {
namespace {

void check_view(const AnyConstTensor& view, const Dims& expected, const char* where) {
  require(view.extents == expected, ErrorCode::kBadShape, where, expected, view.extents);
  require(view.data != nullptr, ErrorCode::kBadArgument, where, "a view with data",
          "a null pointer");
}

void check_finite(const Buffer& buffer, const char* where) {
  const auto finite = [](float x) { return std::isfinite(x); };
  require(std::all_of(buffer.memory.begin(), buffer.memory.end(), finite), ErrorCode::kBadArgument,
          where, "finite numbers", "infinity or NaN");
}

/// All of [0, tokens) if they are no more than `count`; else ends, edges of groups of 16, of tiles
/// of 48 rows and of chunks of 512, then others.
std::vector<std::int64_t> choose_queries(std::int64_t tokens, std::int64_t count) {
  std::set<std::int64_t> chosen;
  const auto add = [&](std::int64_t i) {
    if (i >= 0 && i < tokens && std::ssize(chosen) < count) chosen.insert(i);
  };
  if (tokens <= count)
    for (std::int64_t i = 0; i < tokens; ++i) add(i);
  for (const std::int64_t i : {std::int64_t{0}, tokens - 1, std::int64_t{1}, tokens - 2}) add(i);
  for (const std::int64_t edge : {512, 48, 16, 1024, 96})
    for (const std::int64_t i : {edge - 1, edge, edge + 1}) add(i);
  for (std::uint64_t n = 1; std::ssize(chosen) < std::min(count, tokens); ++n)
    add(static_cast<std::int64_t>(splitmix64(static_cast<std::uint64_t>(tokens), n) %
                                  static_cast<std::uint64_t>(tokens)));
  return {chosen.begin(), chosen.end()};
}

auto place_of(const AuditFinding& f) {
  return std::tuple(f.sequence, f.head, f.query, f.key, f.key_sequence, f.kv_head);
}

}  // namespace

const char* name(AuditCheck check) {
  static constexpr const char* kNames[] = {
      "repeat",        "hidden mass", "missing key",     "empty row",  "row sum",
      "poison random", "poison huge", "poison infinity", "poison nan", "suffix"};
  return kNames[static_cast<int>(check)];
}

AuditExtents::AuditExtents(const Inputs& in)
    : batch(in.q.extents[0]),
      q_tokens(in.q.extents[1]),
      kv_tokens(in.k.extents[1]),
      q_heads(in.q.extents[2]),
      kv_heads(in.k.extents[2]),
      head_dim(in.q.extents[3]),
      v_head_dim(in.v.extents[3]) {
  for (const AnyConstTensor* view : {&in.q, &in.k, &in.v})
    for (const std::int64_t extent : view->extents)
      require(extent > 0, ErrorCode::kBadShape, "audit_attention", "extents above 0",
              view->extents);
  check_view(in.q, {batch, q_tokens, q_heads, head_dim}, "audit_attention q");
  check_view(in.k, {batch, kv_tokens, kv_heads, head_dim}, "audit_attention k");
  check_view(in.v, {batch, kv_tokens, kv_heads, v_head_dim}, "audit_attention v");
  require(q_heads % kv_heads == 0, ErrorCode::kBadShape, "audit_attention q heads",
          "a multiple of those of k (" + std::to_string(kv_heads) + ")", q_heads);
}

AuditedRows::AuditedRows(const AuditExtents& x, const VisiblePredicate& visible,
                         std::int64_t queries)
    : q_heads_(x.q_heads), words_(ceil_div(x.kv_tokens, 64)) {
  require(queries > 0, ErrorCode::kBadArgument, "audit_attention queries", "a positive number",
          queries);
  queries_ = choose_queries(x.q_tokens, queries);
  for (std::int64_t b = 0; b < x.batch; ++b)
    for (std::int64_t h = 0; h < x.q_heads; ++h)
      for (const std::int64_t i : queries_) {
        rows_.push_back({b, h, i});
        bits_.resize(bits_.size() + static_cast<std::size_t>(words_));
        std::uint64_t* words = bits_.data() + bits_.size() - words_;
        for (std::int64_t j = 0; j < x.kv_tokens; ++j)
          if (visible(b, h, i, j)) words[j / 64] |= std::uint64_t{1} << (j % 64);
      }
}

std::int64_t AuditedRows::visible_keys(std::int64_t row) const {
  std::int64_t count = 0;
  for (const std::uint64_t word : keys(row)) count += std::popcount(word);
  return count;
}

void Findings::add(const AuditFinding& finding) {
  const auto [at, is_new] = least_.try_emplace(finding.check, finding);
  if (!is_new && place_of(finding) < place_of(at->second)) at->second = finding;
}

std::vector<AuditFinding> Findings::list() const {
  std::vector<AuditFinding> findings;
  for (const auto& [check, finding] : least_) findings.push_back(finding);
  return findings;
}

AuditContext::AuditContext(const VisiblePredicate& visible, const Inputs& in,
                           const AttentionFunction& f, const AuditOptions& o_)
    : extents(in),
      attention(f),
      options(o_),
      q(in.q),
      k(in.k),
      v(in.v),
      rows(extents, visible, options.queries),
      o({extents.batch, extents.q_tokens, extents.q_heads, extents.v_head_dim}),
      lse({1, extents.batch, extents.q_heads, extents.q_tokens}) {
  check_finite(q, "audit_attention q");
  check_finite(k, "audit_attention k");
  check_finite(v, "audit_attention v");
  const auto sinks = std::ssize(options.sinks);
  require(sinks == 0 || sinks == extents.q_heads, ErrorCode::kBadShape, "audit_attention sinks",
          "none or " + std::to_string(extents.q_heads), sinks);
  for (std::int64_t row = 0; row < rows.count(); ++row) {
    AuditRow entry{rows[row].b, rows[row].h, rows[row].i};
    entry.expected_keys = rows.visible_keys(row);
    report.push_back(entry);
  }
  call(q.view, k.view, v.view);
  clean_o = o.memory;
  clean_lse = lse.memory;
}

void AuditContext::call(const ConstTensor& queries, const ConstTensor& keys,
                        const ConstTensor& values) {
  std::ranges::fill(o.memory, std::numeric_limits<float>::quiet_NaN());
  std::ranges::fill(lse.memory, std::numeric_limits<float>::quiet_NaN());
  Inputs in;
  in.q = queries;
  in.k = keys;
  in.v = values;
  Result out;
  out.o = o.view;
  out.lse = lse.view;
  attention(in, out);
}

const float* AuditContext::o_of(std::int64_t row) const {
  return &o.view.at(rows[row].b, rows[row].i, rows[row].h, 0);
}

const float* AuditContext::lse_of(std::int64_t row) const {
  return &lse.view.at(0, rows[row].b, rows[row].h, rows[row].i);
}

AuditFinding AuditContext::at(AuditCheck check, std::int64_t row, std::int64_t key, double expected,
                              double found) const {
  AuditFinding finding;
  finding.check = check;
  finding.sequence = rows[row].b;
  finding.head = rows[row].h;
  finding.query = rows[row].i;
  finding.key = key;
  if (key >= 0) {
    finding.key_sequence = rows[row].b;
    finding.kv_head = extents.kv_head_of(rows[row].h);
  }
  finding.expected = expected;
  finding.found = found;
  return finding;
}

std::int64_t AuditContext::first_difference(std::int64_t row) const {
  const auto differs = [](const float* got, const Buffer& out, const std::vector<float>& clean) {
    return std::memcmp(got, clean.data() + (got - out.memory.data()), sizeof *got) != 0;
  };
  for (std::int64_t e = 0; e < extents.v_head_dim; ++e)
    if (differs(o_of(row) + e, o, clean_o)) return e;
  return differs(lse_of(row), lse, clean_lse) ? extents.v_head_dim : -1;
}

AuditFinding AuditContext::changed(AuditCheck check, std::int64_t row, std::int64_t key) const {
  const std::int64_t e = first_difference(row);
  const bool in_lse = e == extents.v_head_dim;
  const float* got = in_lse ? lse_of(row) : o_of(row) + std::max<std::int64_t>(e, 0);
  const float clean = in_lse ? clean_lse[static_cast<std::size_t>(got - lse.memory.data())]
                             : clean_o[static_cast<std::size_t>(got - o.memory.data())];
  return at(check, row, key, clean, *got);
}

bool audit_repeat(AuditContext& audit) {
  audit.call(audit.q.view, audit.k.view, audit.v.view);
  for (std::int64_t row = 0; row < audit.rows.count(); ++row)
    if (!audit.as_clean(row)) audit.findings.add(audit.changed(AuditCheck::kRepeat, row, -1));
  return !audit.findings.has(AuditCheck::kRepeat);
}

}  // namespace rapt
