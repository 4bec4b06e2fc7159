#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include "attention/kv_reader.h"
#include "attention/plan_detail.h"
#include "attention/subtrees.h"
#include "attention/tile_rows.h"
#include "base/carver.h"

namespace rapt {

/// Joins the sinks of rows [row, row + rows) of a kv head to their node, once they have met.
inline void join_sinks(const PlanDetail& plan, std::int64_t kv_head, std::int64_t row, int rows,
                       const StateRows& state) {
  if (plan.sinks.empty()) return;
  float sinks[kTileQueries];
  for (int r = 0; r < rows; ++r)
    sinks[r] = plan.sinks[static_cast<std::size_t>(plan.query_of(kv_head, row + r).h)];
  plan.kernels->join_sinks(rows, plan.v_stride, sinks, state);
}

/// Nodes of a cascade's prefix: the maximal aligned subtrees of chunks [0, chunks), ascending, for
/// the rows of every entry that shares it.
struct PrefixNodes {
  std::int64_t chunks = 0;
  std::int64_t head_rows = 0;  ///< rows of a kv head, of all entries
  std::int64_t first_row = 0;  ///< of the run's first row
  std::int64_t kv_heads = 0, v_stride = 0;
  StateRows nodes{};  ///< [nodes, kv_heads, head_rows]

  PrefixNodes() = default;
  PrefixNodes(const PlanDetail& prefix, Carver& carver)
      : chunks(prefix.prefix_chunks),
        head_rows(prefix.rows()),
        kv_heads(prefix.problem.kv_heads),
        v_stride(prefix.v_stride) {
    const std::int64_t rows =
        std::popcount(static_cast<std::uint64_t>(chunks)) * kv_heads * head_rows;
    nodes.m = carver.take<float>(rows);
    nodes.l = carver.take<float>(rows);
    nodes.acc = carver.take<float>(rows * v_stride);
  }

  /// Rows of a node, from row `row` of the sequence on.
  StateRows at(std::int64_t node, std::int64_t kv_head, std::int64_t row) const {
    const std::int64_t n = (node * kv_heads + kv_head) * head_rows + first_row + row;
    return {nodes.m + n, nodes.l + n, nodes.acc + n * v_stride};
  }
};

/// One worker: its memory, and the loop over chunks and tiles of a work item.
class BlockRunner {
 public:
  BlockRunner(const PlanDetail& plan, Carver& carver)
      : plan_(plan), tile_rows_(plan, carver), chunk_(plan, carver) {
    const std::int64_t rows = plan.block_rows, tiles = (rows + kTileQueries - 1) / kTileQueries;
    q_ = carver.take<float>(tiles * kTileQueries * plan.q_stride);
    tile_states_ = carver.take<TileState>(tiles);
    scores_ = carver.take<float>(kMostStripQueries * kScoreStride);
    lane_max_ = carver.take<float>(kMostStripQueries * 16);
    if (plan.observer != nullptr)
      kept_scores_ = carver.take<float>(kMostStripQueries * kScoreStride);
    current_ = take_rows(carver, kTileQueries);
    for (int level = 0; level < plan.levels; ++level) levels_[level] = take_rows(carver, rows);
    if (plan.packing == Packing::kRows)
      k_packed_ = carver.take<float>(kRowGroups * kGroupKeys * plan.k_floats);
  }

  const ChunkMemory& chunk_memory() const { return chunk_; }

  /// Computes the node of every tile of `item` over the item's chunks, after those of `prefix` if
  /// that is not null, and hands it to emit(first row, rows, node). The node may be overwritten.
  template <class Emit>
  void attend(const WorkItem& item, const Inputs& inputs, const KvReader& reader, Emit&& emit,
              const PrefixNodes* prefix = nullptr) {
    scale_queries(item, inputs);
    const int rows = static_cast<int>(item.row_end - item.row_begin);
    for (int row = 0; row < rows; row += kTileQueries) {
      TileState& state = tile_states_[row / kTileQueries];
      state = first_tile(item, row);
      const int count = std::min(kTileQueries, rows - row);
      if (prefix != nullptr) enter(*prefix, item, item.row_begin + row, row, count, state);
      if (state.chunk < state.end) continue;
      if (prefix == nullptr) clear(count);
      emit(item.row_begin + row, count, current_);
    }
    for (std::int64_t chunk; (chunk = next_chunk(rows)) < item.chunk_end;) {
      const KvChunk kv = reader.read(item.sequence, item.kv_head, chunk, chunk_);
      tile_rows_.enter(item.sequence, chunk);
      for (int row = 0; row < rows; row += kTileQueries) {
        TileState& state = tile_states_[row / kTileQueries];
        if (state.chunk != chunk || chunk >= state.end) continue;
        const int count = std::min(kTileQueries, rows - row);
        const std::int64_t next = state.next();
        const StateRows node = place(row, state, next);
        compute(item, row, count, state, kv, inputs, node);
        const bool last = fold(row, count, state, next);
        state.advance();
        if (last) emit(item.row_begin + row, count, node);
      }
    }
  }

