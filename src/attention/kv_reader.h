#pragma once

#include <algorithm>
#include <cstdint>

#include "attention/plan_detail.h"
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

}  // namespace rapt
