#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "attention/plan_detail.h"
#include "kv/layout.h"

namespace rapt {

/// Keys and values of a chunk as the kernels take them.
struct KvChunk {
  KvTile tile;
  std::int64_t v_row;   ///< elements from a value to the next
  KeyRows k_rows = {};  ///< keys that are read where they lie, instead of tile.k
  DType k_dtype = DType::kF32;
  KeyRows v_rows = {};              ///< values whose non-finite groups are not known
  const KvGroup* groups = nullptr;  ///< pages that are read where they lie, instead of tile.k and v
};

/// A worker's memory for the chunk that it reads: `floats` as KvReader::floats says.
struct ChunkMemory {
  float* floats;
  KvGroup* groups;  ///< [kChunkGroups], where Packing::kPages
};

/// Keys and values of a chunk, wherever the plan keeps them.
class KvReader {
 public:
  KvReader(const PlanDetail& plan, const Inputs& inputs, float* packed, std::uint32_t* flags,
           std::int64_t first_head)
      : plan_(plan), inputs_(inputs), packed_(packed), flags_(flags), first_head_(first_head) {}

  /// Floats of a worker's ChunkMemory.
  static std::int64_t floats(const PlanDetail& plan) {
    if (plan.packing == Packing::kChunk) return kChunkKeys * plan.slot_floats();
    if (plan.packing == Packing::kRows)
      return std::min<std::int64_t>(kChunkKeys, plan.slots) * plan.v_floats;
    return plan.packing == Packing::kPages && plan.scaled() ? 2 * kChunkKeys : 0;
  }

  /// One chunk. What is packed or gathered for it alone is put into `memory`.
  KvChunk read(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
               const ChunkMemory& memory) const {
    switch (plan_.packing) {
      case Packing::kRows:
        return rows(sequence, kv_head, chunk, memory.floats);
      case Packing::kPages:
        return pages(sequence, kv_head, chunk, memory);
      case Packing::kInPlace:
        return {cache_tile(sequence, kv_head, chunk * kChunkKeys), plan_.v_stride};
      case Packing::kChunk: {
        const Place place = place_at(memory.floats, kChunkKeys);
        return {tile_of(place, pack(sequence, kv_head, chunk, place)), plan_.v_stride};
      }
      default:
        break;
    }
    const std::int64_t head = sequence * plan_.problem.kv_heads + kv_head;
    return {tile_of(packed_place(head, chunk), *flags_of(head, chunk)), plan_.v_stride};
  }

  /// With Packing::kHead: packs a chunk of a head of the wave, for all who read it.
  void prepare(std::int64_t head, std::int64_t chunk) const {
    *flags_of(head, chunk) = pack(head / plan_.problem.kv_heads, head % plan_.problem.kv_heads,
                                  chunk, packed_place(head, chunk));
  }

 private:
  static constexpr int kF32 = static_cast<int>(DType::kF32);

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

  /// A chunk of a plain tensor.
  KeyRows rows_of(const AnyConstTensor& x, std::int64_t sequence, std::int64_t kv_head,
                  std::int64_t chunk) const {
    const std::int64_t first = plan_.problem.kv_range(sequence).begin + chunk * kChunkKeys;
    return {x.address(sequence, first, kv_head, 0), x.strides[1], x.strides[3],
            keys_of(sequence, chunk), x.extents[3]};
  }

  /// Packs a chunk of plain tensors or of a cache; returns its non-finite groups.
  std::uint32_t pack(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
                     const Place& place) const {
    if (plan_.source != KvSource::kTensors) return widen(sequence, kv_head, chunk, place);
    const KeyRows k = rows_of(inputs_.k, sequence, kv_head, chunk);
    const KeyRows v = rows_of(inputs_.v, sequence, kv_head, chunk);
    if (plan_.native()) {
      plan_.kernels->pairs.pack_keys(k, place.keys);
      return plan_.kernels->pairs.pack_values(v, plan_.v_stride, place.values);
    }
    plan_.kernels->reading(inputs_.k.dtype).pack_keys[kF32](k, place.keys);
    return plan_.kernels->reading(inputs_.v.dtype)
        .pack_values[kF32](v, plan_.v_stride, place.values);
  }

  /// A chunk of a plain tensor, read where it lies. Values are packed into `buffer` unless their
  /// features are whole vectors; those that do not follow each other, too, unless they are read
  /// once.
  KvChunk rows(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
               float* buffer) const {
    const KeyRows k = rows_of(inputs_.k, sequence, kv_head, chunk);
    const KeyRows v = rows_of(inputs_.v, sequence, kv_head, chunk);
    const bool in_order = v.key_stride == v.dim || plan_.rows() <= kFewStreamRows;
    if (v.feature_stride == 1 && v.dim == plan_.v_stride && in_order)
      return {{inputs_.v.dtype, nullptr, v.data, 0}, v.key_stride, k, inputs_.k.dtype, v};
    const std::uint32_t nonfinite =
        plan_.kernels->reading(inputs_.v.dtype).pack_values[kF32](v, plan_.v_stride, buffer);
    return {{DType::kF32, nullptr, buffer, nonfinite}, plan_.v_stride, k, inputs_.k.dtype};
  }

  KvTile cache_tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t slot) const {
    return inputs_.cache->tile(inputs_.cache_sequence(sequence), kv_head, slot);
  }

  /// Calls f(tile, first slot of the chunk, slots) for the tiles of a cache that a chunk lies in;
  /// slots are whole groups.
  template <class F>
  void for_each_tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk, F&& f) const {
    const std::int64_t chunk_slots = round_up(keys_of(sequence, chunk), kGroupKeys),
                       of_tile = inputs_.cache->tile_slots();
    for (std::int64_t first = 0; first < chunk_slots;) {
      const std::int64_t slot = chunk * kChunkKeys + first;
      const std::int64_t slots = std::min(chunk_slots - first, of_tile - slot % of_tile);
      f(cache_tile(sequence, kv_head, slot), first, slots);
      first += slots;
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
    KvChunk read{{plan_.problem.storage.k, nullptr, nullptr, 0}, plan_.v_stride};
    read.groups = memory.groups;
    if (plan_.scaled()) {
      read.tile.k_scales = memory.floats;
      read.tile.v_scales = memory.floats + kChunkKeys;
    }
    for_each_tile(
        sequence, kv_head, chunk, [&](const KvTile& tile, std::int64_t first, std::int64_t slots) {
          const auto* k = static_cast<const std::byte*>(tile.k);
          const auto* v = static_cast<const std::byte*>(tile.v);
          for (std::int64_t group = 0; group < slots / kGroupKeys; ++group)
            memory.groups[first / kGroupKeys + group] = {k + group * k_bytes, v + group * v_bytes};
          read.tile.nonfinite_groups |= flags_at(tile, first, slots);
          copy_scales(tile, slots, memory.floats + first, memory.floats + kChunkKeys + first);
        });
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
      widen(tile.v, slots * plan_.v_stride, values);
      copy_scales(tile, slots, place.k_scales + first, place.v_scales + first);
    };
    for_each_tile(sequence, kv_head, chunk, widen_tile);
    return nonfinite;
  }

  const PlanDetail& plan_;
  const Inputs& inputs_;
  float* packed_;
  std::uint32_t* flags_;
  std::int64_t first_head_;
};

}  // namespace rapt