  /// Walks the keys that an item of one row sees: emit(slot, s, p) with its score in units of log2
  /// and its weight p = 2^(s - m) / l. Two passes: (m, l) of the whole row first.
  template <class Emit>
  void walk_row(const WorkItem& item, const Inputs& inputs, const KvReader& reader, float* line,
                Emit&& emit) {
    float m = 0.0f, l = 0.0f;
    attend(item, inputs, reader, [&](std::int64_t row, int rows, const StateRows& state) {
      join_sinks(plan_, item.kv_head, row, rows, state);
      m = *state.m;
      l = *state.l;
    });
    for (TileState state = first_tile(item, 0); state.chunk < state.end; state.advance()) {
      tile_rows_.enter(item.sequence, state.chunk);
      const KvChunk kv = reader.read(item.sequence, item.kv_head, state.chunk, chunk_);
      const AttentionTile tile = scores(item, 0, 1, state, kv, inputs, current_);
      const std::uint32_t seen = *tile.seen;
      plan_.kernels->weights(scores_, seen, m, l, line);
      for (int j = 0; j < kChunkKeys; ++j) {
        const std::uint32_t group = std::uint32_t{1} << j / kGroupKeys;
        const bool visible = (*tile.whole & group) != 0 ||
                             ((seen & group) != 0 &&
                              (tile.visible->group(j / kGroupKeys) >> j % kGroupKeys & 1) != 0);
        if (visible) emit(state.chunk * kChunkKeys + j, scores_[j], line[j]);
      }
    }
  }

  /// Merges the nodes of rows [row, row + rows) of a split's parts, after those of `prefix` if that
  /// is not null, and hands them to emit as `attend` does. node(part) gives a part's.
  template <class NodeOf, class Emit>
  void merge_parts(std::int64_t row, int rows, std::span<const WorkItem> parts,
                   const PrefixNodes* prefix, NodeOf&& node, Emit&& emit) {
    TileState state{nullptr, nullptr, parts.front().chunk_begin, parts.back().chunk_end, 0};
    if (prefix != nullptr) enter(*prefix, parts.front(), row, 0, rows, state);
    for (std::size_t part = 0; part < parts.size(); ++part) {
      state.chunk = parts[part].chunk_begin;
      const std::int64_t next = parts[part].chunk_end;
      const StateRows into = place(0, state, next);
      copy(rows, node(static_cast<std::int64_t>(part)), into);
      if (fold(0, rows, state, next)) emit(row, rows, into);
    }
  }

  void copy(int rows, const StateRows& from, const StateRows& to) const {
    std::memcpy(to.m, from.m, static_cast<std::size_t>(rows) * sizeof(float));
    std::memcpy(to.l, from.l, static_cast<std::size_t>(rows) * sizeof(float));
    std::memcpy(to.acc, from.acc, static_cast<std::size_t>(rows * plan_.v_stride) * sizeof(float));
  }

 private:
  /// Where a tile stands in the chunks that it sees of an item, and the levels of the merge tree that
  /// hold a node.
  struct TileState {
    const TileRun* run;
    const TileRun* runs_end;
    std::int64_t chunk, end;
    std::uint64_t held;

    /// The chunk after `chunk` that the tile sees; at or beyond `end` there is none.
    std::int64_t next() const {
      if (chunk + 1 < run->end) return chunk + 1;
      return run + 1 == runs_end ? end : std::min(run[1].begin, end);
    }
    void advance() {
      chunk = next();
      if (chunk >= run->end) ++run;
    }
    Coverage coverage() const { return run->coverage; }
  };

  StateRows take_rows(Carver& carver, std::int64_t rows) const {
    float* m = carver.take<float>(rows);
    float* l = carver.take<float>(rows);
    return {m, l, carver.take<float>(rows * plan_.v_stride)};
  }

  void scale_queries(const WorkItem& item, const Inputs& inputs) {
    const std::int64_t d = plan_.problem.head_dim;
    for (std::int64_t row = item.row_begin; row < item.row_end; ++row) {
      const auto [i, h] = plan_.query_of(item.kv_head, row);
      plan_.kernels->reading(inputs.q.dtype)
          .scale_query(inputs.q.address(item.sequence, i, h, 0), inputs.q.strides[3], d,
                       plan_.score_factor, q_ + (row - item.row_begin) * plan_.q_stride);
    }
  }

