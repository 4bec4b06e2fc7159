#include <algorithm>
#include <string>
#include <vector>

#include "base/carver.h"
#include "base/check.h"
#include "base/float_env.h"
#include "base/memory.h"
#include "kv/page_pool.h"
#include "kv/tile_store.h"
#include "rapt/paged_kv_cache.h"

namespace rapt {
namespace {

KvTiles::Extents extents_of(const PagedKvCache::Shape& shape) {
  const KvTiles::Extents extents{shape.kv_heads, shape.head_dim, shape.v_head_dim, shape.dtype};
  return shape.v_in_k ? in_rows(extents) : extents;
}

/// One head's part of a page, and its bytes.
struct HeadPart {
  HeadTiles tiles;
  std::size_t bytes;
};

HeadPart head_part(const PagedKvCache::Shape& shape, std::byte* memory, std::uint32_t* flags) {
  const std::int64_t slots = shape.page_size, size = size_of(shape.dtype),
                     scales = is_quantised(shape.dtype) ? slots : 0;
  Carver carver(memory);
  const SlotElements elements = slot_elements(extents_of(shape));
  std::byte* k = carver.take<std::byte>(slots * elements.k * size);
  std::byte* v = carver.take<std::byte>(slots * elements.v * size);
  float* k_scales = carver.take<float>(scales);
  float* v_scales = carver.take<float>(scales);
  return {{slots, k, v, flags, k_scales, v_scales}, carver.bytes()};
}

/// Words of non-finite flags of a head's part of a page.
std::size_t head_flags_of(const PagedKvCache::Shape& shape) {
  return static_cast<std::size_t>(chunks_of(shape.page_size));
}

PagedKvCache::Shape checked(PagedKvCache::Shape shape) {
  require_extent(shape.layers, 1, "PagedKvCache.layers");
  require_extent(shape.kv_heads, 1, "PagedKvCache.kv_heads");
  require_extent(shape.head_dim, 1, "PagedKvCache.head_dim");
  require_extent(shape.v_head_dim, 0, "PagedKvCache.v_head_dim");
  require_extent(shape.page_size, 16, "PagedKvCache.page_size");
  require(shape.page_size % kGroupKeys == 0, ErrorCode::kBadArgument, "PagedKvCache.page_size",
          "a multiple of 16", shape.page_size);
  require(shape.pages >= 0 && shape.pages < std::int64_t{1} << 31, ErrorCode::kBadArgument,
          "PagedKvCache.pages", "0 to 2^31 - 1", shape.pages);
  if (shape.v_head_dim == 0) shape.v_head_dim = shape.head_dim;
  if (shape.v_in_k) {
    require(shape.v_head_dim <= shape.head_dim, ErrorCode::kBadArgument, "PagedKvCache.v_head_dim",
            "at most head_dim (" + std::to_string(shape.head_dim) + ") with v_in_k",
            shape.v_head_dim);
    require(!is_quantised(shape.dtype), ErrorCode::kBadArgument, "PagedKvCache.dtype",
            "f32, bf16 or f16 with v_in_k", name(shape.dtype));
  }
  const double elements = static_cast<double>(shape.layers) * static_cast<double>(shape.kv_heads) *
                          static_cast<double>(shape.page_size) *
                          static_cast<double>(shape.head_dim + shape.v_head_dim);
  require(elements < 0x1p40, ErrorCode::kBadArgument, "PagedKvCache",
          "less than 2^40 elements a page", elements);
  return shape;
}

class Layer final : public KvTiles {
 public:
  Layer(const PagedKvCache::Shape& shape, PagePool& pool, std::int64_t layer)
      : shape_(shape), pool_(pool), layer_(layer) {}

  Extents extents() const override { return extents_of(shape_); }
  bool has(std::int64_t sequence) const override { return pool_.has(sequence); }
  std::int64_t length(std::int64_t sequence) const override { return pool_.at(sequence).length; }
  std::int64_t tile_slots() const override { return shape_.page_size; }

