#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "attention/plan_detail.h"
#include "base/carver.h"
#include "kv/layout.h"

namespace rapt {

/// Keys and values of a chunk, wherever the plan keeps them.
class KvReader {
 public:
  KvReader(const PlanDetail& plan, const Inputs& inputs, const float* packed,
           const std::uint32_t* flags, std::int64_t first_head)
      : plan_(plan), inputs_(inputs), packed_(packed), flags_(flags), first_head_(first_head) {}

  /// Tiles of one chunk. With Packing::kChunk they are packed into `buffer`.
  KvTile read(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
              float* buffer) const {
    if (plan_.packing == Packing::kInPlace) return inputs_.cache->tile(sequence, kv_head, chunk);
    if (plan_.packing == Packing::kChunk) {
      float* values = buffer + kChunkKeys * plan_.problem.head_dim;
      return {buffer, values, pack(sequence, kv_head, chunk, buffer, values)};
    }
    const std::int64_t head = sequence * plan_.problem.kv_heads + kv_head - first_head_;
    const float* base = packed_ + head * plan_.head_floats();
    return {base + chunk * kChunkKeys * plan_.problem.head_dim,
            base + plan_.slots * plan_.problem.head_dim + chunk * kChunkKeys * plan_.v_stride,
            flags_[head * chunks_of(plan_.slots) + chunk]};
  }

  /// Packs a chunk of plain tensors; returns its non-finite groups.
  std::uint32_t pack(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk, float* keys,
                     float* values) const {
    const Problem& problem = plan_.problem;
    const Range range = problem.kv_range(sequence);
    const std::int64_t first = range.begin + chunk * kChunkKeys;
    const int count = static_cast<int>(std::min<std::int64_t>(kChunkKeys, range.end - first));
    const ConstTensor &k = inputs_.k, &v = inputs_.v;
    plan_.kernels->pack_keys(&k.at(sequence, first, kv_head, 0), k.strides[1], k.strides[3], count,
                             problem.head_dim, keys);
    return plan_.kernels->pack_values(&v.at(sequence, first, kv_head, 0), v.strides[1],
                                      v.strides[3], count, problem.value_dim(), plan_.v_stride,
                                      values);
  }

 private:
  const PlanDetail& plan_;
  const Inputs& inputs_;
  const float* packed_;
  const std::uint32_t* flags_;
  std::int64_t first_head_;
};

/// One worker: its memory, and the loop over chunks and tiles of a work item.
class BlockRunner {
 public:
  BlockRunner(const PlanDetail& plan, Carver& carver) : plan_(plan) {
    const std::int64_t rows = plan.block_rows, tiles = (rows + kTileQueries - 1) / kTileQueries;
    const std::int64_t d = plan.problem.head_dim;
    q_ = carver.take<float>(tiles * kTileQueries * d);
    slots_ = carver.take<Range>(rows);
    tile_states_ = carver.take<TileState>(tiles);
    scores_ = carver.take<float>(kTileQueries * kScoreStride);
    lane_max_ = carver.take<float>(kTileQueries * 16);
    begin_ = carver.take<int>(kTileQueries);
    end_ = carver.take<int>(kTileQueries);
    current_ = take_rows(carver, kTileQueries);
    for (int level = 0; level < plan.levels; ++level) levels_[level] = take_rows(carver, rows);
    if (plan.packing == Packing::kChunk)
      chunk_ = carver.take<float>(kChunkKeys * (d + plan.v_stride));
  }

