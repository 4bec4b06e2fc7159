#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "rapt/tensor.h"

namespace rapt {

/// Which blocks of queries see which blocks of keys: the map of block-sparse attention.
///
/// Block (x, y) covers places [x q_block, (x + 1) q_block) and slots [y kv_block, (y + 1) kv_block).
/// A map of one sequence or one head serves all of them. Work follows the blocks that are set where
/// kv_block is a multiple of 16; blocks beyond the map are hidden.
class BlockMask {
 public:
  struct Shape {
    std::int64_t batch = 1;  ///< 1, or B
    std::int64_t heads = 1;  ///< 1, or Hq
    std::int64_t q_blocks = 0;
    std::int64_t kv_blocks = 0;
    std::int64_t q_block = 64;   ///< queries of a block
    std::int64_t kv_block = 64;  ///< keys of a block

    bool operator==(const Shape&) const = default;
  };

  /// A map with nothing set.
  /// @throws Error{kBadArgument} naming the extent; Error{kOutOfMemory}.
  explicit BlockMask(const Shape& shape);

  /// Set where the predicate holds.
  static BlockMask from_predicate(
      const Shape& shape,
      const std::function<bool(std::int64_t b, std::int64_t h, std::int64_t x, std::int64_t y)>&
          visible);

  /// Set where listed: kv_blocks[(b heads + h) q_blocks + x] are the key blocks of query block x.
  /// @throws Error{kBadArgument} if there is not one list for each, or an index is out of range.
  static BlockMask from_indices(const Shape& shape,
                                const std::vector<std::vector<std::int64_t>>& kv_blocks);

  /// The `keep` key blocks of largest score for each query block, the lower index first among
  /// equals; NaN scores come last.
  /// @shape  scores [batch, heads, q_blocks, kv_blocks]
  /// @throws Error{kBadShape} naming scores; Error{kBadArgument} if keep < 0.
  static BlockMask from_top(const Shape& shape, const ConstTensor& scores, std::int64_t keep);

  /// True if block (x, y) is set; false outside the map.
  bool at(std::int64_t b, std::int64_t h, std::int64_t x, std::int64_t y) const;
  /// @throws Error{kBadArgument} naming the index outside the map.
  void set(std::int64_t b, std::int64_t h, std::int64_t x, std::int64_t y, bool visible = true);

  const Shape& shape() const { return shape_; }
  std::int64_t count() const;  ///< blocks that are set

  bool operator==(const BlockMask&) const = default;

 private:
  std::int64_t index(std::int64_t b, std::int64_t h, std::int64_t x, std::int64_t y) const;

  Shape shape_;
  std::vector<bool> visible_;
};

/// Scores of blocks by their means: the dot product of a query block's mean query with a key
/// block's mean key, times 1 / sqrt(D): a cheap stand-in for the mass that the block will get.
///
/// @shape  q [B, Tq, Hq, D]   k [B, Tk, Hkv, D]
///         scores [B, Hq, ceil(Tq / q_block), ceil(Tk / kv_block)]
/// @throws Error{kBadShape} naming the view; Error{kBadArgument} if a block is below 1.
/// @cost   O(B (Tq Hq + Tk Hkv) D) and one product of the means.
/// @source arXiv:2502.13189 (mean-pooled block selection)
void mean_block_scores(const ConstTensor& q, const ConstTensor& k, std::int64_t q_block,
                       std::int64_t kv_block, const MutableTensor& scores);

}  // namespace rapt