  /// A tile before the first of the item's chunks that it sees.
  TileState first_tile(const WorkItem& item, int row) const {
    const auto runs = plan_.tiles.runs(item.sequence, item.kv_head, item.row_begin + row);
    const TileRun* run = runs.data();
    const TileRun* end = run + runs.size();
    while (run != end && run->end <= item.chunk_begin) ++run;
    const std::int64_t chunk = run == end ? item.chunk_end : std::max(run->begin, item.chunk_begin);
    return {run, end, chunk, item.chunk_end, 0};
  }

  /// Puts the nodes of a prefix for rows [row, row + count) of a head where the walk over its
  /// chunks would have left them, before `state`'s first chunk: from row `at_row` of the levels on,
  /// or in `current_` if there is no such chunk.
  void enter(const PrefixNodes& prefix, const WorkItem& item, std::int64_t row, int at_row,
             int count, TileState& state) {
    const std::int64_t first_row = item.sequence * plan_.rows() + row;
    TileState walk = state;
    std::int64_t node = 0;
    for_each_subtree({0, prefix.chunks}, [&](int level, std::int64_t index) {
      walk.chunk = index << level;
      const std::int64_t end = (index + 1) << level;
      const std::int64_t next = end == prefix.chunks ? state.chunk : end;
      copy(count, prefix.at(node++, item.kv_head, first_row), place(at_row, walk, next));
      fold(at_row, count, walk, next);
    });
    state.held = walk.held;
  }

  /// The least chunk that some tile is to compute.
  std::int64_t next_chunk(int rows) const {
    std::int64_t chunk = std::numeric_limits<std::int64_t>::max();
    for (int row = 0; row < rows; row += kTileQueries) {
      const TileState& state = tile_states_[row / kTileQueries];
      if (state.chunk < state.end) chunk = std::min(chunk, state.chunk);
    }
    return chunk;
  }

  /// Those of a chunk; where they are not known, only those that some row sees in part.
  std::uint32_t nonfinite_groups(const KvChunk& kv, int rows) const {
    if (kv.v_rows.data == nullptr) return kv.tile.nonfinite_groups;
    std::uint32_t seen = 0, whole = ~0u, nonfinite = 0;
    for (int r = 0; r < rows; ++r) {
      seen |= tile_rows_.seen()[r];
      whole &= tile_rows_.whole()[r];
    }
    const auto all_finite = plan_.kernels->reading(kv.tile.dtype).all_finite;
    for (std::uint32_t left = seen & ~whole; left != 0; left &= left - 1) {
      const int group = std::countr_zero(left);
      KeyRows values = kv.v_rows;
      values.data = kv.groups[group].v;
      values.keys = std::min(kGroupKeys, values.keys - group * kGroupKeys);
      if (!all_finite(values)) nonfinite |= 1u << group;
    }
    return nonfinite;
  }

  /// The scores of some rows, from the item's row `row` on, against one chunk, changed and masked.
  AttentionTile scores(const WorkItem& item, int row, int count, const TileState& state,
                       const KvChunk& kv, const Inputs& inputs, const StateRows& node) {
    tile_rows_.prepare(item, item.row_begin + row, count, state.chunk, state.coverage(), inputs);
    const AttentionTile tile{plan_.stream,
                             count,
                             plan_.problem.head_dim,
                             plan_.v_stride,
                             kv.v_row,
                             q_ + row * plan_.q_stride,
                             kv.tile.dtype,
                             kv.tile.k,
                             kv.tile.v,
                             nonfinite_groups(kv, count),
                             tile_rows_.seen(),
                             tile_rows_.whole(),
                             tile_rows_.visible(),
                             scores_,
                             lane_max_,
                             node.m,
                             node.l,
                             node.acc,
                             kv.groups,
                             kv.k_rows.data == nullptr ? nullptr : &kv.k_rows,
                             kv.k_dtype,
                             k_packed_,
                             kv.tile.k_scales,
                             plan_.observer == nullptr ? kv.tile.v_scales : nullptr,
                             plan_.score_factor};
    const AttentionKernels& kernels = *plan_.kernels;
    kernels.scores(tile);
    if (plan_.problem.modifiers.changes_scores()) kernels.change_scores(tile, tile_rows_.changes());
    return tile;
  }

