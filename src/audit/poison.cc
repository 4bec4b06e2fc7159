#include <algorithm>
#include <bit>
#include <limits>

#include "audit/bisect.h"
#include "audit/context.h"
#include "base/splitmix64.h"

namespace rapt {
namespace {

/// What replaces element `n` of a hidden key or value.
float poison(AuditCheck check, std::uint64_t n) {
  const std::uint64_t draw = splitmix64(static_cast<std::uint64_t>(check), n + 1);
  const float sign = draw % 2 == 0 ? 1.0f : -1.0f;
  switch (check) {
    case AuditCheck::kPoisonHuge:
      return sign * 1e30f;
    case AuditCheck::kPoisonInfinity:
      return sign * std::numeric_limits<float>::infinity();
    case AuditCheck::kPoisonNan:
      return std::numeric_limits<float>::quiet_NaN();
    default:
      return static_cast<float>(draw >> 40) * 0x1p-21f - 4.0f;  // in [-4, 4)
  }
}

/// One key of one sequence and kv head.
struct Key {
  std::int64_t b, kv_head, j;
};

/// Keys that are poisoned together, and which they are as bits.
class KeySet {
 public:
  explicit KeySet(const AuditExtents& x)
      : kv_heads_(x.kv_heads),
        words_(ceil_div(x.kv_tokens, 64)),
        bits_(static_cast<std::size_t>(x.batch * x.kv_heads * words_)) {}

  void add(const Key& key) {
    bits_[static_cast<std::size_t>(word(key.b, key.kv_head) + key.j / 64)] |= std::uint64_t{1}
                                                                              << (key.j % 64);
  }

  bool meets(std::int64_t b, std::int64_t kv_head, KeyBitsView keys) const {
    const std::uint64_t* own = bits_.data() + word(b, kv_head);
    for (const std::uint64_t visible : keys)
      if ((*own++ & visible) != 0) return true;
    return false;
  }

  std::vector<Key> keys() const {
    std::vector<Key> all;
    for (std::size_t n = 0; n < bits_.size(); ++n)
      for (std::uint64_t left = bits_[n]; left != 0; left &= left - 1) {
        const auto head = static_cast<std::int64_t>(n) / words_;
        all.push_back({head / kv_heads_, head % kv_heads_,
                       static_cast<std::int64_t>(n) % words_ * 64 + std::countr_zero(left)});
      }
    return all;
  }

  bool operator==(const KeySet&) const = default;

 private:
  std::int64_t word(std::int64_t b, std::int64_t kv_head) const {
    return (b * kv_heads_ + kv_head) * words_;
  }

  std::int64_t kv_heads_, words_;
  std::vector<std::uint64_t> bits_;  // [B, Hkv, words]
};

class PoisonAudit {
 public:
  explicit PoisonAudit(AuditContext& audit)
      : audit_(audit), extents_(audit.extents), k_(audit.k.view), v_(audit.v.view) {}

  void run() {
    const std::vector<KeySet> sets = key_sets();
    for (const AuditCheck check : {AuditCheck::kPoisonRandom, AuditCheck::kPoisonHuge,
                                   AuditCheck::kPoisonInfinity, AuditCheck::kPoisonNan})
      run(check, sets);
  }

 private:
  struct Leak {
    std::int64_t row;
    const KeySet* set;
  };

  void run(AuditCheck check, const std::vector<KeySet>& sets) {
    std::optional<Leak> least;
    for (const KeySet& set : sets) {
      call(check, set.keys());
      for (std::int64_t row = 0; row < (least ? least->row : audit_.rows.count()); ++row)
        if (!sees(row, set) && !audit_.as_clean(row)) least = Leak{row, &set};
    }
    if (least) locate(check, *least);
  }

  bool sees(std::int64_t row, const KeySet& set) const {
    const auto& [b, h, i] = audit_.rows[row];
    return set.meets(b, extents_.kv_head_of(h), audit_.rows.keys(row));
  }