  /// Computes the node of every tile of `item` over the item's chunks, and hands it to
  /// emit(first row, rows, node). The node may be overwritten.
  template <class Emit>
  void attend(const WorkItem& item, const Inputs& inputs, const KvReader& reader, Emit&& emit) {
    prepare(item, inputs);
    const int rows = static_cast<int>(item.row_end - item.row_begin);
    ChunkRange seen{item.chunk_end, item.chunk_begin};
    for (int row = 0; row < rows; row += kTileQueries) {
      const TileState& state = tile_states_[row / kTileQueries];
      if (state.chunks.begin < state.chunks.end) {
        seen.begin = std::min(seen.begin, state.chunks.begin);
        seen.end = std::max(seen.end, state.chunks.end);
      } else {
        const int count = std::min(kTileQueries, rows - row);
        clear(count);
        emit(item.row_begin + row, count, current_);
      }
    }
    for (std::int64_t chunk = seen.begin; chunk < seen.end; ++chunk) {
      const KvTile kv = reader.read(item.sequence, item.kv_head, chunk, chunk_);
      for (int row = 0; row < rows; row += kTileQueries) {
        TileState& state = tile_states_[row / kTileQueries];
        if (chunk < state.chunks.begin || chunk >= state.chunks.end) continue;
        const int count = std::min(kTileQueries, rows - row);
        const StateRows node = place(row, chunk, state);
        compute(row, count, chunk, kv, node);
        if (fold(row, count, chunk, state)) emit(item.row_begin + row, count, node);
      }
    }
  }

  /// Weights p = 2^(s - m) / l of an item of one row: emit(slot, p) for every slot of the chunks it
  /// sees. Two passes: (m, l) of the whole row first.
  template <class Emit>
  void weights(const WorkItem& item, const Inputs& inputs, const KvReader& reader, float* line,
               Emit&& emit) {
    float m = 0.0f, l = 0.0f;
    attend(item, inputs, reader, [&](std::int64_t, int, const StateRows& state) {
      m = *state.m;
      l = *state.l;
    });
    const ChunkRange chunks = tile_states_[0].chunks;
    for (std::int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
      const AttentionTile tile =
          tile_of(0, 1, chunk, reader.read(item.sequence, item.kv_head, chunk, chunk_), current_);
      plan_.kernels->scores(tile);
      plan_.kernels->weights(scores_, begin_[0], end_[0], m, l, line);
      for (int j = begin_[0]; j < end_[0]; ++j) emit(chunk * kChunkKeys + j, line[j]);
    }
  }

  /// Merges a tile's nodes of a split's parts, ascending aligned subtrees of equal size of which
  /// the first has index `first`, and hands them to emit as `attend` does. node(part) gives the
  /// tile's rows.
  template <class NodeOf, class Emit>
  void merge_parts(std::int64_t row, int rows, std::int64_t first, std::int64_t parts,
                   NodeOf&& node, Emit&& emit) {
    TileState state{{first, first + parts}, 0};
    for (std::int64_t part = 0; part < parts; ++part) {
      const StateRows into = place(0, first + part, state);
      copy(rows, node(part), into);
      if (fold(0, rows, first + part, state)) emit(row, rows, into);
    }
  }

  void copy(int rows, const StateRows& from, const StateRows& to) const {
    std::memcpy(to.m, from.m, static_cast<std::size_t>(rows) * sizeof(float));
    std::memcpy(to.l, from.l, static_cast<std::size_t>(rows) * sizeof(float));
    std::memcpy(to.acc, from.acc, static_cast<std::size_t>(rows * plan_.v_stride) * sizeof(float));
  }

 private:
  /// Chunks that a tile sees within the item, and the levels of the merge tree that hold a node.
  struct TileState {
    ChunkRange chunks;
    std::uint64_t held;
  };

  StateRows take_rows(Carver& carver, std::int64_t rows) const {
    float* m = carver.take<float>(rows);
    float* l = carver.take<float>(rows);
    return {m, l, carver.take<float>(rows * plan_.v_stride)};
  }

