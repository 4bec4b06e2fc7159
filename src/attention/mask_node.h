#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "base/check.h"
#include "kernels/attention/attention.h"
#include "rapt/problem.h"

namespace rapt {

/// What a mask does with a tile.
enum class Coverage : std::uint8_t { kHidden, kFull, kPartial };

/// Tokens of one sequence, in the coordinates of masks.
struct MaskSequence {
  MaskSequence(const Problem& problem, std::int64_t b)
      : b(b),
        queries(problem.q_range(b)),
        keys(problem.kv_range(b)),
        q_positions(problem.positions_of(problem.q_positions, problem.q_tokens, b)),
        kv_positions(problem.positions_of(problem.kv_positions, problem.kv_tokens, b)) {}

  std::int64_t b;
  Range queries, keys;               ///< tokens that are not padding
  const std::int64_t* q_positions;   ///< by token, or null: places
  const std::int64_t* kv_positions;  ///< by token, or null: slots

  std::int64_t slots() const { return keys.size(); }
  std::int64_t place(std::int64_t i) const {
    return keys.size() - queries.size() + i - queries.begin;
  }
  std::int64_t q_position(std::int64_t i) const {
    return q_positions == nullptr ? place(i) : q_positions[i];
  }
  std::int64_t kv_position(std::int64_t slot) const {
    return kv_positions == nullptr ? slot : kv_positions[keys.begin + slot];
  }
};

/// Some queries of one head, tokens [begin, end) that are not padding, against some slots.
struct MaskTile {
  const MaskSequence& sequence;
  std::int64_t head;
  Range queries;  ///< tokens
  Range slots;

  Range places() const {
    return {sequence.place(queries.begin), sequence.place(queries.begin) + queries.size()};
  }
};

/// One query of one head.
struct MaskRow {
  const MaskSequence& sequence;
  std::int64_t head;
  std::int64_t query;  ///< token

  std::int64_t place() const { return sequence.place(query); }
  std::int64_t position() const { return sequence.q_position(query); }
  bool is_padding() const {
    return query < sequence.queries.begin || query >= sequence.queries.end;
  }
};

/// Element of sequence b, of one that all share or one a sequence.
template <class T>
const T& of_sequence(const std::vector<T>& elements, std::int64_t b) {
  return elements.size() == 1 ? elements.front() : elements[static_cast<std::size_t>(b)];
}

/// @throws Error{kBadArgument} unless there is one for all sequences or one for each.
inline void check_sequences(std::size_t elements, const Problem& problem,
                            const std::string& where) {
  require(elements == 1 || static_cast<std::int64_t>(elements) == problem.batch,
          ErrorCode::kBadArgument, where, "1 or " + std::to_string(problem.batch), elements);
}

/// Sets the bits of slots [begin, end), as far as they are among the chunk's, whose first is
/// `first`.
inline void set_slots(KeyBits& bits, std::int64_t first, std::int64_t begin, std::int64_t end) {
  begin = std::clamp<std::int64_t>(begin - first, 0, kChunkKeys);
  end = std::clamp<std::int64_t>(end - first, 0, kChunkKeys);
  if (begin >= end) return;
  constexpr std::uint64_t kAll = ~std::uint64_t{0};
  const std::int64_t low = begin / 64, high = (end - 1) / 64;
  const std::uint64_t from = kAll << (begin % 64), to = kAll >> (63 - (end - 1) % 64);
  if (low == high) {
    bits.words[low] |= from & to;
    return;
  }
  bits.words[low] |= from;
  for (std::int64_t word = low + 1; word < high; ++word) bits.words[word] = kAll;
  bits.words[high] |= to;
}
inline void set_slot(KeyBits& bits, std::int64_t first, std::int64_t slot) {
  const std::int64_t at = slot - first;
  if (at >= 0 && at < kChunkKeys) bits.words[at / 64] |= std::uint64_t{1} << (at % 64);
}

/// One kind of mask. What it knows of the tokens is in MaskSequence; slots handed to it exist.
class MaskNode {
 public:
  virtual ~MaskNode() = default;

  /// @throws Error{kBadArgument} unless the mask's lists fit the problem.
  virtual void validate(const Problem&) const {}

  /// Never kHidden or kFull where that is not so of every pair; kPartial is always right.
  virtual Coverage classify(const MaskTile& tile) const = 0;

  /// Sets the bits of the visible slots among first .. first + kChunkKeys - 1. `bits` come cleared.
  virtual void visible(const MaskRow& row, std::int64_t first, KeyBits& bits) const = 0;

  /// True only where both rows, of one sequence, see the same slots: then one needs no bits of its
  /// own.
  virtual bool same(const MaskRow& a, const MaskRow& b) const {
    return a.query == b.query && (a.head == b.head || !varies_by_head());
  }

  /// Slots outside which the tile's queries see nothing: at most `tile.slots`.
  virtual Range bounds(const MaskTile& tile) const { return tile.slots; }

  /// Slots that all of the tile's queries see, for certain: classify() would say kFull of any part.
  /// With `bounds` it spares a long tile of a plain mask the walk over its chunks.
  virtual Range full(const MaskTile&) const { return {}; }

  virtual bool varies_by_head() const { return false; }

  /// Whether the other node is of this kind and has equal fields.
  virtual bool equals(const MaskNode& other) const = 0;

  virtual std::string describe() const = 0;

 protected:
  MaskNode() = default;
  MaskNode(const MaskNode&) = delete;
  MaskNode& operator=(const MaskNode&) = delete;
};

/// Whether both are one node, or equal ones.
inline bool same_node(const std::shared_ptr<const MaskNode>& a,
                      const std::shared_ptr<const MaskNode>& b) {
  return a == b || a->equals(*b);
}

/// MaskNode::equals of a kind that has `fields()`, a tuple.
template <class Node>
bool equal_fields(const Node& node, const MaskNode& other) {
  const auto* of_kind = dynamic_cast<const Node*>(&other);
  return of_kind != nullptr && node.fields() == of_kind->fields();
}

}  // namespace rapt
