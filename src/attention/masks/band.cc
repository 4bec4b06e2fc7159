#include "attention/masks/band.h"

namespace rapt {
namespace {

/// Smallest and largest coordinate of some tokens.
struct Extent {
  std::int64_t low, high;
};

template <class F>
Extent extent_of(Range tokens, F&& coordinate) {
  Extent extent{coordinate(tokens.begin), coordinate(tokens.begin)};
  for (std::int64_t t = tokens.begin + 1; t < tokens.end; ++t) {
    extent.low = std::min(extent.low, coordinate(t));
    extent.high = std::max(extent.high, coordinate(t));
  }
  return extent;
}

Extent kv_extent(const MaskTile& tile) {
  if (tile.sequence.kv_positions == nullptr) return {tile.slots.begin, tile.slots.end - 1};
  return extent_of(tile.slots, [&](std::int64_t slot) { return tile.sequence.kv_position(slot); });
}

Extent q_extent(const MaskTile& tile) {
  if (tile.sequence.q_positions == nullptr)
    return {tile.sequence.place(tile.queries.begin), tile.sequence.place(tile.queries.end - 1)};
  return extent_of(tile.queries, [&](std::int64_t i) { return tile.sequence.q_position(i); });
}

class Band : public MaskNode {
 public:
  Band(std::int64_t before, std::int64_t after, bool top_left)
      : before_(before), after_(after), top_left_(top_left) {}

  Coverage classify(const MaskTile& tile) const override {
    const Extent q = queries(tile);
    const Extent k = top_left_ ? Extent{tile.slots.begin, tile.slots.end - 1} : kv_extent(tile);
    if (q.low - k.high > before_ || q.high - k.low < -after_) return Coverage::kHidden;
    if (q.high - k.low <= before_ && q.low - k.high >= -after_) return Coverage::kFull;
    return Coverage::kPartial;
  }

  void visible(const MaskRow& row, std::int64_t first, KeyBits& bits) const override {
    const std::int64_t at = top_left_ ? row.query - row.sequence.queries.begin : row.position();
    if (top_left_ || row.sequence.kv_positions == nullptr)
      return set_slots(bits, first, at - before_, at + after_ + 1);
    const std::int64_t end = std::min(first + kChunkKeys, row.sequence.slots());
    for (std::int64_t slot = first; slot < end; ++slot) {
      const std::int64_t distance = at - row.sequence.kv_position(slot);
      if (-after_ <= distance && distance <= before_) set_slot(bits, first, slot);
    }
  }

  Range bounds(const MaskTile& tile) const override {
    if (!top_left_ && tile.sequence.kv_positions != nullptr) return tile.slots;
    const Extent q = queries(tile);
    return {std::max(tile.slots.begin, q.low - before_),
            std::min(tile.slots.end, q.high + after_ + 1)};
  }

  Range full(const MaskTile& tile) const override {
    if (!top_left_ && tile.sequence.kv_positions != nullptr) return {};
    const Extent q = queries(tile);
    return {std::max(tile.slots.begin, q.high - before_),
            std::min(tile.slots.end, q.low + after_ + 1)};
  }

  auto fields() const { return std::tie(before_, after_, top_left_); }
  bool equals(const MaskNode& other) const override { return equal_fields(*this, other); }

  std::string describe() const override {
    if (top_left_) return "causal from the top left";
    if (before_ == kUnbounded && after_ == kUnbounded) return "none";
    if (before_ == kUnbounded && after_ == 0) return "causal";
    if (after_ == 0) return "causal, window " + std::to_string(before_ + 1);
    const auto side = [](std::int64_t keys) {
      return keys == kUnbounded ? "all" : std::to_string(keys);
    };
    return "window, " + side(before_) + " before and " + side(after_) + " after";
  }

 private:
  Extent queries(const MaskTile& tile) const {
    if (!top_left_) return q_extent(tile);
    const std::int64_t first = tile.queries.begin - tile.sequence.queries.begin;
    return {first, first + tile.queries.size() - 1};
  }

  std::int64_t before_, after_;
  bool top_left_;
};

class Strided : public MaskNode {
 public:
  explicit Strided(std::int64_t stride) : stride_(stride) {}

  Coverage classify(const MaskTile&) const override { return Coverage::kPartial; }

  void visible(const MaskRow& row, std::int64_t first, KeyBits& bits) const override {
    const std::int64_t at = row.position();
    const std::int64_t end = std::min(first + kChunkKeys, row.sequence.slots());
    if (row.sequence.kv_positions != nullptr) {
      for (std::int64_t slot = first; slot < end; ++slot)
        if ((at - row.sequence.kv_position(slot)) % stride_ == 0) set_slot(bits, first, slot);
      return;
    }
    const std::int64_t ahead = (at - first) % stride_;
    for (std::int64_t slot = first + (ahead < 0 ? ahead + stride_ : ahead); slot < end;
         slot += stride_)
      set_slot(bits, first, slot);
  }

  auto fields() const { return std::tie(stride_); }
  bool equals(const MaskNode& other) const override { return equal_fields(*this, other); }

  std::string describe() const override { return "every " + std::to_string(stride_) + " keys"; }

 private:
  std::int64_t stride_;
};

class Prefix : public MaskNode {
 public:
  explicit Prefix(std::vector<std::int64_t> lengths) : lengths_(std::move(lengths)) {}

  void validate(const Problem& problem) const override {
    check_sequences(lengths_.size(), problem, "Mask::prefix lengths");
  }

  Coverage classify(const MaskTile& tile) const override {
    const std::int64_t length = of_sequence(lengths_, tile.sequence.b);
    return tile.slots.end <= length     ? Coverage::kFull
           : tile.slots.begin >= length ? Coverage::kHidden
                                        : Coverage::kPartial;
  }

  void visible(const MaskRow& row, std::int64_t first, KeyBits& bits) const override {
    set_slots(bits, first, 0, of_sequence(lengths_, row.sequence.b));
  }

  Range bounds(const MaskTile& tile) const override {
    return {tile.slots.begin, std::min(tile.slots.end, of_sequence(lengths_, tile.sequence.b))};
  }

  Range full(const MaskTile& tile) const override { return bounds(tile); }

  bool same(const MaskRow&, const MaskRow&) const override { return true; }

  auto fields() const { return std::tie(lengths_); }
  bool equals(const MaskNode& other) const override { return equal_fields(*this, other); }

  std::string describe() const override {
    return lengths_.size() == 1 ? "prefix " + std::to_string(lengths_.front()) : "prefixes";
  }

 private:
  std::vector<std::int64_t> lengths_;
};

}  // namespace

std::unique_ptr<MaskNode> make_band(std::int64_t before, std::int64_t after, bool top_left) {
  return std::make_unique<Band>(std::min(before, kUnbounded), std::min(after, kUnbounded),
                                top_left);
}

std::unique_ptr<MaskNode> make_strided(std::int64_t stride) {
  return std::make_unique<Strided>(stride);
}

std::unique_ptr<MaskNode> make_prefix(std::vector<std::int64_t> lengths) {
  return std::make_unique<Prefix>(std::move(lengths));
}

}  // namespace rapt
