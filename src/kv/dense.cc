#include <algorithm>
#include <string>

#include "base/check.h"
#include "base/float_env.h"
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
  require(!is_quantised(shape.dtype), ErrorCode::kBadArgument, "DenseKvCache.dtype",
          "f32, bf16 or f16", name(shape.dtype));
  if (shape.v_head_dim == 0) shape.v_head_dim = shape.head_dim;
  return shape;
}

/// Calls f with values of two types, a storage's and a tensor's.
template <class F>
void with_types(DType a, DType b, F&& f) {
  with_type(a, [&](auto x) { with_type(b, [&](auto y) { f(x, y); }); });
}

}  // namespace

void DenseKvCache::Free::operator()(std::byte* memory) const noexcept { free_aligned(memory); }

std::size_t DenseKvCache::bytes_of(const Shape& shape) {
  const Shape s = checked(shape);
  const std::int64_t slots = round_up(s.capacity, kGroupKeys);
  const std::int64_t width = s.head_dim + round_up(s.v_head_dim, 16);
  // As if neither batch nor capacity were 0: sizes of the other axes are computed all the same.
  const double bytes =
      static_cast<double>(size_of(s.dtype)) *
      static_cast<double>(std::max<std::int64_t>(slots, kGroupKeys)) * static_cast<double>(width) *
      static_cast<double>(std::max<std::int64_t>(s.batch, 1)) * static_cast<double>(s.kv_heads);
  require(bytes < 0x1p46, ErrorCode::kOutOfMemory, "DenseKvCache", "less than 2^46 bytes", bytes);
  return static_cast<std::size_t>(s.batch * s.kv_heads * slots * width * size_of(s.dtype));
}

DenseKvCache::DenseKvCache(const Shape& shape)
    : shape_(checked(shape)),
      v_stride_(round_up(shape_.v_head_dim, 16)),
      size_bytes_(bytes_of(shape_)) {
  const std::int64_t slots = round_up(shape_.capacity, kGroupKeys);
  head_bytes_ = slots * (shape_.head_dim + v_stride_) * size_of(shape_.dtype);
  memory_.reset(static_cast<std::byte*>(allocate_aligned(std::max<std::size_t>(size_bytes_, 1))));
  nonfinite_.resize(static_cast<std::size_t>(shape_.batch * shape_.kv_heads * chunks_of(slots)));
  lengths_.resize(static_cast<std::size_t>(shape_.batch));
}

