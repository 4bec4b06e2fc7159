#include <algorithm>
#include <cstring>
#include <set>
#include <string>

#include "audit/bisect.h"
#include "base/buffer.h"
#include "base/check.h"
#include "base/splitmix64.h"
#include "rapt/model_audit.h"

namespace rapt {
namespace {

using Tokens = std::vector<std::int32_t>;

std::vector<std::int64_t> cuts_of(std::int64_t tokens) {
  std::set<std::int64_t> cuts = {1, tokens / 2, tokens - 1};
  for (const std::int64_t edge : {16, 48, 512, 1024})
    for (const std::int64_t cut : {edge - 1, edge, edge + 1})
      if (cut < tokens) cuts.insert(cut);
  return {cuts.begin(), cuts.end()};
}

class PrefixAudit {
 public:
  PrefixAudit(const LogitsFunction& logits, std::span<const std::int32_t> tokens,
              std::int64_t vocab_size)
      : logits_of_(logits), tokens_(tokens), vocab_size_(vocab_size), clean_(call(tokens)) {}

  PrefixReport run() {
    PrefixReport report;
    report.cuts = cuts_of(count());
    if (const std::int64_t t = first_change(tokens_, count()); t < count()) {
      report.findings.push_back(finding(AuditCheck::kRepeat, t, -1));
      return report;
    }
    std::int64_t query = count();  // the first token whose logits changed
    for (const std::int64_t cut : report.cuts) {
      query = std::min(query, first_change(changed(cut, count()), cut));
      query = std::min(query, first_change(prefix(cut), cut));
    }
    if (query < count()) report.findings.push_back(locate(query));
    return report;
  }

 private:
  std::int64_t count() const { return std::ssize(tokens_); }
  std::span<const std::int32_t> prefix(std::int64_t end) const {
    return tokens_.first(static_cast<std::size_t>(end));
  }

  /// The text with other tokens in [begin, end).
  Tokens changed(std::int64_t begin, std::int64_t end) const {
    Tokens tokens(tokens_.begin(), tokens_.end());
    for (std::int64_t t = begin; t < end; ++t) {
      const auto others = static_cast<std::uint64_t>(vocab_size_ - 1);
      const std::uint64_t shift = 1 + splitmix64(1, static_cast<std::uint64_t>(t)) % others;
      std::int32_t& token = tokens[static_cast<std::size_t>(t)];
      token = static_cast<std::int32_t>((static_cast<std::uint64_t>(token) + shift) % (others + 1));
    }
    return tokens;
  }

  const ConstTensor& call(std::span<const std::int32_t> tokens) {
    last_ = logits_of_(tokens);
    const Dims expected = {1, 1, std::ssize(tokens), vocab_size_};
    require(last_.extents == expected, ErrorCode::kBadShape, "audit_prefixes logits", expected,
            last_.extents);
    return last_;
  }

  /// Calls the model; the first of `limit` tokens whose logits are not as they were, else count().
  std::int64_t first_change(std::span<const std::int32_t> tokens, std::int64_t limit) {
    call(tokens);
    for (std::int64_t t = 0; t < limit; ++t)
      if (changed_logit(t) >= 0) return t;
    return count();
  }

  /// The first logit of token t that changed in the last call; -1 if none did.
  std::int64_t changed_logit(std::int64_t t) const {
    for (std::int64_t n = 0; n < vocab_size_; ++n)
      if (std::memcmp(&last_.at(0, 0, t, n), &clean_.view.at(0, 0, t, n), sizeof(float)) != 0)
        return n;
    return -1;
  }

  /// The first later token that changes the logits of token `query`.
  AuditFinding locate(std::int64_t query) {
    const std::int64_t later = count() - query - 1;
    const auto changes = [&](std::int64_t n) {
      call(changed(query + 1, query + 1 + n));
      return changed_logit(query) >= 0;
    };
    if (!changes(later)) {  // only that later tokens are not there changes them
      call(prefix(query + 1));
      return finding(AuditCheck::kSuffix, query, -1);
    }
    const std::int64_t n = first_failing(later, changes);
    changes(n);
    return finding(AuditCheck::kSuffix, query, query + n);
  }

  AuditFinding finding(AuditCheck check, std::int64_t query, std::int64_t key) const {
    const std::int64_t logit = std::max<std::int64_t>(changed_logit(query), 0);
    AuditFinding found;
    found.check = check;
    found.query = query;
    found.key = key;
    found.expected = clean_.view.at(0, 0, query, logit);
    found.found = last_.at(0, 0, query, logit);
    return found;
  }

  const LogitsFunction& logits_of_;
  const std::span<const std::int32_t> tokens_;
  const std::int64_t vocab_size_;
  ConstTensor last_;  // logits of the last call
  const Buffer clean_;
};

}  // namespace

PrefixReport audit_prefixes(const LogitsFunction& logits, std::span<const std::int32_t> tokens,
                            std::int64_t vocab_size) {
  require(tokens.size() >= 2, ErrorCode::kBadArgument, "audit_prefixes tokens", "at least two",
          tokens.size());
  require(vocab_size >= 2, ErrorCode::kBadArgument, "audit_prefixes vocab_size", "at least two",
          vocab_size);
  for (const std::int32_t token : tokens)
    if (token < 0 || token >= vocab_size)
      require(false, ErrorCode::kBadArgument, "audit_prefixes tokens",
              "0 to " + std::to_string(vocab_size - 1), token);
  return PrefixAudit(logits, tokens, vocab_size).run();
}

}  // namespace rapt
