#include <utility>

#include "attention/masks/lists.h"
#include "base/check.h"

namespace rapt {
namespace {

class Blocks : public MaskNode {
 public:
  explicit Blocks(BlockMask blocks) : blocks_(std::move(blocks)) {}

  void validate(const Problem& problem) const override {
    const auto check = [](std::int64_t extent, std::int64_t all, const char* where) {
      require(extent == 1 || extent == all, ErrorCode::kBadArgument, where,
              "1 or " + std::to_string(all), extent);
    };
    check(shape().batch, problem.batch, "BlockMask.batch");
    check(shape().heads, problem.q_heads, "BlockMask.heads");
  }

  Coverage classify(const MaskTile& tile) const override {
    const Range places = tile.places();
    bool some = false, every = places.begin >= 0;
    const std::int64_t last_y = (tile.slots.end - 1) / shape().kv_block;
    for (std::int64_t x = std::max<std::int64_t>(places.begin, 0) / shape().q_block;
         x * shape().q_block < places.end; ++x)
      for (std::int64_t y = tile.slots.begin / shape().kv_block; y <= last_y; ++y) {
        const bool set = at(tile.sequence.b, tile.head, x, y);
        some |= set;
        every &= set;
      }
    return !some ? Coverage::kHidden : every ? Coverage::kFull : Coverage::kPartial;
  }

  void visible(const MaskRow& row, std::int64_t first, KeyBits& bits) const override {
    const std::int64_t place = row.place(), block = shape().kv_block;
    if (place < 0) return;
    for (std::int64_t y = first / block; y * block < first + kChunkKeys; ++y)
      if (at(row.sequence.b, row.head, place / shape().q_block, y))
        set_slots(bits, first, y * block, (y + 1) * block);
  }

  bool same(const MaskRow& a, const MaskRow& b) const override {
    if (a.place() < 0 || b.place() < 0) return false;
    const std::int64_t first = a.place() / shape().q_block * shape().q_block;
    return b.place() >= first && b.place() < first + shape().q_block &&
           (a.head == b.head || !varies_by_head());
  }

  bool varies_by_head() const override { return shape().heads != 1; }

  auto fields() const { return std::tie(blocks_); }
  bool equals(const MaskNode& other) const override { return equal_fields(*this, other); }

  std::string describe() const override {
    const auto number = [](std::int64_t n) { return std::to_string(n); };
    return number(blocks_.count()) + " of " +
           number(shape().batch * shape().heads * shape().q_blocks * shape().kv_blocks) +
           " blocks of " + number(shape().q_block) + " x " + number(shape().kv_block);
  }

 private:
  const BlockMask::Shape& shape() const { return blocks_.shape(); }
  bool at(std::int64_t b, std::int64_t h, std::int64_t x, std::int64_t y) const {
    return blocks_.at(shape().batch == 1 ? 0 : b, shape().heads == 1 ? 0 : h, x, y);
  }

  BlockMask blocks_;
};

}  // namespace

std::unique_ptr<MaskNode> make_blocks(BlockMask blocks) {
  return std::make_unique<Blocks>(std::move(blocks));
}

}  // namespace rapt
