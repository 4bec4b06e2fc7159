// Values that are the first features of keys, as in latent attention: one copy, and the bits of two.

#include <gtest/gtest.h>

#include "engine_pages.h"
#include "masks.h"
#include "rapt/paged_kv_cache.h"
#include "rejects.h"

namespace rapt::test {
namespace {

struct Latent {
  std::int64_t q_tokens, q_heads, head_dim, v_head_dim;
};
constexpr Latent kLatent[] = {{1, 2, 40, 24}, {3, 4, 40, 32}, {40, 2, 40, 24}, {1, 20, 576, 512}};
constexpr std::int64_t kKeys = 530;

Problem problem_of(const Latent& x, DType dtype) {
  Problem p;
  p.q_tokens = x.q_tokens;
  p.kv_tokens = kKeys;
  p.q_heads = x.q_heads;
  p.head_dim = x.head_dim;
  p.v_head_dim = x.v_head_dim;
  p.mask = Mask::causal();
  p.scale = 0.1f;
  p.storage = Storage::all(dtype);
  return p;
}

AnyConstTensor first_features(AnyConstTensor k, std::int64_t dim) {
  k.extents[3] = dim;
  return k;
}

TEST(Invariance, ValuesThatAreAViewOfKeys) {
  for (const Latent& x : kLatent)
    for (const DType dtype : kAllDTypes) {
      SCOPED_TRACE(testing::Message() << name(dtype) << " " << x.q_tokens << " x " << x.head_dim);
      const Problem p = problem_of(x, dtype);
      const Stored q(normal({1, x.q_tokens, x.q_heads, x.head_dim}, 1).view, dtype),
          k(normal({1, kKeys, 1, x.head_dim}, 2).view, dtype);
      const AnyConstTensor v_view = first_features(k.view, x.v_head_dim);
      const Stored v(v_view, dtype);
      const Outputs expected = run_attention(make_plan(p, Threads(1)), {q.view, k.view, v.view});
      EXPECT_TRUE(
          same_bits(run_attention(make_plan(p, Threads(2)), {q.view, k.view, v_view}), expected));

      const auto from = [&](const KvTiles& cache, std::int64_t sequence) {
        const std::vector<std::int64_t> sequences = {sequence};
        return run_attention(make_plan(p, Threads(2), cache),
                             {.q = q.view, .cache = &cache, .sequences = sequences});
      };
      DenseKvCache dense({1, 1, x.head_dim, x.v_head_dim, kKeys + 20, dtype, true});
      dense.append(tokens(k.view, 0, 100));
      dense.append(0, tokens(k.view, 100, kKeys - 100));
      EXPECT_TRUE(same_bits(from(dense, 0), expected));

      for (const std::int64_t size : {16, 48, 512}) {
        PagedKvCache cache({2, 1, x.head_dim, x.v_head_dim, size, 60, dtype, true});
        const std::int64_t first = cache.create();
        cache.extend(first, 300);
        cache.store(1, first, 0, tokens(k.view, 0, 300));
        const std::int64_t fork = cache.fork(first, 290);
        cache.extend(fork, kKeys - 290);
        cache.store(1, fork, 290, tokens(k.view, 290, kKeys - 290));
        EXPECT_TRUE(same_bits(from(cache.layer(1), fork), expected)) << size;
      }

      EnginePages pages(p, normal({1, kKeys, 1, x.head_dim}, 2).view,
                        normal({1, kKeys, 1, x.v_head_dim}, 3).view, 16);
      const BlockTables blocks(pages.k(), first_features(pages.k(), x.v_head_dim),
                               {&pages.entry(0, 0), 1, (kKeys + 15) / 16, 0});
      EXPECT_TRUE(same_bits(from(blocks, 0), expected));
    }
}

// One copy: D elements a token, which are read back as both.
TEST(VInK, IsKeptOnce) {
  for (const DType dtype : kAllDTypes) {
    const PagedKvCache::Shape shape{3, 1, 576, 512, 64, 10, dtype, true};
    EXPECT_EQ(PagedKvCache::page_bytes(shape),
              static_cast<std::size_t>(3 * 64 * 576 * size_of(dtype)));
    EXPECT_EQ(DenseKvCache::bytes_of({2, 1, 576, 512, 100, dtype, true}),
              static_cast<std::size_t>(2 * 112 * 576 * size_of(dtype)));
    const Stored k(normal({1, 50, 1, 20}, 1).view, dtype);
    const Stored k_out(normal({1, 50, 1, 20}, 2).view, dtype),
        v_out(normal({1, 50, 1, 7}, 3).view, dtype);
    PagedKvCache cache({1, 1, 20, 7, 16, 10, dtype, true});
    const std::int64_t id = cache.create();
    cache.extend(id, 50);
    cache.store(0, id, 0, tokens(k.view, 0, 3));
    cache.store(0, id, 3, tokens(k.view, 3, 47));
    cache.read(0, id, k_out.view, v_out.view);
    DenseKvCache dense({1, 1, 20, 7, 50, dtype, true});
    dense.append(k.view);
    for (const bool is_dense : {false, true}) {
      if (is_dense) dense.read(0, k_out.view, v_out.view);
      for_each_index(k.view.extents, [&](auto a, auto t, auto h, auto e) {
        EXPECT_EQ(k_out.view.at(a, t, h, e), k.view.at(a, t, h, e));
        EXPECT_EQ(v_out.view.at(a, t, h, e % 7), k.view.at(a, t, h, e % 7));
      });
    }
  }
}

TEST(BadInput, VInK) {
  const Tensor k = normal({1, 4, 1, 20}, 1), v = normal({1, 4, 1, 7}, 2);
  DenseKvCache latent({1, 1, 20, 7, 50, DType::kF32, true}), apart({1, 1, 20, 7, 50});
  EXPECT_TRUE(rejects("DenseKvCache.append", kArgument, [&] { latent.append(k.view, v.view); }));
  EXPECT_TRUE(rejects("DenseKvCache.append", kArgument, [&] { latent.append(0, k.view, v.view); }));
  EXPECT_TRUE(rejects("DenseKvCache.append", kArgument, [&] { apart.append(k.view); }));
  EXPECT_TRUE(rejects("DenseKvCache.append", kArgument, [&] { apart.append(0, k.view); }));
  EXPECT_TRUE(rejects("DenseKvCache.append k", kShape, [&] { latent.append(v.view); }));
  EXPECT_TRUE(rejects("DenseKvCache.v_head_dim", kArgument, [] {
    DenseKvCache({1, 1, 20, 21, 50, DType::kF32, true});
  }));
  PagedKvCache paged({1, 1, 20, 7, 16, 10, DType::kF32, true}), plain({1, 1, 20, 7, 16, 10});
  for (PagedKvCache* cache : {&paged, &plain}) cache->extend(cache->create(), 4);
  EXPECT_TRUE(
      rejects("PagedKvCache.store", kArgument, [&] { paged.store(0, 0, 0, k.view, v.view); }));
  EXPECT_TRUE(rejects("PagedKvCache.store", kArgument, [&] { plain.store(0, 0, 0, k.view); }));
  EXPECT_TRUE(rejects("PagedKvCache.v_head_dim", kArgument, [] {
    PagedKvCache({1, 1, 20, 21, 16, 10, DType::kF32, true});
  }));
  EXPECT_TRUE(rejects("PagedKvCache.dtype", kArgument, [] {
    PagedKvCache({1, 1, 20, 7, 16, 10, DType::kInt8, true});
  }));
}

}  // namespace
}  // namespace rapt::test
