#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "attention/plan_detail.h"
#include "base/carver.h"
#include "kv/layout.h"

namespace rapt {

/// Keys and values of a chunk as the kernels take them.
struct KvChunk {
  KvTile tile;
  std::int64_t v_row;               ///< elements from a value to the next
  const KvGroup* groups = nullptr;  ///< what is read where it lies, instead of tile.k and v
  KeyRows k_rows = {};              ///< how keys lie in rows, at `groups`
  DType k_dtype = DType::kF32;
  KeyRows v_rows = {};  ///< how values do whose non-finite groups are not known
};

/// A worker's memory for the chunk that it reads.
struct ChunkMemory {
  ChunkMemory(const PlanDetail& plan, Carver& carver);

  float* floats;        ///< what is packed for the chunk alone, or its scales
  KvGroup* groups;      ///< [kChunkGroups], of pages kAheadGroups more
  std::byte* gathered;  ///< a group's rows, brought together from several pages
};

/// Keys and values of a chunk, wherever the plan keeps them. For an observer keys alone: what it gives
/// for values is not to be read.
class KvReader {
 public:
  KvReader(const PlanDetail& plan, const Inputs& inputs, float* packed, std::uint32_t* flags,
           std::int64_t first_head)
      : plan_(plan), inputs_(inputs), packed_(packed), flags_(flags), first_head_(first_head) {
    if (plan.from_row_pages()) row_strides_ = *inputs.cache->extents().rows;
  }

  /// One chunk. What is packed or gathered for it alone is put into `memory`.
  KvChunk read(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
               const ChunkMemory& memory) const {
    switch (plan_.packing) {
      case Packing::kRows:
        return rows(sequence, kv_head, chunk, memory);
      case Packing::kPages:
        return pages(sequence, kv_head, chunk, memory);
      case Packing::kInPlace:
        return {cache_tile(sequence, kv_head, chunk * kChunkKeys), plan_.v_stride};
      case Packing::kChunk: {
        const Place place = place_at(memory.floats, kChunkKeys);
        return {tile_of(place, pack(sequence, kv_head, chunk, place, memory)), plan_.v_stride};
      }
      default:
        break;
    }
    const std::int64_t head = sequence * plan_.problem.kv_heads + kv_head;
    return {tile_of(packed_place(head, chunk), *flags_of(head, chunk)), plan_.v_stride};
  }

  /// With Packing::kHead: packs a chunk of a head of the wave, for all who read it.
  void prepare(std::int64_t head, std::int64_t chunk, const ChunkMemory& memory) const {
    *flags_of(head, chunk) = pack(head / plan_.problem.kv_heads, head % plan_.problem.kv_heads,
                                  chunk, packed_place(head, chunk), memory);
  }

 private:
  static constexpr int kF32 = static_cast<int>(DType::kF32);

  bool reads_values() const { return plan_.observer == nullptr; }

  /// A packed chunk: tiles of keys, rows of values, and of quantised ones their scales.
  struct Place {
    float* keys;
    float* values;
    float* k_scales;
    float* v_scales;
  };

  Place place_at(float* memory, std::int64_t slots) const {
    float* values = memory + slots * plan_.k_floats;
    if (!plan_.scaled()) return {memory, values, nullptr, nullptr};
    float* scales = values + slots * plan_.v_floats;
    return {memory, values, scales, scales + slots};
  }

  Place packed_place(std::int64_t head, std::int64_t chunk) const {
    const HeadSlots& slots = plan_.heads[static_cast<std::size_t>(head)];
    const std::int64_t first = chunk * kChunkKeys;
    return place_at(packed_ + (slots.packed + first - slots.seen.begin) * plan_.slot_floats(),
                    std::min<std::int64_t>(kChunkKeys, slots.seen.end - first));
  }

  std::uint32_t* flags_of(std::int64_t head, std::int64_t chunk) const {
    return flags_ + (head - first_head_) * chunks_of(plan_.slots) + chunk;
  }

  KvTile tile_of(const Place& place, std::uint32_t nonfinite) const {
    return {plan_.native() ? DType::kBF16 : DType::kF32,
            place.keys,
            place.values,
            nonfinite,
            place.k_scales,
            place.v_scales};
  }

  int keys_of(std::int64_t sequence, std::int64_t chunk) const {
    const std::int64_t left = plan_.problem.kv_range(sequence).size() - chunk * kChunkKeys;
    return static_cast<int>(std::min<std::int64_t>(kChunkKeys, left));
  }

