#include "attention/masks/labels.h"

#include <bit>
#include <utility>

namespace rapt {
namespace {

class LabelMask : public MaskNode {
 public:
  LabelMask(std::vector<LabelList> labels, std::string name, std::int64_t beyond)
      : beyond_(beyond), labels_(std::move(labels)), name_(std::move(name)) {}

  void validate(const Problem& problem) const override {
    check_sequences(labels_.size(), problem, "Mask::" + name_);
    if (beyond_ >= 0) return;
    for (std::int64_t b = 0; b < problem.batch; ++b)
      require(of(b).size() >= problem.kv_range(b).size(), ErrorCode::kBadArgument,
              "Mask::" + name_ + "[" + std::to_string(labels_.size() == 1 ? 0 : b) + "]",
              "at least " + std::to_string(problem.kv_range(b).size()) + " slots", of(b).size());
  }

  bool same(const MaskRow& a, const MaskRow& b) const override {
    if (a.place() < 0 || b.place() < 0) return a.place() < 0 && b.place() < 0;
    const LabelList& labels = of(a.sequence.b);
    return labels.at(a.place(), beyond_) == labels.at(b.place(), beyond_);
  }

  auto fields() const { return std::tie(beyond_, labels_, name_); }

  std::string describe() const override { return name_; }

 protected:
  const LabelList& of(std::int64_t b) const { return of_sequence(labels_, b); }

  std::int64_t beyond_;

 private:
  std::vector<LabelList> labels_;
  std::string name_;
};

/// Smallest and largest label of some slots.
struct LabelExtent {
  std::int64_t low = INT64_MAX, high = INT64_MIN;
};

class SameLabel : public LabelMask {
 public:
  SameLabel(std::vector<LabelList> labels, std::string name)
      : LabelMask(std::move(labels), std::move(name), -1) {}

  bool equals(const MaskNode& other) const override { return equal_fields(*this, other); }

  Coverage classify(const MaskTile& tile) const override {
    const bool outside = tile.places().begin < 0;
    const LabelExtent q = extent(tile, tile.places()), k = extent(tile, tile.slots);
    if (q.high < k.low || k.high < q.low) return Coverage::kHidden;
    if (!outside && q.low == q.high && k.low == k.high && q.low == k.low) return Coverage::kFull;
    return Coverage::kPartial;
  }

  void visible(const MaskRow& row, std::int64_t first, KeyBits& bits) const override {
    const std::int64_t place = row.place();
    if (place < 0) return;
    const LabelList& labels = of(row.sequence.b);
    const std::int64_t own = labels.at(place, beyond_);
    labels.for_each({first, std::min(first + kChunkKeys, row.sequence.slots())}, beyond_,
                    [&](std::int64_t begin, std::int64_t end, std::int64_t label) {
                      if (label == own) set_slots(bits, first, begin, end);
                    });
  }

  Range bounds(const MaskTile& tile) const override {
    const LabelList& labels = of(tile.sequence.b);
    if (!labels.ascending()) return tile.slots;
    const LabelExtent q = extent(tile, tile.places());
    if (q.low > q.high) return {};
    const Range seen = labels.between(q.low, q.high);
    return {std::max(seen.begin, tile.slots.begin), std::min(seen.end, tile.slots.end)};
  }

 private:
  LabelExtent extent(const MaskTile& tile, Range slots) const {
    LabelExtent extent;
    slots.begin = std::max<std::int64_t>(slots.begin, 0);
    if (slots.size() > 0)
      of(tile.sequence.b)
          .for_each(slots, beyond_, [&](std::int64_t, std::int64_t, std::int64_t label) {
            extent = {std::min(extent.low, label), std::max(extent.high, label)};
          });
    return extent;
  }
};

class LabelTable : public LabelMask {
 public:
  LabelTable(std::vector<LabelList> labels, std::vector<std::uint64_t> table, std::string name,
             std::int64_t beyond)
      : LabelMask(std::move(labels), std::move(name), beyond), table_(std::move(table)) {}

  auto fields() const { return std::tuple_cat(LabelMask::fields(), std::tie(table_)); }
  bool equals(const MaskNode& other) const override { return equal_fields(*this, other); }

  Coverage classify(const MaskTile& tile) const override {
    const std::uint64_t keys = present(tile, tile.slots);
    std::uint64_t some = 0, every = ~std::uint64_t{0};  // labels that some query, every query sees
    for (std::uint64_t left = present(tile, tile.places()); left != 0; left &= left - 1) {
      const std::uint64_t seen = table_[static_cast<std::size_t>(std::countr_zero(left))];
      some |= seen;
      every &= seen;
    }
    if ((keys & some) == 0) return Coverage::kHidden;
    return (keys & ~every) == 0 && tile.places().begin >= 0 ? Coverage::kFull : Coverage::kPartial;
  }

  void visible(const MaskRow& row, std::int64_t first, KeyBits& bits) const override {
    const std::int64_t place = row.place();
    if (place < 0) return;
    const LabelList& labels = of(row.sequence.b);
    const std::uint64_t seen = table_[static_cast<std::size_t>(labels.at(place, beyond_))];
    labels.for_each({first, std::min(first + kChunkKeys, row.sequence.slots())}, beyond_,
                    [&](std::int64_t begin, std::int64_t end, std::int64_t label) {
                      if ((seen >> label & 1) != 0) set_slots(bits, first, begin, end);
                    });
  }

 private:
  /// Labels that occur among some slots.
  std::uint64_t present(const MaskTile& tile, Range slots) const {
    std::uint64_t labels = 0;
    slots.begin = std::max<std::int64_t>(slots.begin, 0);
    if (slots.size() > 0)
      of(tile.sequence.b)
          .for_each(slots, beyond_, [&](std::int64_t, std::int64_t, std::int64_t label) {
            labels |= std::uint64_t{1} << label;
          });
    return labels;
  }

  std::vector<std::uint64_t> table_;
};

}  // namespace

std::unique_ptr<MaskNode> make_same_label(std::vector<LabelList> labels, std::string name) {
  return std::make_unique<SameLabel>(std::move(labels), std::move(name));
}

std::unique_ptr<MaskNode> make_label_table(std::vector<LabelList> labels,
                                           std::vector<std::uint64_t> table, std::string name,
                                           std::int64_t beyond) {
  return std::make_unique<LabelTable>(std::move(labels), std::move(table), std::move(name), beyond);
}

}  // namespace rapt
