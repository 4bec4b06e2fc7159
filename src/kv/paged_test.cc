#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/float_control.h"
#include "paged_tokens.h"
#include "rapt/kv_cache.h"
#include "rapt/paged_kv_cache.h"
#include "util.h"

namespace rapt::test {
namespace {

TEST(PagedKvCache, ReadsBackWhatWasStored) {
  const PagedKvCache::Shape shape = {2, 3, 5, 18, 48, 20};
  PagedKvCache cache(shape);
  const std::int64_t id = cache.create();
  const Tokens first(530, shape, 1), second(530, shape, 3);
  for (std::int64_t t = 0; t < 530; t += 53) {
    cache.extend(id, 53);
    cache.store(0, id, t, tokens(first.k.view, t, 53), tokens(first.v.view, t, 53));
    cache.store(1, id, t, tokens(second.k.view, t, 53), tokens(second.v.view, t, 53));
  }
  EXPECT_EQ(cache.length(id), 530);
  for (const auto& [layer, x] : {std::pair(0, &first), std::pair(1, &second)})
    for (const std::int64_t count : {0, 1, 17, 48, 530})
      for (const Layout layout : {Layout::kContiguous, Layout::kReversed}) {
        const Tensor k({1, count, 3, 5}, layout), v({1, count, 3, 18}, layout);
        cache.read(layer, id, k.view, v.view);
        EXPECT_TRUE(same_bits(tokens(x->k.view, 0, count), k.view)) << count;
        EXPECT_TRUE(same_bits(tokens(x->v.view, 0, count), v.view)) << count;
      }
}

/// The keys and values of 16 slots of a tile.
std::vector<std::byte> group_of(const KvTile& tile, std::int64_t d, std::int64_t v_row) {
  const auto *k = static_cast<const std::byte*>(tile.k), *v = static_cast<const std::byte*>(tile.v);
  std::vector<std::byte> all(k, k + 16 * d * size_of(tile.dtype));
  all.insert(all.end(), v, v + 16 * v_row * size_of(tile.dtype));
  return all;
}

// Pages of one group, of some, and of more than a chunk; the last group is in part of tokens.
TEST(PagedKvCache, TilesAreThoseOfADenseCache) {
  constexpr std::int64_t kNonfinite[] = {3, 500, 700, 1124};  // tokens, of head t % 2
  for (const DType dtype : kAllDTypes)
    for (const std::int64_t page_size : {16, 48, 1040}) {
      const PagedKvCache::Shape shape = {1, 2, 5, 18, page_size, 100, dtype};
      PagedKvCache cache(shape);
      DenseKvCache dense({1, 2, 5, 18, 1200, dtype});
      const Tokens x(1125, shape, 1);
      for (const std::int64_t t : kNonfinite)
        x.v.view.at(0, t, t % 2, 17) = t % 4 == 0 ? INFINITY : std::nanf("");
      dense.append(x.k.view, x.v.view);
      const std::int64_t id = add(cache, x);
      const KvTiles& paged = cache.layer(0);
      EXPECT_EQ(paged.tile_slots(), page_size);
      EXPECT_EQ(paged.length(id), 1125);
      for (const int h : {0, 1})
        for (std::int64_t slot = 0; slot < 1125; slot += 16) {
          const KvTile got = paged.tile(id, h, slot), want = dense.tile(0, h, slot);
          EXPECT_EQ(group_of(got, 5, 32), group_of(want, 5, 32)) << slot;
          std::uint32_t flags = 0;
          for (const std::int64_t t : kNonfinite)
            if (t % 2 == h && t >= slot && t < slot - slot % page_size + page_size &&
                t < slot + 512)
              flags |= 1u << ((t - slot) / 16);
          EXPECT_EQ(got.nonfinite_groups, flags) << slot;
          EXPECT_EQ(got.k_scales, nullptr);
        }
    }
}

TEST(PagedKvCache, EveryPartOfAPageIsAligned) {
  for (const DType dtype : kCacheDTypes) {
    PagedKvCache cache({2, 2, 5, 3, 16, 4, dtype});
    const std::int64_t id = cache.create();
    cache.extend(id, 20);
    for (const int layer : {0, 1})
      for (const int h : {0, 1})
        for (const int slot : {0, 16}) {
          const KvTile tile = cache.layer(layer).tile(id, h, slot);
          for (const void* part : {tile.k, tile.v, static_cast<const void*>(tile.k_scales),
                                   static_cast<const void*>(tile.v_scales)})
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(part) % 64, 0u) << name(dtype);
        }
  }
}

TEST(PagedKvCache, QuantisedTilesHaveAScaleATokenAndHead) {
  PagedKvCache cache({1, 2, 2, 3, 32, 2, DType::kInt8});
  const Tokens x(33, {1, 2, 2, 3});
  for (std::int64_t t = 0; t < 33; ++t)
    for (const int h : {0, 1}) {
      const auto scale = static_cast<float>(1 + t + 100 * h);
      x.k.view.at(0, t, h, 0) = 127 * scale;
      x.k.view.at(0, t, h, 1) = -3 * scale;
      for (const int e : {0, 1, 2}) x.v.view.at(0, t, h, e) = -127 * 2 * scale;
    }
  x.v.view.at(0, 20, 1, 2) = INFINITY;
  x.v.view.at(0, 2, 0, 2) = std::numeric_limits<float>::max();  // 127 scale is not finite
  const std::int64_t id = add(cache, x);
  for (std::int64_t t = 0; t < 33; ++t)
    for (const int h : {0, 1}) {
      const KvTile tile = cache.layer(0).tile(id, h, t / 16 * 16);
      const auto* k = static_cast<const std::int8_t*>(tile.k) + t % 16;
      const auto* v = static_cast<const std::int8_t*>(tile.v) + t % 16 * 16;
      EXPECT_EQ(tile.k_scales[t % 16], 1 + t + 100 * h);
      EXPECT_EQ(k[0], 127);
      EXPECT_EQ(k[16], -3);
      EXPECT_EQ(v[3], 0);
      if (t == 20 && h == 1) {
        EXPECT_TRUE(std::isnan(tile.v_scales[t % 16]));
        EXPECT_EQ(v[0], 0);
      } else if (t != 2 || h != 0) {
        EXPECT_EQ(tile.v_scales[t % 16], 2 * (1 + t + 100 * h));
        EXPECT_EQ(v[0], -127);
      }
      EXPECT_EQ(tile.nonfinite_groups & 1, (t / 16 == 1 && h == 1) || (t / 16 == 0 && h == 0)) << t;
    }
  const KvTile rest = cache.layer(0).tile(id, 0, 32);  // what was never stored is 0
  EXPECT_EQ(rest.k_scales[1], 0.0f);
  EXPECT_EQ(static_cast<const std::int8_t*>(rest.k)[1], 0);
}

TEST(PagedKvCache, WhatIsNotFiniteReadsAsNaNWhenQuantised) {
  for (const DType dtype : {DType::kInt8, DType::kF8E4M3}) {
    PagedKvCache cache({1, 1, 2, 2, 16, 1, dtype});
    const Tokens x(2, {1, 1, 2, 2});
    x.k.view.at(0, 0, 0, 1) = -INFINITY;
    const std::int64_t id = add(cache, x);
    cache.read(0, id, x.k.view, x.v.view);
    for (const int e : {0, 1}) {
      EXPECT_TRUE(std::isnan(x.k.view.at(0, 0, 0, e)));
      EXPECT_TRUE(std::isfinite(x.k.view.at(0, 1, 0, e)));
      EXPECT_TRUE(std::isfinite(x.v.view.at(0, 0, 0, e)));
    }
  }
}

// Tokens of every type are rounded once, wherever they come from, or quantised.
TEST(PagedKvCache, StoresInItsOwnFloatEnvironment) {
  const PagedKvCache::Shape shape = {1, 1, 20, 20, 16, 6};
  const Tokens x(37, shape, 1);
  for (const float size : {1.0f, 1e-39f})
    for (const DType from : kAllDTypes)
      for (const DType to : kCacheDTypes) {
        SCOPED_TRACE(testing::Message() << name(from) << " to " << name(to));
        const Tensor scaled(x.k.view.extents);
        for_each_index(x.k.view.extents, [&](auto a, auto b, auto c, auto d) {
          scaled.view.at(a, b, c, d) = x.k.view.at(a, b, c, d) * size;
        });
        const Stored given(scaled.view, from);
        PagedKvCache cache({1, 1, 20, 20, 16, 6, to});
        const std::int64_t id = cache.create(), other = cache.create();
        cache.extend(id, 37);
        cache.extend(other, 37);
        cache.store(0, other, 0, given.view, given.view);
        const Tensor want(x.k.view.extents), got(x.k.view.extents), v(x.k.view.extents);
        cache.read(0, other, want.view, v.view);
        EXPECT_TRUE(same_bits(want.view, v.view));
        const unsigned long before = float_control();
        set_float_control(before | kRoundUp | kFlushToZero);
        cache.store(0, id, 0, given.view, given.view);
        cache.read(0, id, got.view, v.view);
        set_float_control(before);
        EXPECT_TRUE(same_bits(got.view, want.view));
        EXPECT_TRUE(same_bits(v.view, want.view));
      }
}

TEST(PagedKvCache, TakesTheBytesOfItsType) {
  const auto bytes = [](DType dtype) {
    return PagedKvCache::page_bytes({3, 2, 64, 48, 32, 0, dtype});
  };
  EXPECT_EQ(bytes(DType::kF32), 3u * 2 * (32 * (64 + 48) * 4));
  EXPECT_EQ(bytes(DType::kF16), 3u * 2 * (32 * (64 + 48) * 2));
  EXPECT_EQ(bytes(DType::kInt8), 3u * 2 * (32 * (64 + 48 + 8)));
  EXPECT_EQ(bytes(DType::kF8E4M3), bytes(DType::kInt8));
}

TEST(PagedKvCache, LayersMoveWithTheCache) {
  const PagedKvCache::Shape shape = {2, 1, 4, 4, 16, 2};
  PagedKvCache first(shape);
  const std::int64_t id = add(first, Tokens(3, shape));
  const KvTiles& layer = first.layer(0);
  const void* keys = layer.tile(id, 0, 0).k;
  const PagedKvCache second = std::move(first);
  EXPECT_EQ(&second.layer(0), &layer);
  EXPECT_EQ(layer.tile(id, 0, 0).k, keys);
  EXPECT_TRUE(layer.has(id));
  EXPECT_FALSE(layer.has(id + 1));
}

TEST(PagedKvCache, RefusesShapes) {
  const auto refusal = [](const PagedKvCache::Shape& shape) {
    return error_of([&] { PagedKvCache cache(shape); });
  };
  EXPECT_EQ(refusal({0, 1, 4}), "PagedKvCache.layers: expected 1 to 2^40, got 0");
  EXPECT_EQ(refusal({1, 0, 4}), "PagedKvCache.kv_heads: expected 1 to 2^40, got 0");
  EXPECT_EQ(refusal({1, 1, 0}), "PagedKvCache.head_dim: expected 1 to 2^40, got 0");
  EXPECT_EQ(refusal({1, 1, 4, -1}), "PagedKvCache.v_head_dim: expected 0 to 2^40, got -1");
  EXPECT_EQ(refusal({1, 1, 4, 4, 24}), "PagedKvCache.page_size: expected a multiple of 16, got 24");
  EXPECT_EQ(refusal({1, 1, 4, 4, 16, -1}), "PagedKvCache.pages: expected 0 to 2^31 - 1, got -1");
  EXPECT_EQ(refusal({1 << 20, 1 << 10, 64, 64, 16, 1}).substr(0, 58),
            "PagedKvCache: expected less than 2^40 elements a page, got");
}

TEST(PagedKvCache, Refuses) {
  PagedKvCache cache({1, 2, 4, 6, 16, 4});
  const Tensor k({1, 2, 2, 4}), v({1, 2, 2, 6});
  const std::int64_t id = cache.create();
  cache.extend(id, 3);
  const auto store = [&](int layer, std::int64_t sequence, std::int64_t first) {
    return error_of([&] { cache.store(layer, sequence, first, k.view, v.view); });
  };
  EXPECT_EQ(store(0, id, 1), "no error");
  EXPECT_EQ(store(1, id, 1), "PagedKvCache.store layer: expected 0 to 0, got 1");
  EXPECT_EQ(store(0, 5, 1), "PagedKvCache.store sequence: expected a sequence that lives, got 5");
  EXPECT_EQ(store(0, id, 2), "PagedKvCache.store slots: expected slots from 0 to 3, got 2 from 2");
  EXPECT_EQ(store(0, id, -1),
            "PagedKvCache.store slots: expected slots from 0 to 3, got 2 from -1");
  EXPECT_EQ(error_of([&] { cache.store(0, id, 0, k.view, k.view); }),
            "PagedKvCache.store v: expected [1, 2, 2, 6], got [1, 2, 2, 4]");
  const AnyConstTensor bytes(k.view.data, DType::kInt8, k.view.extents);
  EXPECT_EQ(error_of([&] { cache.store(0, id, 0, bytes, v.view); }),
            "PagedKvCache.store k: expected f32, bf16 or f16, got int8");
  EXPECT_EQ(error_of([&] { cache.read(0, id, k.view, k.view); }),
            "PagedKvCache.read v: expected [1, 2, 2, 6], got [1, 2, 2, 4]");
  const std::int64_t other = cache.fork(id, 1);
  EXPECT_EQ(store(0, id, 1),
            "PagedKvCache.store slots: expected pages that no other sequence shares, got slot 1");
  EXPECT_EQ(error_of([&] { cache.read(0, other, k.view, v.view); }),
            "PagedKvCache.read tokens: expected at most 1, got 2");
  EXPECT_EQ(error_of([&] { cache.layer(1); }), "PagedKvCache.layer: expected 0 to 0, got 1");
}

}  // namespace
}  // namespace rapt::test
