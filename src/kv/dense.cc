#include <algorithm>
#include <string>

#include "base/check.h"
#include "base/memory.h"
#include "kernels/attention/attention.h"
#include "kv/layout.h"
#include "rapt/kv_cache.h"

namespace rapt {
namespace {

DenseKvCache::Shape checked(DenseKvCache::Shape shape) {
  require_extent(shape.batch, 0, "DenseKvCache.batch");
  require_extent(shape.kv_heads, 1, "DenseKvCache.kv_heads");
  require_extent(shape.head_dim, 1, "DenseKvCache.head_dim");
  require_extent(shape.v_head_dim, 0, "DenseKvCache.v_head_dim");
  require_extent(shape.capacity, 0, "DenseKvCache.capacity");
  if (shape.v_head_dim == 0) shape.v_head_dim = shape.head_dim;
  return shape;
}

}  // namespace

void DenseKvCache::Free::operator()(float* memory) const noexcept { free_aligned(memory); }

std::size_t DenseKvCache::bytes_of(const Shape& shape) {
  const Shape s = checked(shape);
  const std::int64_t slots = round_up(s.capacity, kGroupKeys);
  const std::int64_t width = s.head_dim + round_up(s.v_head_dim, 16);
  // As if neither batch nor capacity were 0: sizes of the other axes are computed all the same.
  const double bytes = 4.0 * static_cast<double>(std::max<std::int64_t>(slots, kGroupKeys)) *
                       static_cast<double>(width) *
                       static_cast<double>(std::max<std::int64_t>(s.batch, 1)) *
                       static_cast<double>(s.kv_heads);
  require(bytes < 0x1p46, ErrorCode::kOutOfMemory, "DenseKvCache", "less than 2^46 bytes", bytes);
  return static_cast<std::size_t>(s.batch * s.kv_heads * slots * width) * sizeof(float);
}

DenseKvCache::DenseKvCache(const Shape& shape)
    : shape_(checked(shape)),
      v_stride_(round_up(shape_.v_head_dim, 16)),
      size_bytes_(bytes_of(shape_)) {
  const std::int64_t slots = round_up(shape_.capacity, kGroupKeys);
  head_floats_ = slots * (shape_.head_dim + v_stride_);
  memory_.reset(static_cast<float*>(allocate_aligned(std::max<std::size_t>(size_bytes_, 1))));
  nonfinite_.resize(static_cast<std::size_t>(shape_.batch * shape_.kv_heads * chunks_of(slots)));
  lengths_.resize(static_cast<std::size_t>(shape_.batch));
}

void DenseKvCache::check(const ConstTensor& k, const ConstTensor& v, std::int64_t batch,
                         const char* where) const {
  const Dims k_expected = {batch, k.extents[1], shape_.kv_heads, shape_.head_dim};
  const Dims v_expected = {batch, k.extents[1], shape_.kv_heads, shape_.v_head_dim};
  const auto part = [&](const char* name) { return std::string(where) + " " + name; };
  if (k.extents != k_expected)
    require(false, ErrorCode::kBadShape, part("k"), k_expected, k.extents);
  if (v.extents != v_expected)
    require(false, ErrorCode::kBadShape, part("v"), v_expected, v.extents);
  if (k.extents[1] < 0)
    require(false, ErrorCode::kBadShape, part("k"), "at least 0 tokens", k.extents[1]);
  const bool empty = batch == 0 || k.extents[1] == 0;
  require(empty || (k.data != nullptr && v.data != nullptr), ErrorCode::kBadArgument, where,
          "k and v with data", "a null pointer");
}

void DenseKvCache::check_room(std::int64_t sequence, std::int64_t tokens) const {
  const std::int64_t room = shape_.capacity - length(sequence);
  if (tokens <= room) return;  // the message would be memory
  require(false, ErrorCode::kBadArgument, "DenseKvCache.append",
          "at most " + std::to_string(room) + " more tokens", tokens);
}

void DenseKvCache::append(const ConstTensor& k, const ConstTensor& v) {
  check(k, v, shape_.batch, "DenseKvCache.append");
  for (std::int64_t b = 0; b < shape_.batch; ++b) check_room(b, k.extents[1]);
  for (std::int64_t b = 0; b < shape_.batch; ++b) store(b, b, k, v);
}

void DenseKvCache::append(std::int64_t sequence, const ConstTensor& k, const ConstTensor& v) {
  require(sequence >= 0 && sequence < shape_.batch, ErrorCode::kBadArgument,
          "DenseKvCache.append sequence", "0 to " + std::to_string(shape_.batch - 1), sequence);
  check(k, v, 1, "DenseKvCache.append");
  check_room(sequence, k.extents[1]);
  store(sequence, 0, k, v);
}

void DenseKvCache::store(std::int64_t sequence, std::int64_t source, const ConstTensor& k,
                         const ConstTensor& v) {
  const AttentionKernels& kernels = attention_kernels(supported_isas().front());
  const std::int64_t tokens = k.extents[1], start = length(sequence), d = shape_.head_dim;
  for (std::int64_t h = 0; h < shape_.kv_heads; ++h) {
    float* keys = memory_.get() + (sequence * shape_.kv_heads + h) * head_floats_;
    float* values = keys + round_up(shape_.capacity, kGroupKeys) * d;
    for (std::int64_t t = 0; t < tokens;) {
      const std::int64_t slot = start + t, lane = slot % kGroupKeys;
      const std::int64_t count =
          lane == 0 ? std::min(tokens - t, kChunkKeys - slot % kChunkKeys) : 1;
      const float* k_row = &k.at(source, t, h, 0);
      float* tile = keys + slot / kGroupKeys * kGroupKeys * d;
      if (lane == 0)  // whole groups, and the start of a new one
        kernels.pack_keys(k_row, k.strides[1], k.strides[3], static_cast<int>(count), d, tile);
      else
        for (std::int64_t e = 0; e < d; ++e) tile[e * kGroupKeys + lane] = k_row[e * k.strides[3]];
      const std::uint32_t flags = kernels.pack_values(
          &v.at(source, t, h, 0), v.strides[1], v.strides[3], static_cast<int>(count),
          shape_.v_head_dim, v_stride_, values + slot * v_stride_);
      nonfinite_[static_cast<std::size_t>(
          (sequence * shape_.kv_heads + h) * chunks_of(round_up(shape_.capacity, kGroupKeys)) +
          slot / kChunkKeys)] |= flags << (slot % kChunkKeys / kGroupKeys);
      t += count;
    }
  }
  lengths_[static_cast<std::size_t>(sequence)] += tokens;
}

void DenseKvCache::truncate(std::int64_t sequence, std::int64_t length) {
  require(sequence >= 0 && sequence < shape_.batch, ErrorCode::kBadArgument,
          "DenseKvCache.truncate sequence", "0 to " + std::to_string(shape_.batch - 1), sequence);
  std::int64_t& present = lengths_[static_cast<std::size_t>(sequence)];
  require(length >= 0 && length <= present, ErrorCode::kBadArgument, "DenseKvCache.truncate length",
          "0 to " + std::to_string(present), length);
  present = length;
}

void DenseKvCache::read(std::int64_t sequence, const MutableTensor& k,
                        const MutableTensor& v) const {
  require(sequence >= 0 && sequence < shape_.batch, ErrorCode::kBadArgument,
          "DenseKvCache.read sequence", "0 to " + std::to_string(shape_.batch - 1), sequence);
  check(k, v, 1, "DenseKvCache.read");
  require(k.extents[1] <= length(sequence), ErrorCode::kBadArgument, "DenseKvCache.read tokens",
          "at most " + std::to_string(length(sequence)), k.extents[1]);
  for (std::int64_t h = 0; h < shape_.kv_heads; ++h)
    for (std::int64_t t = 0; t < k.extents[1]; ++t) {
      const KvTile from = tile(sequence, h, t / kChunkKeys);
      const std::int64_t slot = t % kChunkKeys, lane = slot % kGroupKeys;
      const float* group = from.k + (slot - lane) * shape_.head_dim;
      for (std::int64_t e = 0; e < shape_.head_dim; ++e)
        k.at(0, t, h, e) = group[e * kGroupKeys + lane];
      for (std::int64_t e = 0; e < shape_.v_head_dim; ++e)
        v.at(0, t, h, e) = from.v[slot * v_stride_ + e];
    }
}

KvTile DenseKvCache::tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t chunk) const {
  const std::int64_t slots = round_up(shape_.capacity, kGroupKeys),
                     head = sequence * shape_.kv_heads + kv_head;
  const float* keys = memory_.get() + head * head_floats_;
  return {keys + chunk * kChunkKeys * shape_.head_dim,
          keys + slots * shape_.head_dim + chunk * kChunkKeys * v_stride_,
          nonfinite_[static_cast<std::size_t>(head * chunks_of(slots) + chunk)]};
}

}  // namespace rapt