void DenseKvCache::check(const AnyConstTensor& k, const AnyConstTensor& v, std::int64_t batch,
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

void DenseKvCache::append(const AnyConstTensor& k, const AnyConstTensor& v) {
  check(k, v, shape_.batch, "DenseKvCache.append");
  for (std::int64_t b = 0; b < shape_.batch; ++b) check_room(b, k.extents[1]);
  for (std::int64_t b = 0; b < shape_.batch; ++b) store(b, b, k, v);
}

void DenseKvCache::append(std::int64_t sequence, const AnyConstTensor& k, const AnyConstTensor& v) {
  require(sequence >= 0 && sequence < shape_.batch, ErrorCode::kBadArgument,
          "DenseKvCache.append sequence", "0 to " + std::to_string(shape_.batch - 1), sequence);
  check(k, v, 1, "DenseKvCache.append");
  check_room(sequence, k.extents[1]);
  store(sequence, 0, k, v);
}

void DenseKvCache::store(std::int64_t sequence, std::int64_t source, const AnyConstTensor& k,
                         const AnyConstTensor& v) {
  const CanonicalFloatEnv env;  // conversions round
  const AttentionKernels& kernels = attention_kernels(active_isa());
  const auto to = static_cast<std::size_t>(shape_.dtype);
  const auto pack_keys = kernels.reading(k.dtype).pack_keys[to];
  const auto pack_values = kernels.reading(v.dtype).pack_values[to];
  const std::int64_t tokens = k.extents[1], start = length(sequence), d = shape_.head_dim,
                     slots = round_up(shape_.capacity, kGroupKeys), size = size_of(shape_.dtype);
  for (std::int64_t h = 0; h < shape_.kv_heads; ++h) {
    const std::int64_t head = sequence * shape_.kv_heads + h;
    std::byte* keys = memory_.get() + head * head_bytes_;
    std::byte* values = keys + slots * d * size;
    for (std::int64_t t = 0; t < tokens;) {
      const std::int64_t slot = start + t, lane = slot % kGroupKeys;
      const std::int64_t count =
          lane == 0 ? std::min(tokens - t, kChunkKeys - slot % kChunkKeys) : 1;
      const auto rows = [&](const AnyConstTensor& x) {
        return KeyRows{x.address(source, t, h, 0), x.strides[1], x.strides[3],
                       static_cast<int>(count), x.extents[3]};
      };
      std::byte* tile = keys + (slot - lane) * d * size;
      if (lane == 0)  // whole groups, and the start of a new one
        pack_keys(rows(k), tile);
      else
        with_types(k.dtype, shape_.dtype, [&]<class T, class U>(T, U) {
          const T* from = static_cast<const T*>(k.address(source, t, h, 0));
          U* at = reinterpret_cast<U*>(tile) + lane;
          for (std::int64_t e = 0; e < d; ++e)
            at[e * kGroupKeys] = converted<U>(from[e * k.strides[3]]);
        });
      const std::uint32_t flags = pack_values(rows(v), v_stride_, values + slot * v_stride_ * size);
      nonfinite_[static_cast<std::size_t>(head * chunks_of(slots) + slot / kChunkKeys)] |=
          flags << (slot % kChunkKeys / kGroupKeys);
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

void DenseKvCache::read(std::int64_t sequence, const AnyTensor& k, const AnyTensor& v) const {
  require(sequence >= 0 && sequence < shape_.batch, ErrorCode::kBadArgument,
          "DenseKvCache.read sequence", "0 to " + std::to_string(shape_.batch - 1), sequence);
  check(k, v, 1, "DenseKvCache.read");
  require(k.extents[1] <= length(sequence), ErrorCode::kBadArgument, "DenseKvCache.read tokens",
          "at most " + std::to_string(length(sequence)), k.extents[1]);
  const CanonicalFloatEnv env;  // conversions round
  for (std::int64_t h = 0; h < shape_.kv_heads; ++h)
    for (std::int64_t t = 0; t < k.extents[1]; ++t) {
      const KvTile from = tile(sequence, h, t / kChunkKeys * kChunkKeys);
      const std::int64_t slot = t % kChunkKeys, lane = slot % kGroupKeys;
      with_types(shape_.dtype, k.dtype, [&]<class T, class U>(T, U) {
        const T* keys = static_cast<const T*>(from.k) + (slot - lane) * shape_.head_dim + lane;
        for (std::int64_t e = 0; e < shape_.head_dim; ++e)
          k.as<U>().at(0, t, h, e) = converted<U>(keys[e * kGroupKeys]);
      });
      with_types(shape_.dtype, v.dtype, [&]<class T, class U>(T, U) {
        const T* values = static_cast<const T*>(from.v) + slot * v_stride_;
        for (std::int64_t e = 0; e < shape_.v_head_dim; ++e)
          v.as<U>().at(0, t, h, e) = converted<U>(values[e]);
      });
    }
}

std::int64_t DenseKvCache::tile_slots() const {
  return std::max<std::int64_t>(round_up(shape_.capacity, kChunkKeys), kChunkKeys);
}

KvTiles::Extents DenseKvCache::extents() const {
  return {shape_.kv_heads, shape_.head_dim, shape_.v_head_dim, shape_.dtype};
}

bool DenseKvCache::has(std::int64_t sequence) const {
  return sequence >= 0 && sequence < shape_.batch;
}

KvTile DenseKvCache::tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t slot) const {
  const std::int64_t slots = round_up(shape_.capacity, kGroupKeys),
                     head = sequence * shape_.kv_heads + kv_head, size = size_of(shape_.dtype);
  const std::byte* keys = memory_.get() + head * head_bytes_;
  const std::byte* values = keys + slots * shape_.head_dim * size;
  const std::uint32_t nonfinite =
      nonfinite_[static_cast<std::size_t>(head * chunks_of(slots) + slot / kChunkKeys)];
  return {shape_.dtype, keys + slot * shape_.head_dim * size, values + slot * v_stride_ * size,
          nonfinite >> (slot % kChunkKeys / kGroupKeys)};
}

}  // namespace rapt