  /// Slots of the sequence from a chunk on, in whole groups.
  std::int64_t slots_from(std::int64_t sequence, std::int64_t chunk) const {
    return round_up(plan_.problem.kv_range(sequence).size() - chunk * kChunkKeys, kGroupKeys);
  }

  /// A chunk of a plain tensor.
  KeyRows rows_of(const AnyConstTensor& x, std::int64_t sequence, std::int64_t kv_head,
                  std::int64_t chunk) const {
    const std::int64_t first = plan_.problem.kv_range(sequence).begin + chunk * kChunkKeys;
    return {x.address(sequence, first, kv_head, 0), x.strides[1], x.strides[3],
            keys_of(sequence, chunk), x.extents[3]};
  }

  /// Rows of a tile of a cache, keys and values.
  struct Rows {
    KeyRows k, v;
  };
  Rows rows_of(const KvTile& tile, int count) const {
    const Problem& p = plan_.problem;
    return {{tile.k, row_strides_.k_token, row_strides_.k_feature, count, p.head_dim},
            {tile.v, row_strides_.v_token, row_strides_.v_feature, count, p.value_dim()}};
  }

  /// Calls f(keys, values, first slot of the chunk) for the runs of a chunk of rows that lie one
  /// after the other. Each begins with a group and ends with one, or with the sequence; a group that
  /// lies in several pages is gathered.
  template <class F>
  void for_each_run(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
                    const ChunkMemory& memory, F&& f) const {
    if (plan_.source == KvSource::kTensors)
      return f(rows_of(inputs_.k, sequence, kv_head, chunk),
               rows_of(inputs_.v, sequence, kv_head, chunk), 0);
    const int keys = keys_of(sequence, chunk);
    const std::int64_t page = inputs_.cache->tile_slots();
    for (int first = 0, count; first < keys; first += count) {
      const std::int64_t slot = chunk * kChunkKeys + first;
      count = static_cast<int>(std::min<std::int64_t>(keys - first, page - slot % page));
      const bool is_end = first + count == keys;
      if (is_end || count >= kGroupKeys) {
        if (!is_end) count -= count % kGroupKeys;
        const Rows rows = rows_of(cache_tile(sequence, kv_head, slot), count);
        f(rows.k, rows.v, first);
      } else {
        count = std::min(kGroupKeys, keys - first);
        const Rows rows = gather(sequence, kv_head, slot, count, memory.gathered);
        f(rows.k, rows.v, first);
      }
    }
  }

  /// Brings the rows of a group together.
  Rows gather(std::int64_t sequence, std::int64_t kv_head, std::int64_t slot, int count,
              std::byte* to) const {
    const Problem& p = plan_.problem;
    const std::int64_t page = inputs_.cache->tile_slots(), size = size_of(p.storage.k);
    std::byte* const k = to;
    std::byte* const v = to + kGroupKeys * p.head_dim * size;
    for (int j = 0, here; j < count; j += here) {
      here = static_cast<int>(std::min<std::int64_t>(count - j, page - (slot + j) % page));
      const Rows rows = rows_of(cache_tile(sequence, kv_head, slot + j), here);
      copy_rows(rows.k, k + j * p.head_dim * size);
      copy_rows(rows.v, v + j * p.value_dim() * size);
    }
    return {{k, p.head_dim, 1, count, p.head_dim}, {v, p.value_dim(), 1, count, p.value_dim()}};
  }

  void copy_rows(const KeyRows& from, std::byte* to) const {
    with_type(plan_.problem.storage.k, [&]<class T>(T) {
      T* out = reinterpret_cast<T*>(to);
      const T* row = static_cast<const T*>(from.data);
      for (int j = 0; j < from.keys; ++j, row += from.key_stride, out += from.dim)
        if (from.feature_stride == 1)
          std::memcpy(out, row, static_cast<std::size_t>(from.dim) * sizeof(T));
        else
          for (std::int64_t e = 0; e < from.dim; ++e) out[e] = row[e * from.feature_stride];
    });
  }

  /// Packs a chunk of plain tensors or of a cache; returns its non-finite groups.
  std::uint32_t pack(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
                     const Place& place, const ChunkMemory& memory) const {
    if (plan_.from_tiles()) return widen(sequence, kv_head, chunk, place);
    std::uint32_t nonfinite = 0;
    for_each_run(sequence, kv_head, chunk, memory,
                 [&](const KeyRows& k, const KeyRows& v, int first) {
                   nonfinite |= pack_run(k, v, place.keys + first * plan_.k_floats,
                                         place.values + first * plan_.v_floats)
                                << first / kGroupKeys;
                 });
    return nonfinite;
  }

