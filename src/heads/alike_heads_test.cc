// Pairs whose similarities are written by hand: a threshold, a level or a cluster that is another
// must fail here.
#include "rapt/alike_heads.h"

#include <gtest/gtest.h>

#include <cmath>

#include "heads/mean_interval.h"
#include "util.h"

namespace rapt::test {
namespace {

/// Two layers of four heads; 0.0, 0.1 and 0.3 are alike by way of 0.1, the others are not. Each
/// text has another similarity of 1.0 and 1.1, above 0.9 on average.
std::vector<HeadScores> texts_of(int count) {
  std::vector<HeadScores> texts(count);
  for (int n = 0; n < count; ++n) {
    HeadScores& text = texts[n];
    text.layers = 2;
    text.heads = 4;
    text.similarity.assign(2 * 4 * 4, 0.5);
    text.scores.assign(kHeadRoles * 8, 0.25);
    const auto set = [&](int layer, int a, int b, double value) {
      text.similarity[(layer * 4 + a) * 4 + b] = text.similarity[(layer * 4 + b) * 4 + a] = value;
    };
    set(0, 0, 1, 0.95);
    set(0, 1, 3, 0.92 + 0.001 * (n % 2));
    set(0, 0, 3, 0.8);
    set(1, 0, 1, n % 2 == 0 ? 0.85 : 0.99);
    text.scores[static_cast<int>(HeadRole::kSink) * 8 + 3] = 0.81;
  }
  return texts;
}

TEST(AlikeHeads, ClustersAreWhatCertainPairsConnect) {
  const AlikeHeads got = find_alike_heads(texts_of(12));
  EXPECT_EQ(got.texts_needed, 8);  // of 12 pairs
  ASSERT_EQ(got.clusters.size(), 1u);
  const HeadCluster& cluster = got.clusters[0];
  EXPECT_EQ(cluster.heads, (std::vector<HeadIndex>{{0, 0}, {0, 1}, {0, 3}}));
  EXPECT_NEAR(cluster.similarity, 0.8, 1e-12);
  EXPECT_NEAR(cluster.interval.low, 0.8, 1e-12);
  EXPECT_NEAR(cluster.explained, std::sqrt(0.25 * 0.81) + std::sqrt(0.75 * 0.19), 1e-12);
}

TEST(AlikeHeads, TooFewTextsMakeNone) {
  EXPECT_TRUE(find_alike_heads(texts_of(7)).clusters.empty());
  EXPECT_FALSE(find_alike_heads(texts_of(8)).clusters.empty());
}

TEST(AlikeHeads, RefusesTextsWithoutSimilarities) {
  std::vector<HeadScores> texts = texts_of(8);
  texts[5].similarity.clear();
  EXPECT_EQ(error_of([&] { find_alike_heads(texts); }),
            "find_alike_heads.texts: expected similarities of 2 layers and 4 heads, got 0 numbers");
  EXPECT_NE(error_of([&] { find_alike_heads({}); }), "");
}

}  // namespace
}  // namespace rapt::test
