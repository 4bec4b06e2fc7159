#include <vector>

#include "attention/masks/lists.h"
#include "base/check.h"
#include "base/round.h"

namespace rapt {
namespace {

/// Extents are [B, Hq, Tq, Tk], each 1 where it is broadcast; a row of keys is words of 64 bits.
/// What is packed has an extent of 1 also where the bits are the same for every index: a stride of 0.
class Dense : public MaskNode {
 public:
  explicit Dense(const TensorView<const std::uint8_t>& bits)
      : extents_(bits.extents), packed_(bits.extents) {
    for (std::size_t axis = 0; axis < packed_.size(); ++axis)
      if (bits.strides[axis] == 0) packed_[axis] = std::min<std::int64_t>(packed_[axis], 1);
    row_words_ = ceil_div(packed_[3], 64);
    words_.resize(static_cast<std::size_t>(packed_[0] * packed_[1] * packed_[2] * row_words_));
    std::uint64_t* row = words_.data();
    for (std::int64_t b = 0; b < packed_[0]; ++b)
      for (std::int64_t h = 0; h < packed_[1]; ++h)
        for (std::int64_t i = 0; i < packed_[2]; ++i, row += row_words_)
          for (std::int64_t j = 0; j < packed_[3]; ++j)
            if (bits.at(b, h, i, j) != 0) row[j / 64] |= std::uint64_t{1} << (j % 64);
  }

  void validate(const Problem& problem) const override {
    const Dims all = {problem.batch, problem.q_heads, problem.q_tokens, problem.kv_tokens};
    for (std::size_t axis = 0; axis < all.size(); ++axis)
      require(extents_[axis] == 1 || extents_[axis] == all[axis], ErrorCode::kBadArgument,
              "Mask::dense bits", all, extents_);
  }

  Coverage classify(const MaskTile& tile) const override {
    bool some = false, every = true;
    for (std::int64_t i = tile.queries.begin; i < tile.queries.end; ++i)
      for (std::int64_t slot = tile.slots.begin; slot < tile.slots.end; slot += 64) {
        const std::int64_t count = std::min<std::int64_t>(64, tile.slots.end - slot);
        const std::uint64_t valid = ~std::uint64_t{0} >> (64 - count);
        const std::uint64_t word = word_at({tile.sequence, tile.head, i}, slot) & valid;
        some |= word != 0;
        every &= word == valid;
        if (some && !every) return Coverage::kPartial;
      }
    return some ? Coverage::kFull : Coverage::kHidden;
  }

  void visible(const MaskRow& row, std::int64_t first, KeyBits& bits) const override {
    const std::int64_t end = std::min(first + kChunkKeys, row.sequence.slots());
    for (std::int64_t slot = first; slot < end; slot += 64)
      bits.words[(slot - first) / 64] = word_at(row, slot);
  }

  bool varies_by_head() const override { return packed_[1] != 1; }

  auto fields() const { return std::tie(extents_, packed_, words_); }
  bool equals(const MaskNode& other) const override { return equal_fields(*this, other); }

  std::string describe() const override { return "dense"; }

 private:
  /// Bits of slots slot .. slot + 63; those beyond the row are 0.
  std::uint64_t word_at(const MaskRow& row, std::int64_t slot) const {
    const auto axis = [&](int n, std::int64_t index) { return packed_[n] == 1 ? 0 : index; };
    const std::uint64_t* words =
        words_.data() + ((axis(0, row.sequence.b) * packed_[1] + axis(1, row.head)) * packed_[2] +
                         axis(2, row.query)) *
                            row_words_;
    if (packed_[3] == 1) return (words[0] & 1) == 0 ? 0 : ~std::uint64_t{0};
    const std::int64_t token = row.sequence.keys.begin + slot, shift = token % 64;
    const std::int64_t word = token / 64;
    std::uint64_t bits = words[word] >> shift;
    if (shift != 0 && word + 1 < row_words_) bits |= words[word + 1] << (64 - shift);
    return bits;
  }

  Dims extents_, packed_;
  std::int64_t row_words_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace

std::unique_ptr<MaskNode> make_dense(const TensorView<const std::uint8_t>& bits) {
  return std::make_unique<Dense>(bits);
}

}  // namespace rapt
