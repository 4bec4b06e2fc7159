#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rapt/block_mask.h"
#include "rapt/tensor.h"

namespace rapt {

class MaskNode;
struct Problem;

/// A half-open range [begin, end); empty when end <= begin.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end > begin ? end - begin : 0; }
  bool operator==(const Range&) const = default;
};

/// One list for every sequence of a batch, or one that all of them share.
template <class T>
using PerSequence = std::vector<std::vector<T>>;

/// Which keys a query may see: a predicate visible(sequence, head, query, key), applied before the
/// softmax. It changes no score (that is what `ScoreModifiers` do), and says nothing of padding,
/// which `Problem::kv_ranges` takes away first.
///
/// Masks are values and compose: `a & b`, `a | b`, `~a`. A prefix language model with a window:
///
///     (Mask::causal() | Mask::prefix({{12}})) & Mask::window(256, 256)
///
/// Three coordinates. A key's *slot* is its index among its sequence's tokens that are not padding.
/// A query's *place* is the slot of its own token: the last query stands at the last key
/// (bottom-right), so the place of query i is kv tokens - q tokens + i. *Positions* are slot and
/// place unless the problem gives others. Bands and strides go by position, lists and blocks by
/// slot and place, dense bits by token; a query whose place is negative is in no list and no block.
///
///     causal()                 sliding_window(3)         documents({{7, 7, 7, 9, 9}}) & causal()
///          j 0 1 2 3 4              j 0 1 2 3 4            j 0 1 2 3 4
///     i 0    # . . . .         i 0    # . . . .       i 0    # . . . .
///       1    # # . . .           1    # # . . .         1    # # . . .
///       2    # # # . .           2    # # # . .         2    # # # . .
///       3    # # # # .           3    . # # # .         3    . . . # .
///       4    # # # # #           4    . . # # #         4    . . . # #
///
/// make_plan throws Error{kBadArgument} where the number or the length of lists does not fit.
///
/// @cost  A mask classifies a tile of queries and keys as hidden, full or partial in O(1), in the
///        tile's edges, or (blocks, dense) in its area; none but `dense` holds an object of
///        q tokens x kv tokens.
class Mask {
 public:
  /// Every key is visible (encoders, cross-attention).
  static Mask none();

  /// The query's own key and all before it, by position.
  static Mask causal();

  /// Query i sees keys 0 .. i, counted from the first query and the first key: what other libraries
  /// call top-left. It differs from `causal` where there are more keys than queries, or fewer.
  static Mask causal_top_left();

  /// The query's own key and the `tokens - 1` before it: `tokens` visible keys in all.
  /// @throws Error{kBadArgument} if tokens < 1.
  static Mask sliding_window(std::int64_t tokens);

  /// The query's own key, `before` keys before it and `after` keys after it, by position.
  /// @throws Error{kBadArgument} if one is negative.
  static Mask window(std::int64_t before, std::int64_t after);

  /// Keys whose distance from the query, by position, is a multiple of `stride`, on either side.
  /// @throws Error{kBadArgument} unless stride is 1 to 2^40.
  /// @source arXiv:1904.10509 (strided)
  static Mask strided(std::int64_t stride);

  /// The query's own key and every `dilation`-th before it, `tokens` in all.
  /// @throws Error{kBadArgument} if one is below 1, or dilation above 2^40.
  /// @source arXiv:2004.05150 (dilated sliding window)
  static Mask dilated_window(std::int64_t tokens, std::int64_t dilation);

  /// Keys of slots below `lengths[b]`, for every query. One length, or one a sequence.
  /// @throws Error{kBadArgument} if a length is negative or there is none.
  static Mask prefix(const std::vector<std::int64_t>& lengths);

  /// Tokens of one document see each other: `ids[b][slot]` equal for query and key. Ids that do not
  /// fall along the slots (packed sequences) let tiles be skipped by binary search.
  /// @throws Error{kBadArgument} if there is no list; make_plan throws if a list is too short.
  static Mask documents(const PerSequence<std::int64_t>& ids);

  /// The same, from the offsets of the documents' first tokens and the end: 0, ..., tokens.
  /// @throws Error{kBadArgument} unless offsets begin at 0, do not fall and end at most at 2^40.
  static Mask documents_from_offsets(const PerSequence<std::int64_t>& offsets);

  /// Structured prompts: `kinds[b][slot]` is the kind of a token (system, user, tool, ...), and a
  /// query of kind x sees a key of kind y where visible[x][y].
  /// @throws Error{kBadArgument} if the table is not square, has more than 64 kinds, or a kind is
  ///         outside it.
  static Mask structure(const PerSequence<std::int64_t>& kinds,
                        const std::vector<std::vector<bool>>& visible);

  /// Keys of the slots listed are visible to every query whose place is not negative, and queries of
  /// those places see every key. One list a sequence or one for all, ascending.
  /// @throws Error{kBadArgument} if there is none, or a list does not ascend within 0 .. 2^40.
  /// @source arXiv:2004.05150 (global attention)
  static Mask global(const PerSequence<std::int64_t>& slots);

  /// Speculative decoding: the last `parents[b].size()` slots are a tree of drafted tokens, and
  /// parents[b][n] < n is the parent of token n, -1 where it follows the context. A token of the
  /// tree sees itself, its ancestors and all before the tree; the tokens before it see as `causal`
  /// has it, by place.
  /// @throws Error{kBadArgument} if there is no list, or a parent is not below its child.
  /// @source arXiv:2305.09781 (tree attention)
  static Mask tree(const PerSequence<std::int64_t>& parents);

  /// The blocks that `blocks` has set, by place and slot; see block_mask.h.
  static Mask blocks(const BlockMask& blocks);

  /// Any mask at all: visible where bits[b, h, i, j] is not 0, by token (padding included). Extents
  /// of 1 and strides of 0 are broadcast. Bits are copied, 8 to a byte: the one T x T object here.
  /// @throws Error{kBadArgument} for a null pointer; make_plan throws where extents do not fit.
  static Mask dense(const TensorView<const std::uint8_t>& bits);

  Mask operator&(const Mask& other) const;  ///< visible under both
  Mask operator|(const Mask& other) const;  ///< visible under one at least
  Mask operator~() const;                   ///< visible where this hides

  /// Whether both are made in the same way of equal parts. Of masks made in different ways it is
  /// false, even if they show the same.
  bool operator==(const Mask& other) const;

  /// For people and for `explain()`, for example "causal and documents".
  std::string describe() const;

  /// A picture of what the queries of one sequence and head see: a line a query, a column a key,
  /// '#' visible, '.' hidden. Longer problems show blocks, '+' where a block is visible in part.
  /// @cost   O(Tq Tk).
  /// @throws Error as Problem::validate; Error{kBadArgument} for a sequence or head out of range.
  static std::string draw(const Problem& problem, std::int64_t sequence = 0, std::int64_t head = 0);

  const MaskNode& node() const { return *node_; }

 private:
  explicit Mask(std::shared_ptr<const MaskNode> node) : node_(std::move(node)) {}
  std::shared_ptr<const MaskNode> node_;
};

}  // namespace rapt
