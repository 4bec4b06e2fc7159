#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/mask_node.h"
#include "kv/layout.h"

namespace rapt {

/// How rows of a kv head are numbered. The heads of a group are interleaved, row = i G + g, so that
/// a tile's rows share one diagonal; where a mask differs between heads they lie apart,
/// row = g Tq + i, so that a tile's rows share one mask.
struct RowOrder {
  std::int64_t q_tokens, group;
  bool apart;

  RowOrder(const Problem& problem)
      : q_tokens(problem.q_tokens),
        group(problem.group()),
        apart(problem.group() > 1 && problem.mask.node().varies_by_head()) {}

  std::int64_t rows() const { return q_tokens * group; }
  std::int64_t query(std::int64_t row) const { return apart ? row % q_tokens : row / group; }
  std::int64_t head_of_group(std::int64_t row) const {
    return apart ? row / q_tokens : row % group;
  }
  std::int64_t row(std::int64_t query, std::int64_t head_of_group) const {
    return apart ? head_of_group * q_tokens + query : query * group + head_of_group;
  }

  /// The query and head of group of the next row, without a division.
  void advance(std::int64_t& query, std::int64_t& head_of_group) const {
    std::int64_t& fast = apart ? query : head_of_group;
    std::int64_t& slow = apart ? head_of_group : query;
    if (++fast < (apart ? q_tokens : group)) return;
    fast = 0;
    ++slow;
  }

  /// Calls f(first query, end, head of group) for the queries of rows [begin, end), for one head of
  /// those that share queries and mask, or for each.
  template <class F>
  void for_each_span(std::int64_t begin, std::int64_t end, F&& f) const {
    if (!apart) return f(begin / group, (end - 1) / group + 1, std::int64_t{0});
    while (begin < end) {
      const std::int64_t head = begin / q_tokens, next = std::min(end, (head + 1) * q_tokens);
      f(begin - head * q_tokens, next - head * q_tokens, head);
      begin = next;
    }
  }
};

/// Consecutive chunks of one coverage; hidden ones are left out.
struct TileRun {
  std::int64_t begin, end;
  Coverage coverage;
};

/// Every tile of a problem, kTileQueries rows of a kv head by a chunk, as its mask classifies it.
/// Sequences have a list each; kv heads too where the mask differs between heads.
class TileList {
 public:
  /// @cost O(tiles), those outside of the mask's bounds excepted.
  explicit TileList(const Problem& problem);

  /// The runs of tile `row / kTileQueries`, ascending.
  std::span<const TileRun> runs(std::int64_t sequence, std::int64_t kv_head,
                                std::int64_t row) const;

  /// Chunks that rows [begin, end) see: from the first run to the last.
  Range chunks(std::int64_t sequence, std::int64_t kv_head, std::int64_t begin,
               std::int64_t end) const;

  /// Chunks from 0 on that all rows of a sequence see in full.
  std::int64_t full_prefix(std::int64_t sequence) const;

  /// Tiles of a kind, over all sequences and kv heads.
  std::int64_t count(Coverage coverage) const {
    return counts_[static_cast<std::size_t>(coverage)];
  }

 private:
  void add_list(const Problem& problem, const RowOrder& order, std::int64_t b,
                std::int64_t kv_head);
  std::int64_t list_of(std::int64_t sequence, std::int64_t kv_head) const {
    return sequence * heads_ + (heads_ == 1 ? 0 : kv_head);
  }

  std::int64_t heads_;               // lists a sequence
  std::int64_t tiles_;               // of a list
  std::vector<std::int64_t> first_;  // [lists tiles + 1] into runs_
  std::vector<TileRun> runs_;
  std::int64_t counts_[3] = {};
};

/// Bits of the keys of `chunk` that a query sees, padding and the sequence's end taken away.
KeyBits visible_keys(const MaskNode& mask, const MaskRow& row, std::int64_t chunk);

/// Bits of the keys of `chunk` that any query of sequence b sees, of any head.
/// @cost O(Tq) questions, times Hq where heads differ.
KeyBits seen_keys(const Problem& problem, std::int64_t b, std::int64_t chunk);

/// Whether both queries, of one sequence, are known to see the same keys.
bool see_the_same(const MaskNode& mask, const MaskRow& a, const MaskRow& b);

}  // namespace rapt