  /// Scales the queries, and finds what each row and tile sees.
  void prepare(const WorkItem& item, const Inputs& inputs) {
    const Problem& problem = plan_.problem;
    const std::int64_t d = problem.head_dim;
    for (std::int64_t row = item.row_begin; row < item.row_end; ++row) {
      const std::int64_t local = row - item.row_begin;
      const auto [i, h] = plan_.query_of(item.kv_head, row);
      const float* q = &inputs.q.at(item.sequence, i, h, 0);
      plan_.kernels->scale_query(q, inputs.q.strides[3], d, plan_.score_factor, q_ + local * d);
      Range seen = problem.visible_slots(item.sequence, i);
      seen.begin = std::max(seen.begin, item.chunk_begin * kChunkKeys);
      seen.end = std::min(seen.end, item.chunk_end * kChunkKeys);
      slots_[local] = seen;
      TileState& tile = tile_states_[local / kTileQueries];
      if (local % kTileQueries == 0) tile = {{item.chunk_end, item.chunk_begin}, 0};
      if (seen.size() == 0) continue;
      tile.chunks.begin = std::min(tile.chunks.begin, seen.begin / kChunkKeys);
      tile.chunks.end = std::max(tile.chunks.end, chunks_of(seen.end));
    }
  }

  /// One tile and one chunk, for the kernels.
  AttentionTile tile_of(int row, int count, std::int64_t chunk, const KvTile& kv,
                        const StateRows& node) {
    for (int r = 0; r < count; ++r) {
      const Range& seen = slots_[row + r];
      const auto within = [&](std::int64_t slot) {
        return static_cast<int>(std::clamp<std::int64_t>(slot - chunk * kChunkKeys, 0, kChunkKeys));
      };
      begin_[r] = within(seen.begin);
      end_[r] = within(seen.end);
    }
    const std::int64_t d = plan_.problem.head_dim;
    return {count,  d,    plan_.v_stride, q_ + row * d, kv.k,   kv.v,   kv.nonfinite_groups,
            begin_, end_, scores_,        lane_max_,    node.m, node.l, node.acc};
  }

  /// Computes the node of one tile and one chunk.
  void compute(int row, int count, std::int64_t chunk, const KvTile& kv, const StateRows& node) {
    const AttentionTile tile = tile_of(row, count, chunk, kv, node);
    const AttentionKernels& kernels = *plan_.kernels;
    (plan_.stream ? kernels.stream_scores : kernels.scores)(tile);
    kernels.softmax(tile);
    (plan_.stream ? kernels.stream_values : kernels.values)(tile);
  }

  // The merge tree is walked as a binary counter: the level that holds a node after `chunk` is that
  // of the bit which counting it sets.
  static int carry(std::int64_t chunk) {
    return std::countr_one(static_cast<std::uint64_t>(chunk));
  }
  static bool is_last(std::int64_t chunk, const TileState& state) {
    return chunk + 1 == state.chunks.end;
  }

  /// Where the node of `chunk` is to be computed: where its merge with those before it stays.
  StateRows place(int row, std::int64_t chunk, const TileState& state) const {
    return is_last(chunk, state) ? current_ : at(levels_[carry(chunk)], row);
  }

  /// Merges the nodes that `chunk` completes into its own. True if that was the tile's last chunk:
  /// then it is the node of all of them.
  bool fold(int row, int count, std::int64_t chunk, TileState& state) {
    const bool last = is_last(chunk, state);
    StateRows sides[kMaxLevels];
    int joined = 0;
    for (int level = 0; level < (last ? plan_.levels : carry(chunk)); ++level)
      if ((state.held >> level & 1) != 0) sides[joined++] = at(levels_[level], row);
    if (joined > 0)
      plan_.kernels->merge(count, plan_.v_stride, sides, joined, place(row, chunk, state));
    const std::uint64_t bit = std::uint64_t{1} << carry(chunk);
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
  float* q_;
  Range* slots_;
  TileState* tile_states_;
  float* scores_;
  float* lane_max_;
  int* begin_;
  int* end_;
  StateRows current_;
  StateRows levels_[kMaxLevels];
  float* chunk_ = nullptr;
};

/// The scratch memory of a run, laid out.
struct RunMemory {
  RunMemory(const PlanDetail& plan, Carver& carver) {
    packed = carver.take<float>(plan.packed_heads * plan.head_floats());
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
