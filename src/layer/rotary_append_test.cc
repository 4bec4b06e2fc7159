// Keys that are rotated as they are stored: the bits of apply_rotary, then append.

#include "rapt/rotary_append.h"

#include <gtest/gtest.h>

#include <numeric>

#include "paged_tokens.h"
#include "util.h"

namespace rapt::test {
namespace {

constexpr std::int64_t kHeads = 3, kDim = 20, kValueDim = 5;

std::vector<std::int64_t> range(std::int64_t begin, std::int64_t count) {
  std::vector<std::int64_t> positions(static_cast<std::size_t>(count));
  std::iota(positions.begin(), positions.end(), begin);
  return positions;
}

/// All that a cache of one sequence holds, widened.
struct Content {
  Tensor k, v;
  explicit Content(std::int64_t tokens)
      : k({1, tokens, kHeads, kDim}), v({1, tokens, kHeads, kValueDim}) {}
};

Content content_of(const DenseKvCache& cache, std::int64_t sequence) {
  Content content(cache.length(sequence));
  cache.read(sequence, content.k.view, content.v.view);
  return content;
}

Content content_of(const PagedKvCache& cache, std::int64_t sequence) {
  Content content(cache.length(sequence));
  cache.read(1, sequence, content.k.view, content.v.view);
  return content;
}

void expect_same(const Content& a, const Content& b) {
  EXPECT_TRUE(same_bits(a.k.view, b.k.view));
  EXPECT_TRUE(same_bits(a.v.view, b.v.view));
}

TEST(RotaryAppend, DenseCachesHaveTheBitsOfTwoSteps) {
  const Threads one(1);
  for (const RotaryStyle style : {RotaryStyle::kHalf, RotaryStyle::kInterleaved})
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16})
      for (const bool table_of_all : {false, true}) {
        const DenseKvCache::Shape shape = {2, kHeads, kDim, kValueDim, 80, dtype};
        DenseKvCache fused(shape), apart(shape);
        const Rotary rotary(12, 100.0, style);
        std::int64_t length = 0;
        for (const std::int64_t count : {5, 0, 1, 30, 44}) {
          std::vector<std::int64_t> positions = range(length, count);
          if (table_of_all)  // the second sequence stands elsewhere
            for (const std::int64_t p : range(1000 + length, count)) positions.push_back(p);
          const RotaryTable table = rotary.table(positions);
          const Tensor k = normal({2, count, kHeads, kDim}, count),
                       v = normal({2, count, kHeads, kValueDim}, 9),
                       turned({2, count, kHeads, kDim});
          apply_rotary(one, table, k.view, turned.view);
          apart.append(turned.view, v.view);
          append_rotary(table, k.view, v.view, fused);
          EXPECT_TRUE(same_bits(k.view, turned.view));
          length += count;
        }
        for (const std::int64_t sequence : {0, 1})
          expect_same(content_of(fused, sequence), content_of(apart, sequence));
      }
}

TEST(RotaryAppend, PagedCachesHaveTheBitsOfTwoSteps) {
  const Threads one(1);
  const Rotary rotary(kDim);
  for (const DType dtype : kCacheDTypes) {
    PagedKvCache fused({2, kHeads, kDim, kValueDim, 32, 8, dtype}),
        apart({2, kHeads, kDim, kValueDim, 32, 8, dtype});
    const std::int64_t a = fused.create(), b = apart.create();
    for (const std::int64_t count : {7, 1, 50, 0, 20}) {
      const std::int64_t first = fused.length(a);
      fused.extend(a, count);
      apart.extend(b, count);
      const RotaryTable table = rotary.table(range(first, count)),
                        batch = rotary.table(range(first - 3, count + 5));
      const Tensor k = normal({1, count, kHeads, kDim}, count),
                   v = normal({1, count, kHeads, kValueDim}, 9), turned({1, count, kHeads, kDim});
      apply_rotary(one, table, k.view, turned.view);
      apart.store(1, b, first, turned.view, v.view);
      store_rotary(batch, 3, k.view, v.view, fused, 1, a, first);
    }
    expect_same(content_of(fused, a), content_of(apart, b));
  }
}

TEST(RotaryAppend, NamesWhatIsWrongAndAppendsNothing) {
  const Rotary rotary(8);
  DenseKvCache cache({1, 1, 8, 8, 20});
  const Tensor k = normal({1, 12, 1, 8}, 1), v = normal({1, 12, 1, 8}, 2),
               was = normal({1, 12, 1, 8}, 1);
  const auto append = [&](const Rotary& angles, std::int64_t tokens) {
    return error_of([&] { append_rotary(angles.table(range(0, tokens)), k.view, v.view, cache); });
  };
  EXPECT_EQ(append(Rotary(10), 12),
            "append_rotary.k: expected a last extent of at least 10, got [1, 12, 1, 8]");
  EXPECT_EQ(append(rotary, 11), "append_rotary.table: expected 12 or 12 tokens, got 11");
  EXPECT_EQ(cache.length(0), 0);
  EXPECT_TRUE(same_bits(k.view, was.view));
  EXPECT_EQ(append(rotary, 12), "no error");
  const Tensor turned = normal({1, 12, 1, 8}, 1);
  apply_rotary(Threads(1), rotary.table(range(0, 12)), turned.view, turned.view);
  EXPECT_EQ(append(rotary, 12), "append_rotary: expected at most 8 more tokens, got 12");
  EXPECT_EQ(cache.length(0), 12);
  EXPECT_TRUE(same_bits(k.view, turned.view));

  PagedKvCache pages({1, 1, 8, 8, 16, 4});
  const std::int64_t id = pages.create();
  pages.extend(id, 12);
  const auto store = [&](const Rotary& angles, std::int64_t row, std::int64_t first) {
    return error_of([&] {
      store_rotary(angles.table(range(0, 20)), row, k.view, v.view, pages, 0, id, first);
    });
  };
  EXPECT_EQ(store(rotary, 9, 0), "store_rotary.table: expected 12 rows from 9, got 20 rows");
  EXPECT_EQ(store(rotary, -1, 0), "store_rotary.table: expected 12 rows from -1, got 20 rows");
  EXPECT_EQ(store(Rotary(10), 0, 0),
            "store_rotary.k: expected a last extent of at least 10, got [1, 12, 1, 8]");
  EXPECT_EQ(store(rotary, 8, 0), "no error");
  EXPECT_NE(store(rotary, 8, 1), "no error");
}

}  // namespace
}  // namespace rapt::test
