#include <utility>

#include "attention/masks/lists.h"

namespace rapt {
namespace {

class Tree : public MaskNode {
 public:
  explicit Tree(PerSequence<std::int64_t> parents) : parents_(std::move(parents)) {}

  void validate(const Problem& problem) const override {
    check_sequences(parents_.size(), problem, "Mask::tree parents");
    for (std::int64_t b = 0; b < problem.batch; ++b)
      require(std::ssize(of(b)) <= problem.kv_range(b).size(), ErrorCode::kBadArgument,
              "Mask::tree parents[" + std::to_string(parents_.size() == 1 ? 0 : b) + "]",
              "at most " + std::to_string(problem.kv_range(b).size()) + " tokens, the keys",
              std::ssize(of(b)));
  }

  Coverage classify(const MaskTile& tile) const override {
    const Range places = tile.places();
    if (tile.slots.begin >= places.end) return Coverage::kHidden;
    const std::int64_t context_end = std::min(places.begin + 1, root(tile.sequence));
    return tile.slots.end <= context_end ? Coverage::kFull : Coverage::kPartial;
  }

  void visible(const MaskRow& row, std::int64_t first, KeyBits& bits) const override {
    const std::int64_t tree = root(row.sequence), place = row.place();
    set_slots(bits, first, 0, std::min(place + 1, tree));
    const std::vector<std::int64_t>& parents = of(row.sequence.b);
    for (std::int64_t n = place - tree; n >= 0; n = parents[static_cast<std::size_t>(n)])
      set_slot(bits, first, tree + n);
  }

  Range bounds(const MaskTile& tile) const override {
    return {tile.slots.begin, std::min(tile.slots.end, tile.places().end)};
  }

  auto fields() const { return std::tie(parents_); }
  bool equals(const MaskNode& other) const override { return equal_fields(*this, other); }

  std::string describe() const override { return "tree"; }

 private:
  const std::vector<std::int64_t>& of(std::int64_t b) const { return of_sequence(parents_, b); }
  /// Slot of the tree's first token.
  std::int64_t root(const MaskSequence& sequence) const {
    return sequence.slots() - std::ssize(of(sequence.b));
  }

  PerSequence<std::int64_t> parents_;
};

}  // namespace

std::unique_ptr<MaskNode> make_tree(PerSequence<std::int64_t> parents) {
  return std::make_unique<Tree>(std::move(parents));
}

}  // namespace rapt