  KvTile tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t slot) const override {
    const std::int32_t page =
        pool_.at(sequence).pages[static_cast<std::size_t>(slot / shape_.page_size)];
    return tile_at(extents(), head(page, kv_head), slot % shape_.page_size);
  }

  std::int64_t shared_slots(std::int64_t a, std::int64_t b) const override {
    const PagePool::Sequence &x = pool_.at(a), &y = pool_.at(b);
    const auto differ = std::ranges::mismatch(x.pages, y.pages).in1;
    return std::min({(differ - x.pages.begin()) * shape_.page_size, x.length, y.length});
  }

  /// A head's tiles in a page.
  HeadTiles head(std::int32_t page, std::int64_t kv_head) const {
    const auto number = static_cast<std::size_t>(layer_ * shape_.kv_heads + kv_head);
    return head_part(shape_, pool_.memory(page) + number * head_bytes_,
                     pool_.flags(page) + number * head_flags_of(shape_))
        .tiles;
  }

 private:
  const PagedKvCache::Shape& shape_;
  PagePool& pool_;
  std::int64_t layer_;
  std::size_t head_bytes_ = head_part(shape_, nullptr, nullptr).bytes;
};

/// Calls f(page, its first slot that is asked for, the token there, tokens) for the pages of slots
/// [first, first + tokens).
template <class F>
void for_pages(const PagePool::Sequence& sequence, std::int64_t page_size, std::int64_t first,
               std::int64_t tokens, F&& f) {
  for (std::int64_t t = 0, count; t < tokens; t += count) {
    const std::int64_t slot = (first + t) % page_size;
    count = std::min(tokens - t, page_size - slot);
    f(sequence.pages[static_cast<std::size_t>((first + t) / page_size)], slot, t, count);
  }
}

}  // namespace

struct PagedKvCache::State {
  explicit State(const Shape& given)
      : shape(checked(given)),
        pool(page_bytes(shape),
             static_cast<std::size_t>(shape.layers * shape.kv_heads) * head_flags_of(shape),
             shape.page_size, shape.pages) {
    for (std::int64_t n = 0; n < shape.layers; ++n) layers.emplace_back(shape, pool, n);
  }

  const Layer& layer(std::int64_t n, const char* where) const {
    require(n >= 0 && n < shape.layers, ErrorCode::kBadArgument, where,
            "0 to " + std::to_string(shape.layers - 1), n);
    return layers[static_cast<std::size_t>(n)];
  }

  Shape shape;
  PagePool pool;
  std::vector<Layer> layers;
};

PagedKvCache::PagedKvCache(const Shape& shape)
    : state_(with_memory("PagedKvCache", [&] { return std::make_unique<State>(shape); })) {}
PagedKvCache::~PagedKvCache() = default;
PagedKvCache::PagedKvCache(PagedKvCache&&) noexcept = default;
PagedKvCache& PagedKvCache::operator=(PagedKvCache&&) noexcept = default;

std::size_t PagedKvCache::page_bytes(const Shape& shape) {
  const Shape s = checked(shape);
  return static_cast<std::size_t>(s.layers * s.kv_heads) * head_part(s, nullptr, nullptr).bytes;
}

const PagedKvCache::Shape& PagedKvCache::shape() const { return state_->shape; }
std::int64_t PagedKvCache::free_pages() const { return state_->pool.free_pages(); }
std::int64_t PagedKvCache::sequences() const { return state_->pool.sequences(); }
std::size_t PagedKvCache::allocated_bytes() const { return state_->pool.allocated_bytes(); }
std::int64_t PagedKvCache::create() { return state_->pool.create(); }

std::int64_t PagedKvCache::fork(std::int64_t sequence, std::int64_t tokens) {
  return state_->pool.fork(sequence, tokens);
}

void PagedKvCache::free(std::int64_t sequence) { state_->pool.free(sequence); }
bool PagedKvCache::has(std::int64_t sequence) const { return state_->pool.has(sequence); }

std::int64_t PagedKvCache::length(std::int64_t sequence) const {
  return state_->pool.at(sequence).length;
}

std::int64_t PagedKvCache::pages_needed(std::int64_t sequence, std::int64_t tokens) const {
  return state_->pool.pages_needed(sequence, tokens);
}

