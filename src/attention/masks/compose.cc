#include "attention/masks/compose.h"

#include <typeinfo>
#include <utility>

namespace rapt {
namespace {

using NodePtr = std::shared_ptr<const MaskNode>;

class Binary : public MaskNode {
 public:
  Binary(NodePtr a, NodePtr b) : a_(std::move(a)), b_(std::move(b)) {}

  void validate(const Problem& problem) const override {
    a_->validate(problem);
    b_->validate(problem);
  }
  bool same(const MaskRow& a, const MaskRow& b) const override {
    return a_->same(a, b) && b_->same(a, b);
  }
  bool varies_by_head() const override { return a_->varies_by_head() || b_->varies_by_head(); }
  bool equals(const MaskNode& other) const override {
    if (typeid(*this) != typeid(other)) return false;
    const auto& binary = static_cast<const Binary&>(other);
    return same_node(a_, binary.a_) && same_node(b_, binary.b_);
  }

 protected:
  /// Two parts as one tile classifies them: `decides` of either is the whole's, both kFull or
  /// kHidden the same.
  Coverage classify_by(const MaskTile& tile, Coverage decides) const {
    const Coverage a = a_->classify(tile);
    if (a == decides) return a;
    const Coverage b = b_->classify(tile);
    return b == decides || a == b ? b : Coverage::kPartial;
  }

  NodePtr a_, b_;
};

class And : public Binary {
 public:
  using Binary::Binary;

  Coverage classify(const MaskTile& tile) const override {
    return classify_by(tile, Coverage::kHidden);
  }
  void visible(const MaskRow& row, std::int64_t first, KeyBits& bits) const override {
    KeyBits other{};
    a_->visible(row, first, bits);
    b_->visible(row, first, other);
    for (std::size_t n = 0; n < std::size(bits.words); ++n) bits.words[n] &= other.words[n];
  }
  Range bounds(const MaskTile& tile) const override {
    const Range a = a_->bounds(tile), b = b_->bounds(tile);
    return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
  }
  Range full(const MaskTile& tile) const override {
    const Range a = a_->full(tile), b = b_->full(tile);
    return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
  }
  std::string describe() const override { return a_->describe() + " and " + b_->describe(); }
};

class Or : public Binary {
 public:
  using Binary::Binary;

  Coverage classify(const MaskTile& tile) const override {
    return classify_by(tile, Coverage::kFull);
  }
  void visible(const MaskRow& row, std::int64_t first, KeyBits& bits) const override {
    KeyBits other{};
    a_->visible(row, first, bits);
    b_->visible(row, first, other);
    for (std::size_t n = 0; n < std::size(bits.words); ++n) bits.words[n] |= other.words[n];
  }
  Range bounds(const MaskTile& tile) const override {
    const Range a = a_->bounds(tile), b = b_->bounds(tile);
    if (a.size() == 0) return b;
    if (b.size() == 0) return a;
    return {std::min(a.begin, b.begin), std::max(a.end, b.end)};
  }
  Range full(const MaskTile& tile) const override {
    const Range a = a_->full(tile), b = b_->full(tile);
    return a.size() >= b.size() ? a : b;
  }
  std::string describe() const override {
    return "(" + a_->describe() + " or " + b_->describe() + ")";
  }
};

class Not : public MaskNode {
 public:
  explicit Not(NodePtr a) : a_(std::move(a)) {}

  void validate(const Problem& problem) const override { a_->validate(problem); }
  Coverage classify(const MaskTile& tile) const override {
    const Coverage a = a_->classify(tile);
    return a == Coverage::kFull     ? Coverage::kHidden
           : a == Coverage::kHidden ? Coverage::kFull
                                    : Coverage::kPartial;
  }
  void visible(const MaskRow& row, std::int64_t first, KeyBits& bits) const override {
    a_->visible(row, first, bits);
    for (std::uint64_t& word : bits.words) word = ~word;
  }
  bool same(const MaskRow& a, const MaskRow& b) const override { return a_->same(a, b); }
  bool varies_by_head() const override { return a_->varies_by_head(); }
  bool equals(const MaskNode& other) const override {
    const auto* negated = dynamic_cast<const Not*>(&other);
    return negated != nullptr && same_node(a_, negated->a_);
  }
  std::string describe() const override { return "not (" + a_->describe() + ")"; }

 private:
  NodePtr a_;
};

}  // namespace

NodePtr make_and(NodePtr a, NodePtr b) {
  return std::make_shared<const And>(std::move(a), std::move(b));
}
NodePtr make_or(NodePtr a, NodePtr b) {
  return std::make_shared<const Or>(std::move(a), std::move(b));
}
NodePtr make_not(NodePtr a) { return std::make_shared<const Not>(std::move(a)); }

}  // namespace rapt
