#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "attention/modifiers.h"
#include "attention/strip_observer.h"
#include "attention/tiles.h"
#include "kernels/attention/attention.h"
#include "rapt/attention.h"

namespace rapt {

/// How keys and values reach the kernels. A cache is packed by widening its tiles to f32.
enum class Packing {
  kInPlace,  ///< the cache's tiles are read where they are
  kPages,    ///< the same of a cache whose tiles are no whole chunks
  kHead,     ///< what a kv head's rows see is packed once, and shared by all its query blocks
  kRows,     ///< a stream reads rows of tokens where they lie, and packs keys as it comes to them
  kChunk,    ///< the one block of a kv head packs each chunk as it comes to it
};

/// What of its problem a plan computes.
enum class PlanRole {
  kWhole,
  kPrefix,  ///< the nodes of the keys' first chunks, which all rows see: a cascade's first part
  kRest,    ///< all after the prefix, of which a kPrefix plan has made the nodes
};

/// Some rows of one (sequence, kv head), numbered by RowOrder, against some of its chunks. Every row
/// uses the same keys.
struct WorkItem {
  std::int64_t sequence;
  std::int64_t kv_head;
  std::int64_t row_begin, row_end;
  std::int64_t chunk_begin, chunk_end;
  std::int64_t split;  ///< into PlanDetail::splits
};

/// Items that share rows and are parts of one chunk range: aligned subtrees, ascending. A split of
/// one item finishes its rows itself; otherwise whoever computes the last part merges them all.
struct Split {
  std::int64_t first_item = 0;
  std::int64_t items = 0;
  std::int64_t node = 0;  ///< of PrefixNodes, that it makes
};

/// Consecutive heads whose packed keys and values are in memory together.
struct Wave {
  std::int64_t head_begin = 0, head_end = 0;    ///< head = sequence Hkv + kv head
  std::int64_t split_begin = 0, split_end = 0;  ///< into PlanDetail::splits
  std::int64_t item_begin = 0, item_end = 0;    ///< into PlanDetail::items
};

/// What the rows of a kv head see: slots in whole chunks, the sequence's end excepted.
struct HeadSlots {
  Range seen;
  std::int64_t packed = 0;  ///< slots of the wave's heads before it, where heads are packed
};

struct PlanDetail {
  PlanDetail(const Problem& problem, const Threads& threads, KvSource source,
             PlanRole role = PlanRole::kWhole, std::int64_t prefix_chunks = 0,
             const StripObserver* observer = nullptr)
      : problem(problem),
        threads(threads),
        source(source),
        role(role),
        prefix_chunks(prefix_chunks),
        observer(observer),
        order(problem),
        tiles(problem) {}

  /// `make_plan` of a part of a cascade, or of a pass that hands weights to `observer`.
  /// @pre  Rows see every chunk of the prefix in full, and masks do not differ between heads.
  static Plan make_part(const Problem& problem, const Threads& threads, KvSource source,
                        PlanRole role, std::int64_t prefix_chunks,
                        const StripObserver* observer = nullptr);

  Problem problem;
  Threads threads;
  KvSource source;
  PlanRole role;
  std::int64_t prefix_chunks;     ///< of a cascade; 0: there is none
  const StripObserver* observer;  ///< takes the weights in the place of values; or null
  RowOrder order;
  TileList tiles;
  const AttentionKernels* kernels = nullptr;
  Packing packing = Packing::kHead;
  bool stream = false;        ///< few rows: keys and values are read once, in the order of memory
  float score_factor = 0.0f;  ///< c = scale log2 e, rounded once; with a softcap c = scale
  std::vector<float> slopes;  ///< [Hq] -slope log2 e, or empty
  std::vector<float> sinks;   ///< [Hq] logit log2 e, or empty
  DistanceTable relative_bias;
  std::int64_t v_stride = 0;                ///< Dv rounded up to 16; of an observer, its columns
  std::int64_t q_stride = 0;                ///< floats of a scaled query
  std::int64_t k_floats = 0, v_floats = 0;  ///< memory of a packed key and of its value
  std::int64_t block_rows = 0;              ///< most rows of an item
  std::int64_t slots = 0;                   ///< of the longest sequence, rounded up to a group
  int levels = 0;                           ///< of the merge tree
  int workers = 1;
  std::vector<HeadSlots> heads;  ///< [B Hkv]
  std::vector<Wave> waves;
  std::vector<Split> splits;
  std::vector<WorkItem> items;
  std::int64_t packed_heads = 0;   ///< most in a wave
  std::int64_t packed_slots = 0;   ///< most in a wave
  std::int64_t counters = 0;       ///< most splits in a wave
  std::int64_t partial_nodes = 0;  ///< most parts of split items in a wave
  std::size_t scratch_bytes = 0;
  std::vector<std::pair<std::string, std::string>> explanation;

  std::int64_t rows() const { return order.rows(); }

  /// Query and query head of a row of a kv head.
  struct Query {
    std::int64_t i, h;
  };
  Query query_of(std::int64_t kv_head, std::int64_t row) const {
    return {order.query(row), kv_head * problem.group() + order.head_of_group(row)};
  }
  std::int64_t row_of(const Query& query) const {
    return order.row(query.i, query.h % problem.group());
  }

  /// Whether keys and values come from a cache's tiles, or from rows of tokens in pages; else from
  /// tensors.
  bool from_tiles() const { return source == KvSource::kCache || source == KvSource::kPages; }
  bool from_row_pages() const { return source == KvSource::kRows || source == KvSource::kAnyRows; }

  bool scaled() const { return is_quantised(problem.storage.k); }
  bool native() const { return problem.arithmetic == Arithmetic::kNativeBF16; }

  /// Floats of a packed slot, its key, its value and their scales.
  std::int64_t slot_floats() const { return k_floats + v_floats + (scaled() ? 2 : 0); }
};

/// The plan for items that run on their own: each packs the chunks that it comes to, and no memory
/// is shared between them.
inline PlanDetail without_waves(PlanDetail plan) {
  if (plan.packing == Packing::kHead) plan.packing = Packing::kChunk;
  plan.packed_heads = plan.packed_slots = plan.counters = plan.partial_nodes = 0;
  return plan;
}

}  // namespace rapt