  /// Calls the attention with these keys poisoned.
  void call(AuditCheck check, std::span<const Key> keys) {
    write(keys, [&](float, std::uint64_t n) { return poison(check, n); });
    audit_.call(audit_.q.view, k_.view, v_.view);
    write(keys, [](float clean, std::uint64_t) { return clean; });
  }

  template <class Value>
  void write(std::span<const Key> keys, Value&& value) {
    const auto change = [&](const Key& key, const Buffer& clean, Buffer& to) {
      const std::int64_t begin = &to.view.at(key.b, key.j, key.kv_head, 0) - to.memory.data();
      for (std::int64_t n = begin; n < begin + to.view.extents[3]; ++n)
        to.memory[static_cast<std::size_t>(n)] =
            value(clean.memory[static_cast<std::size_t>(n)], static_cast<std::uint64_t>(n));
    };
    for (const Key& key : keys) {
      change(key, audit_.k, k_);
      change(key, audit_.v, v_);
    }
  }

  /// The key that the row should not see: bisected among those of its own sequence and head that
  /// are hidden from it, then among the others of the set.
  void locate(AuditCheck check, const Leak& leak) {
    const auto& [b, h, i] = audit_.rows[leak.row];
    const std::int64_t kv_head = extents_.kv_head_of(h);
    std::vector<Key> keys;
    for (std::int64_t j = 0; j < extents_.kv_tokens; ++j)
      if (!audit_.rows.visible(leak.row, j)) keys.push_back({b, kv_head, j});
    for (const Key& key : leak.set->keys())
      if (key.b != b || key.kv_head != kv_head) keys.push_back(key);
    const std::int64_t count = first_failing(std::ssize(keys), [&](std::int64_t n) {
      call(check, std::span(keys).first(static_cast<std::size_t>(n)));
      return !audit_.as_clean(leak.row);
    });
    call(check, std::span(keys).first(static_cast<std::size_t>(count)));
    const Key& key = keys[static_cast<std::size_t>(count - 1)];
    AuditFinding found = audit_.changed(check, leak.row, key.j);
    found.key_sequence = key.b;
    found.kv_head = key.kv_head;
    audit_.findings.add(found);
  }

  /// What is poisoned together: all that one query may not see, in every sequence and kv head at
  /// once, for each query and each head of a group; then each kv head of each sequence, of which the
  /// others see nothing.
  std::vector<KeySet> key_sets() const {
    std::vector<KeySet> sets;
    const auto add = [&](KeySet set) {
      if (set == KeySet(extents_) || (!sets.empty() && set == sets.back())) return;
      sets.push_back(std::move(set));
    };
    for (std::size_t n = 0; n < audit_.rows.queries().size(); ++n)
      for (std::int64_t g = 0; g < extents_.group(); ++g)
        add(hidden_from(static_cast<std::int64_t>(n), g));
    for (std::int64_t b = 0; extents_.batch * extents_.kv_heads > 1 && b < extents_.batch; ++b)
      for (std::int64_t head = 0; head < extents_.kv_heads; ++head) {
        KeySet set(extents_);
        for (std::int64_t j = 0; j < extents_.kv_tokens; ++j) set.add({b, head, j});
        add(std::move(set));
      }
    return sets;
  }

  KeySet hidden_from(std::int64_t query, std::int64_t g) const {
    KeySet set(extents_);
    for (std::int64_t b = 0; b < extents_.batch; ++b)
      for (std::int64_t head = 0; head < extents_.kv_heads; ++head) {
        const std::int64_t row = audit_.rows.index(b, head * extents_.group() + g, query);
        for (std::int64_t j = 0; j < extents_.kv_tokens; ++j)
          if (!audit_.rows.visible(row, j)) set.add({b, head, j});
      }
    return set;
  }

  AuditContext& audit_;
  const AuditExtents& extents_;
  Buffer k_, v_;  // clean but during a call
};

}  // namespace

void audit_poison(AuditContext& audit) { PoisonAudit(audit).run(); }

}  // namespace rapt
