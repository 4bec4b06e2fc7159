#pragma once

#include <algorithm>
#include <cstdint>

#include "attention/plan_detail.h"
#include "kv/layout.h"

namespace rapt {

/// Keys and values of a chunk, wherever the plan keeps them.
class KvReader {
 public:
  KvReader(const PlanDetail& plan, const Inputs& inputs, float* packed, std::uint32_t* flags,
           std::int64_t first_head)
      : plan_(plan), inputs_(inputs), packed_(packed), flags_(flags), first_head_(first_head) {}

  /// Tiles of one chunk. With Packing::kChunk they are put into `buffer`.
  KvTile read(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk,
              float* buffer) const {
    if (plan_.packing == Packing::kInPlace) return inputs_.cache->tile(sequence, kv_head, chunk);
    if (plan_.packing == Packing::kChunk) {
      float* values = buffer + kChunkKeys * plan_.k_floats;
      return {packed_type(), buffer, values, pack(sequence, kv_head, chunk, buffer, values)};
    }
    const Place place = place_of(sequence * plan_.problem.kv_heads + kv_head, chunk);
    return {packed_type(), place.keys, place.values, *place.nonfinite};
  }

  /// With Packing::kHead: packs a chunk of a head of the wave, for all who read it.
  void prepare(std::int64_t head, std::int64_t chunk) const {
    const Place place = place_of(head, chunk);
    *place.nonfinite = pack(head / plan_.problem.kv_heads, head % plan_.problem.kv_heads, chunk,
                            place.keys, place.values);
  }

 private:
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
    const Range range = plan_.problem.kv_range(sequence);
    const std::int64_t first = range.begin + chunk * kChunkKeys;
    const int count = static_cast<int>(std::min<std::int64_t>(kChunkKeys, range.end - first));
    if (plan_.source == KvSource::kCache)
      return widen(inputs_.cache->tile(sequence, kv_head, chunk), count, keys, values);
    const auto rows = [&](const AnyConstTensor& x) {
      return KeyRows{x.address(sequence, first, kv_head, 0), x.strides[1], x.strides[3], count,
                     x.extents[3]};
    };
    if (plan_.native()) {
      plan_.kernels->pairs.pack_keys(rows(inputs_.k), keys);
      return plan_.kernels->pairs.pack_values(rows(inputs_.v), plan_.v_stride, values);
    }
    constexpr int kTo = static_cast<int>(DType::kF32);
    plan_.kernels->reading(inputs_.k.dtype).pack_keys[kTo](rows(inputs_.k), keys);
    return plan_.kernels->reading(inputs_.v.dtype)
        .pack_values[kTo](rows(inputs_.v), plan_.v_stride, values);
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