  std::uint32_t pack_run(const KeyRows& k, const KeyRows& v, float* keys, float* values) const {
    if (plan_.native()) {
      plan_.kernels->pairs.pack_keys(k, keys);
      return plan_.kernels->pairs.pack_values(v, plan_.v_stride, values);
    }
    const Storage& types = plan_.problem.storage;
    plan_.kernels->reading(types.k).pack_keys[kF32](k, keys);
    if (!reads_values()) return 0;
    return plan_.kernels->reading(types.v).pack_values[kF32](v, plan_.v_stride, values);
  }

  /// Values of a stream are packed unless their features are whole vectors; those that do not follow
  /// each other, too, unless they are read once.
  bool reads_in_place(const KeyRows& v) const {
    const bool in_order = v.key_stride == v.dim || plan_.rows() <= kFewStreamRows;
    return v.feature_stride == 1 && v.dim == plan_.v_stride && in_order;
  }

  /// A chunk of rows, read where they lie.
  KvChunk rows(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
               const ChunkMemory& memory) const {
    const Storage& types = plan_.problem.storage;
    KvChunk read{{DType::kF32, nullptr, nullptr, 0}, plan_.v_stride, memory.groups};
    read.k_dtype = types.k;
    for_each_run(sequence, kv_head, chunk, memory,
                 [&](const KeyRows& k, const KeyRows& v, int first) {
                   add_rows(k, v, first, memory, read);
                 });
    return read;
  }

  void add_rows(const KeyRows& k, const KeyRows& v, int first, const ChunkMemory& memory,
                KvChunk& read) const {
    const Storage& types = plan_.problem.storage;
    float* packed = memory.floats + first * plan_.v_stride;
    const bool in_place = !reads_values() || reads_in_place(v);
    read.k_rows = k;
    read.k_rows.keys = first + k.keys;
    if (!in_place) {
      read.tile.nonfinite_groups |=
          plan_.kernels->reading(types.v).pack_values[kF32](v, plan_.v_stride, packed)
          << first / kGroupKeys;
    } else if (reads_values()) {
      read.tile.dtype = types.v;
      read.v_row = v.key_stride;
      read.v_rows = v;
      read.v_rows.keys = first + v.keys;
    }
    const std::int64_t k_bytes = k.key_stride * size_of(types.k),
                       v_bytes = v.key_stride * size_of(types.v);
    for (int j = 0; j < k.keys; j += kGroupKeys) {
      const auto* value = static_cast<const std::byte*>(v.data) + j * v_bytes;
      memory.groups[(first + j) / kGroupKeys] = {
          static_cast<const std::byte*>(k.data) + j * k_bytes,
          in_place ? static_cast<const void*>(value) : packed + j * plan_.v_stride};
    }
  }

  KvTile cache_tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t slot) const {
    return inputs_.cache->tile(inputs_.cache_sequence(sequence), kv_head, slot);
  }