  /// Computes the node of one tile and one chunk, a strip after the other.
  void compute(const WorkItem& item, int row, int count, const TileState& state, const KvChunk& kv,
               const Inputs& inputs, const StateRows& node) {
    const int strip = plan_.stream ? kStreamQueries : kStripQueries;
    for (int first = 0; first < count; first += strip) {
      const AttentionTile tile = scores(item, row + first, std::min(strip, count - first), state,
                                        kv, inputs, at(node, first));
      if (plan_.observer != nullptr) {
        plan_.observer->observe({tile, item.sequence, item.kv_head, item.row_begin + row + first,
                                 state.chunk, kept_scores_});
        continue;
      }
      plan_.kernels->softmax(tile);
      plan_.kernels->values(tile);
    }
  }

  /// The merge tree is walked as a binary counter. Once all chunks before `next` are done, the node
  /// that holds `chunk` is on this level; chunks in between are hidden, the identity.
  static int level_of(std::int64_t chunk, std::int64_t next) {
    const int level = std::bit_width(static_cast<std::uint64_t>(chunk ^ next)) - 1;
    assert(level >= 0);  // they differ
    return level;
  }

  /// Where the node of a tile's chunk is to be computed: where its merge with those before it stays.
  StateRows place(int row, const TileState& state, std::int64_t next) const {
    return next >= state.end ? current_ : at(levels_[level_of(state.chunk, next)], row);
  }

  /// Merges the nodes that a tile's chunk completes into its own. True if that was the tile's last
  /// chunk: then it is the node of all of them.
  bool fold(int row, int count, TileState& state, std::int64_t next) {
    const bool last = next >= state.end;
    const int level = last ? plan_.levels : level_of(state.chunk, next);
    StateRows sides[kMaxLevels];
    int joined = 0;
    for (int below = 0; below < level; ++below)
      if ((state.held >> below & 1) != 0) sides[joined++] = at(levels_[below], row);
    const StateRows into = place(row, state, next);
    if (joined > 0 && plan_.observer != nullptr)
      plan_.observer->merge(count, sides, joined, into);
    else if (joined > 0)
      plan_.kernels->merge(count, plan_.v_stride, sides, joined, into);
    const std::uint64_t bit = std::uint64_t{1} << level;
    state.held = (state.held & ~(bit - 1)) | bit;
    return last;
  }

  StateRows at(const StateRows& rows, std::int64_t row) const {
    return {rows.m + row, rows.l + row, rows.acc + row * plan_.v_stride};
  }

  void clear(int rows) {
    std::fill_n(current_.m, rows, -std::numeric_limits<float>::infinity());
    std::fill_n(current_.l, rows, 0.0f);
    std::fill_n(current_.acc, rows * plan_.v_stride, 0.0f);
  }

  static constexpr int kMaxLevels = 64;

  const PlanDetail& plan_;
  TileRows tile_rows_;
  ChunkMemory chunk_;
  float* q_;
  TileState* tile_states_;
  float* scores_;
  float* lane_max_;
  float* kept_scores_ = nullptr;  // an observer's
  StateRows current_;
  StateRows levels_[kMaxLevels];
  float* k_packed_ = nullptr;
};

/// The scratch memory of a run, laid out.
struct RunMemory {
  RunMemory(const PlanDetail& plan, Carver& carver) {
    packed = carver.take<float>(plan.packed_slots * plan.slot_floats());
    flags = carver.take<std::uint32_t>(plan.packed_heads * chunks_of(plan.slots));
    parts_done = carver.take<std::atomic<std::int64_t>>(plan.counters);
    const std::int64_t rows = plan.partial_nodes * plan.block_rows;
    partials.m = carver.take<float>(rows);
    partials.l = carver.take<float>(rows);
    partials.acc = carver.take<float>(rows * plan.v_stride);
    first_runner_ = carver.bytes();
    { BlockRunner runner(plan, carver); }
    runner_bytes_ = carver.bytes() - first_runner_;
    for (int worker = 1; worker < plan.workers; ++worker)
      carver.take<std::byte>(static_cast<std::int64_t>(runner_bytes_));
  }

  /// The runner of one worker, in its part of `memory`.
  BlockRunner runner(const PlanDetail& plan, std::byte* memory, int worker) const {
    Carver carver(memory + first_runner_ + static_cast<std::size_t>(worker) * runner_bytes_);
    return BlockRunner(plan, carver);
  }

  float* packed;
  std::uint32_t* flags;
  std::atomic<std::int64_t>* parts_done;
  StateRows partials;

 private:
  std::size_t first_runner_;
  std::size_t runner_bytes_;
};

}  // namespace rapt