std::int64_t PagedKvCache::pages_freed(std::span<const std::int64_t> sequences) const {
  return state_->pool.pages_freed(sequences);
}

void PagedKvCache::extend(std::int64_t sequence, std::int64_t tokens) {
  state_->pool.extend(sequence, tokens);
}

void PagedKvCache::truncate(std::int64_t sequence, std::int64_t length) {
  state_->pool.truncate(sequence, length);
}

void PagedKvCache::store(std::int64_t layer, std::int64_t sequence, std::int64_t first,
                         const AnyConstTensor& k, const AnyConstTensor& v) {
  check_v_in_k(shape().v_in_k, false, "PagedKvCache.store");
  store_checked(layer, sequence, first, k, v);
}

void PagedKvCache::store(std::int64_t layer, std::int64_t sequence, std::int64_t first,
                         const AnyConstTensor& k) {
  check_v_in_k(shape().v_in_k, true, "PagedKvCache.store");
  store_checked(layer, sequence, first, k, values_in(k, shape().v_head_dim));
}

void PagedKvCache::store_checked(std::int64_t layer, std::int64_t sequence, std::int64_t first,
                                 const AnyConstTensor& k, const AnyConstTensor& v) {
  const Layer& tiles = state_->layer(layer, "PagedKvCache.store layer");
  const PagePool& pool = state_->pool;
  const PagePool::Sequence& to = pool.at(sequence, "PagedKvCache.store sequence");
  const KvTiles::Extents extents = tiles.extents();
  check_tokens(extents, 1, k, v, "PagedKvCache.store");
  const std::int64_t tokens = k.extents[1], page_size = shape().page_size;
  if (first < 0 || first > to.length || tokens > to.length - first)
    require(false, ErrorCode::kBadArgument, "PagedKvCache.store slots",
            "slots from 0 to " + std::to_string(to.length),
            std::to_string(tokens) + " from " + std::to_string(first));
  for_pages(to, page_size, first, tokens, [&](std::int32_t page, auto, std::int64_t t, auto) {
    if (pool.is_shared(page))
      require(false, ErrorCode::kBadArgument, "PagedKvCache.store slots",
              "pages that no other sequence shares", "slot " + std::to_string(first + t));
  });
  const CanonicalFloatEnv env;  // conversions round
  const AttentionKernels& kernels = attention_kernels(active_isa());
  for_pages(to, page_size, first, tokens,
            [&](std::int32_t page, std::int64_t slot, std::int64_t t, std::int64_t count) {
              for (std::int64_t h = 0; h < extents.kv_heads; ++h)
                store_tokens(kernels, extents, tiles.head(page, h), slot,
                             head_tokens(k, 0, t, count, h), head_tokens(v, 0, t, count, h));
            });
}

void PagedKvCache::read(std::int64_t layer, std::int64_t sequence, const AnyTensor& k,
                        const AnyTensor& v) const {
  const Layer& tiles = state_->layer(layer, "PagedKvCache.read layer");
  const PagePool::Sequence& from = state_->pool.at(sequence, "PagedKvCache.read sequence");
  const KvTiles::Extents extents = tiles.extents();
  check_tokens(extents, 1, k, v, "PagedKvCache.read");
  const std::int64_t tokens = k.extents[1];
  require(tokens <= from.length, ErrorCode::kBadArgument, "PagedKvCache.read tokens",
          "at most " + std::to_string(from.length), tokens);
  const CanonicalFloatEnv env;  // conversions round
  for_pages(from, shape().page_size, 0, tokens,
            [&](std::int32_t page, std::int64_t slot, std::int64_t t, std::int64_t count) {
              for (std::int64_t h = 0; h < extents.kv_heads; ++h)
                read_tokens(extents, tiles.head(page, h), slot, head_tokens(k, 0, t, count, h),
                            head_tokens(v, 0, t, count, h));
            });
}

const KvTiles& PagedKvCache::layer(std::int64_t layer) const {
  return state_->layer(layer, "PagedKvCache.layer");
}

}  // namespace rapt