  /// Calls f(tile, first slot of the chunk, slots) for the tiles of a cache that slots [begin, end) of
  /// a chunk lie in; they are whole groups, and may go on into the next chunk.
  template <class F>
  void for_each_tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk, Range slots,
                     F&& f) const {
    const std::int64_t of_tile = inputs_.cache->tile_slots();
    for (std::int64_t first = slots.begin, count; first < slots.end; first += count) {
      const std::int64_t slot = chunk * kChunkKeys + first;
      count = std::min(slots.end - first, of_tile - slot % of_tile);
      f(cache_tile(sequence, kv_head, slot), first, count);
    }
  }

  static std::uint32_t flags_at(const KvTile& tile, std::int64_t first, std::int64_t slots) {
    const std::uint64_t groups = (std::uint64_t{1} << slots / kGroupKeys) - 1;
    return static_cast<std::uint32_t>((tile.nonfinite_groups & groups) << first / kGroupKeys);
  }

  /// A chunk of a cache's pages, read where they lie; only scales are brought together.
  KvChunk pages(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
                const ChunkMemory& memory) const {
    const std::int64_t size = size_of(plan_.problem.storage.k);
    const std::int64_t k_bytes = kGroupKeys * plan_.problem.head_dim * size,
                       v_bytes = kGroupKeys * plan_.v_stride * size;
    KvChunk read{{plan_.problem.storage.k, nullptr, nullptr, 0}, plan_.v_stride, memory.groups};
    if (plan_.scaled()) {
      read.tile.k_scales = memory.floats;
      read.tile.v_scales = memory.floats + kChunkKeys;
    }
    const auto add_groups = [&](const KvTile& tile, std::int64_t first, std::int64_t slots) {
      const auto* k = static_cast<const std::byte*>(tile.k);
      const auto* v = static_cast<const std::byte*>(tile.v);
      for (std::int64_t group = 0; group < slots / kGroupKeys; ++group)
        memory.groups[first / kGroupKeys + group] = {k + group * k_bytes, v + group * v_bytes};
    };
    constexpr int kKnownGroups = kChunkGroups + kAheadGroups;
    const std::int64_t left = slots_from(sequence, chunk);
    const std::int64_t here = std::min<std::int64_t>(kChunkKeys, left),
                       known = std::min<std::int64_t>(kKnownGroups * kGroupKeys, left);
    for_each_tile(sequence, kv_head, chunk, {0, here},
                  [&](const KvTile& tile, std::int64_t first, std::int64_t slots) {
                    add_groups(tile, first, slots);
                    read.tile.nonfinite_groups |= flags_at(tile, first, slots);
                    copy_scales(tile, slots, memory.floats + first,
                                memory.floats + kChunkKeys + first);
                  });
    for_each_tile(sequence, kv_head, chunk, {here, known}, add_groups);
    KvGroup* const last = memory.groups + known / kGroupKeys - 1;
    std::fill(last + 1, memory.groups + kKnownGroups, *last);
    return read;
  }

  void copy_scales(const KvTile& tile, std::int64_t slots, float* k_scales, float* v_scales) const {
    if (!plan_.scaled()) return;
    std::memcpy(k_scales, tile.k_scales, static_cast<std::size_t>(slots) * sizeof(float));
    std::memcpy(v_scales, tile.v_scales, static_cast<std::size_t>(slots) * sizeof(float));
  }

  /// Packs a chunk of a cache in f32 or in pairs.
  std::uint32_t widen(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
                      const Place& place) const {
    std::uint32_t nonfinite = 0;
    const auto widen_tile = [&](const KvTile& tile, std::int64_t first, std::int64_t slots) {
      float* keys = place.keys + first * plan_.k_floats;
      float* values = place.values + first * plan_.v_floats;
      nonfinite |= flags_at(tile, first, slots);
      if (plan_.native()) {
        plan_.kernels->pairs.pair_keys(tile.k, slots, plan_.problem.head_dim, keys);
        plan_.kernels->pairs.pair_values(tile.v, slots, plan_.v_stride, values);
        return;
      }
      const auto widen = plan_.kernels->widen[static_cast<int>(tile.dtype)];
      widen(tile.k, slots * plan_.problem.head_dim, keys);
      if (reads_values()) widen(tile.v, slots * plan_.v_stride, values);
      copy_scales(tile, slots, place.k_scales + first, place.v_scales + first);
    };
    const std::int64_t slots = std::min<std::int64_t>(kChunkKeys, slots_from(sequence, chunk));
    for_each_tile(sequence, kv_head, chunk, {0, slots}, widen_tile);
    return nonfinite;
  }

  const PlanDetail& plan_;
  const Inputs& inputs_;
  float* packed_;
  std::uint32_t* flags_;
  std::int64_t first_head_;
  KvRowStrides row_strides_{};
};

inline ChunkMemory::ChunkMemory(const PlanDetail& plan, Carver& carver) {
  const auto floats_of = [&]() -> std::int64_t {
    if (plan.packing == Packing::kChunk) return kChunkKeys * plan.slot_floats();
    if (plan.packing == Packing::kRows)
      return std::min<std::int64_t>(kChunkKeys, plan.slots) * plan.v_floats;
    return plan.packing == Packing::kPages && plan.scaled() ? 2 * kChunkKeys : 0;
  };
  const bool in_place = plan.packing == Packing::kPages || plan.packing == Packing::kRows;
  const std::int64_t row_bytes =
      (plan.problem.head_dim + plan.problem.value_dim()) * size_of(plan.problem.storage.k);
  floats = carver.take<float>(floats_of());
  groups = carver.take<KvGroup>(in_place ? kChunkGroups + kAheadGroups : 0);
  gathered = carver.take<std::byte>(plan.source == KvSource::kAnyRows ? kGroupKeys * row_bytes : 0);
}

}  // namespace rapt
