#include <gtest/gtest.h>

#include "rapt/kv_cache.h"
#include "util.h"

namespace rapt::test {
namespace {

TEST(DenseKvCache, ReadsBackWhatWasAppended) {
  const Tensor k = normal({2, 530, 3, 5}, 1), v = normal({2, 530, 3, 18}, 2);
  DenseKvCache cache({2, 3, 5, 18, 600});
  for (std::int64_t first = 0; first < 530; first += 53)
    cache.append(tokens(ConstTensor(k.view), first, 53), tokens(ConstTensor(v.view), first, 53));
  for (const std::int64_t count : {0, 1, 17, 512, 530})
    for (const int b : {0, 1})
      for (const Layout layout : {Layout::kContiguous, Layout::kReversed}) {
        const Tensor read_k({1, count, 3, 5}, layout), read_v({1, count, 3, 18}, layout);
        cache.read(b, read_k.view, read_v.view);
        EXPECT_TRUE(same_bits(tokens(sequence(k.view, b), 0, count), read_k.view)) << count;
        EXPECT_TRUE(same_bits(tokens(sequence(v.view, b), 0, count), read_v.view)) << count;
      }
}

TEST(DenseKvCache, ReadRefuses) {
  DenseKvCache cache({1, 2, 4, 4, 16});
  const Tensor one({1, 1, 2, 4}), narrow({1, 1, 2, 3});
  EXPECT_EQ(error_of([&] { cache.read(0, one.view, one.view); }),
            "DenseKvCache.read tokens: expected at most 0, got 1");
  EXPECT_EQ(error_of([&] { cache.read(1, one.view, one.view); }),
            "DenseKvCache.read sequence: expected 0 to 0, got 1");
  EXPECT_EQ(error_of([&] { cache.read(0, one.view, narrow.view); }),
            "DenseKvCache.read v: expected [1, 1, 2, 4], got [1, 1, 2, 3]");
}

}  // namespace
}  // namespace rapt::test
