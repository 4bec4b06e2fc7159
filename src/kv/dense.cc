#include <algorithm>
#include <string>

#include "base/check.h"
#include "base/float_env.h"
#include "base/memory.h"
#include "kv/tile_store.h"
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
  require(!shape.v_in_k || shape.v_head_dim <= shape.head_dim, ErrorCode::kBadArgument,
          "DenseKvCache.v_head_dim",
          "at most head_dim (" + std::to_string(shape.head_dim) + ") with v_in_k",
          shape.v_head_dim);
  return shape;
}

KvTiles::Extents extents_of(const DenseKvCache::Shape& shape) {
  const KvTiles::Extents extents{shape.kv_heads, shape.head_dim, shape.v_head_dim, shape.dtype};
  return shape.v_in_k ? in_rows(extents) : extents;
}

std::int64_t width_of(const DenseKvCache::Shape& shape) {
  const SlotElements elements = slot_elements(extents_of(shape));
  return elements.k + elements.v;
}

}  // namespace

void DenseKvCache::Free::operator()(std::byte* memory) const noexcept { free_aligned(memory); }

std::size_t DenseKvCache::bytes_of(const Shape& shape) {
  const Shape s = checked(shape);
  const std::int64_t slots = round_up(s.capacity, kGroupKeys);
  const std::int64_t width = width_of(s);
  // As if neither batch nor capacity were 0: sizes of the other axes are computed all the same.
  const double bytes =
      static_cast<double>(size_of(s.dtype)) *
      static_cast<double>(std::max<std::int64_t>(slots, kGroupKeys)) * static_cast<double>(width) *
      static_cast<double>(std::max<std::int64_t>(s.batch, 1)) * static_cast<double>(s.kv_heads);
  require(bytes < 0x1p46, ErrorCode::kOutOfMemory, "DenseKvCache", "less than 2^46 bytes", bytes);
  return static_cast<std::size_t>(s.batch * s.kv_heads * slots * width * size_of(s.dtype));
}

DenseKvCache::DenseKvCache(const Shape& shape)
    : shape_(checked(shape)), size_bytes_(bytes_of(shape_)) {
  const std::int64_t slots = round_up(shape_.capacity, kGroupKeys);
  head_bytes_ = slots * width_of(shape_) * size_of(shape_.dtype);
  memory_.reset(static_cast<std::byte*>(allocate_aligned(std::max<std::size_t>(size_bytes_, 1))));
  nonfinite_ = std::make_unique<std::uint32_t[]>(
      static_cast<std::size_t>(shape_.batch * shape_.kv_heads * chunks_of(slots)));
  lengths_.resize(static_cast<std::size_t>(shape_.batch));
}

void DenseKvCache::check_room(std::int64_t sequence, std::int64_t tokens) const {
  const std::int64_t room = shape_.capacity - length(sequence);
  if (tokens <= room) return;  // the message would be memory
  require(false, ErrorCode::kBadArgument, "DenseKvCache.append",
          "at most " + std::to_string(room) + " more tokens", tokens);
}

void DenseKvCache::append(const AnyConstTensor& k, const AnyConstTensor& v) {
  check_v_in_k(shape_.v_in_k, false, "DenseKvCache.append");
  append_all(k, v);
}

void DenseKvCache::append(const AnyConstTensor& k) {
  check_v_in_k(shape_.v_in_k, true, "DenseKvCache.append");
  append_all(k, values_in(k, shape_.v_head_dim));
}

void DenseKvCache::append(std::int64_t sequence, const AnyConstTensor& k, const AnyConstTensor& v) {
  check_v_in_k(shape_.v_in_k, false, "DenseKvCache.append");
  append_one(sequence, k, v);
}

void DenseKvCache::append(std::int64_t sequence, const AnyConstTensor& k) {
  check_v_in_k(shape_.v_in_k, true, "DenseKvCache.append");
  append_one(sequence, k, values_in(k, shape_.v_head_dim));
}

void DenseKvCache::append_all(const AnyConstTensor& k, const AnyConstTensor& v) {
  check_tokens(extents(), shape_.batch, k, v, "DenseKvCache.append");
  for (std::int64_t b = 0; b < shape_.batch; ++b) check_room(b, k.extents[1]);
  for (std::int64_t b = 0; b < shape_.batch; ++b) store(b, b, k, v);
}

void DenseKvCache::append_one(std::int64_t sequence, const AnyConstTensor& k,
                              const AnyConstTensor& v) {
  require(sequence >= 0 && sequence < shape_.batch, ErrorCode::kBadArgument,
          "DenseKvCache.append sequence", "0 to " + std::to_string(shape_.batch - 1), sequence);
  check_tokens(extents(), 1, k, v, "DenseKvCache.append");
  check_room(sequence, k.extents[1]);
  store(sequence, 0, k, v);
}

void DenseKvCache::store(std::int64_t sequence, std::int64_t source, const AnyConstTensor& k,
                         const AnyConstTensor& v) {
  const std::int64_t tokens = k.extents[1];
  if (tokens == 0) return;      // the tensors may be null
  const CanonicalFloatEnv env;  // conversions round
  const AttentionKernels& kernels = attention_kernels(active_isa());
  for (std::int64_t h = 0; h < shape_.kv_heads; ++h)
    store_tokens(kernels, extents(), head(sequence, h), length(sequence),
                 head_tokens(k, source, 0, tokens, h), head_tokens(v, source, 0, tokens, h));
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
  check_tokens(extents(), 1, k, v, "DenseKvCache.read");
  const std::int64_t tokens = k.extents[1];
  require(tokens <= length(sequence), ErrorCode::kBadArgument, "DenseKvCache.read tokens",
          "at most " + std::to_string(length(sequence)), tokens);
  if (tokens == 0) return;      // the tensors may be null
  const CanonicalFloatEnv env;  // conversions round
  for (std::int64_t h = 0; h < shape_.kv_heads; ++h)
    read_tokens(extents(), head(sequence, h), 0, head_tokens(k, 0, 0, tokens, h),
                head_tokens(v, 0, 0, tokens, h));
}

std::int64_t DenseKvCache::tile_slots() const {
  return std::max<std::int64_t>(round_up(shape_.capacity, kChunkKeys), kChunkKeys);
}

KvTiles::Extents DenseKvCache::extents() const { return extents_of(shape_); }

bool DenseKvCache::has(std::int64_t sequence) const {
  return sequence >= 0 && sequence < shape_.batch;
}

HeadTiles DenseKvCache::head(std::int64_t sequence, std::int64_t kv_head) const {
  const std::int64_t slots = round_up(shape_.capacity, kGroupKeys),
                     head = sequence * shape_.kv_heads + kv_head;
  std::byte* keys = memory_.get() + head * head_bytes_;
  return {slots, keys, keys + slots * shape_.head_dim * size_of(shape_.dtype),
          nonfinite_.get() + head * chunks_of(slots)};
}

KvTile DenseKvCache::tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t slot) const {
  return tile_at(extents(), head(sequence, kv_head), slot);
}

}  // namespace rapt
