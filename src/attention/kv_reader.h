#pragma once

#include <algorithm>
#include <cstdint>

#include "attention/plan_detail.h"
#include "kv/layout.h"

namespace rapt {

/// Keys and values of a chunk as the kernels take them.
struct KvChunk {
  KvTile tile;
  std::int64_t v_row;   ///< elements from a value to the next
  KeyRows k_rows = {};  ///< keys that are read where they lie, instead of tile.k
  DType k_dtype = DType::kF32;
  KeyRows v_rows = {};  ///< values whose non-finite groups are not known
};

/// Keys and values of a chunk, wherever the plan keeps them.
class KvReader {
 public:
  KvReader(const PlanDetail& plan, const Inputs& inputs, float* packed, std::uint32_t* flags,
           std::int64_t first_head)
      : plan_(plan), inputs_(inputs), packed_(packed), flags_(flags), first_head_(first_head) {}

  /// One chunk. With Packing::kChunk it is put into `buffer`, with kRows its values where need be.
  KvChunk read(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
               float* buffer) const {
    if (plan_.packing == Packing::kRows) return rows(sequence, kv_head, chunk, buffer);
    return {tile(sequence, kv_head, chunk, buffer), plan_.v_stride};
  }

  /// With Packing::kHead: packs a chunk of a head of the wave, for all who read it.
  void prepare(std::int64_t head, std::int64_t chunk) const {
    const Place place = place_of(head, chunk);
    *place.nonfinite = pack(head / plan_.problem.kv_heads, head % plan_.problem.kv_heads, chunk,
                            place.keys, place.values);
  }

 private:
  static constexpr int kF32 = static_cast<int>(DType::kF32);

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

  KvTile tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
              float* buffer) const {
    if (plan_.packing == Packing::kInPlace) return inputs_.cache->tile(sequence, kv_head, chunk * kChunkKeys);
    if (plan_.packing == Packing::kChunk) {
      float* values = buffer + kChunkKeys * plan_.k_floats;
      return {packed_type(), buffer, values, pack(sequence, kv_head, chunk, buffer, values)};
    }
    const Place place = place_of(sequence * plan_.problem.kv_heads + kv_head, chunk);
    return {packed_type(), place.keys, place.values, *place.nonfinite};
  }

  /// A chunk of a packed head: tiles of keys, then rows of values.
  struct Place {
    float* keys;
    float* values;
    std::uint32_t* nonfinite;
  };

  Place place_of(std::int64_t head, std::int64_t chunk) const {
    const HeadSlots& slots = plan_.heads[static_cast<std::size_t>(head)];
    const std::int64_t first = chunk * kChunkKeys;
    const std::int64_t count = std::min<std::int64_t>(kChunkKeys, slots.seen.end - first);
    float* keys = packed_ + (slots.packed + first - slots.seen.begin) * plan_.slot_floats();
    return {keys, keys + count * plan_.k_floats,
            flags_ + (head - first_head_) * chunks_of(plan_.slots) + chunk};
  }

  /// Packs a chunk of plain tensors or of a cache; returns its non-finite groups.
  std::uint32_t pack(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk, float* keys,
                     float* values) const {
    if (plan_.source == KvSource::kCache)
      return widen(inputs_.cache->tile(sequence, kv_head, chunk * kChunkKeys), keys_of(sequence, chunk), keys,
                   values);
    const KeyRows k = rows_of(inputs_.k, sequence, kv_head, chunk);
    const KeyRows v = rows_of(inputs_.v, sequence, kv_head, chunk);
    if (plan_.native()) {
      plan_.kernels->pairs.pack_keys(k, keys);
      return plan_.kernels->pairs.pack_values(v, plan_.v_stride, values);
    }
    plan_.kernels->reading(inputs_.k.dtype).pack_keys[kF32](k, keys);
    return plan_.kernels->reading(inputs_.v.dtype).pack_values[kF32](v, plan_.v_stride, values);
  }

  /// A chunk of plain tensors, read where it lies. Values are packed into `buffer` unless their features
  /// are whole vectors; those that do not follow each other, too, unless they are read once.
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

  DType packed_type() const { return plan_.native() ? DType::kBF16 : DType::kF32; }

  /// Tiles of `count` keys in f32 or in pairs.
  std::uint32_t widen(const KvTile& tile, int count, float* keys, float* values) const {
    const std::int64_t slots = round_up(count, kGroupKeys);
    if (plan_.native()) {
      plan_.kernels->pairs.pair_keys(tile.k, slots, plan_.problem.head_dim, keys);
      plan_.kernels->pairs.pair_values(tile.v, slots, plan_.v_stride, values);
      return tile.nonfinite_groups;
    }
    const auto widen = plan_.kernels->reading(tile.dtype).widen;
    widen(tile.k, slots * plan_.problem.head_dim, keys);
    widen(tile.v, slots * plan_.v_stride, values);
    return tile.nonfinite_groups;
  }

  const PlanDetail& plan_;
  const Inputs& inputs_;
  float* packed_;
  std::uint32_t* flags_;
  std::int64_t first_head_;
};

}  // namespace rapt
