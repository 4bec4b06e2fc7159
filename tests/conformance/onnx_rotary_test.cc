// The vectors of ONNX's RotaryEmbedding, through an adapter of its semantics.
#include <gtest/gtest.h>

#include <cmath>

#include "onnx_cases.h"
#include "rapt/rotary.h"

namespace rapt::test {
namespace {

/// Row position_ids[b, t] of the caches [P, R / 2], or row (b, t) of caches [B, T, R / 2].
RotaryTable table_of(const OnnxCase& c) {
  const NpyArray& cache = c.inputs.at("cos_cache");
  const auto cos = cache.values<float>(), sin = c.inputs.at("sin_cache").values<float>();
  const std::int64_t pairs = cache.shape.back();
  RotaryTable table;
  table.config.dims = 2 * pairs;
  table.config.style =
      c.attribute("interleaved", 0) != 0 ? RotaryStyle::kInterleaved : RotaryStyle::kHalf;
  if (c.has("position_ids")) {
    table.positions = c.inputs.at("position_ids").values<std::int64_t>();
  } else {
    for (std::int64_t row = 0; row < cache.size() / pairs; ++row) table.positions.push_back(row);
  }
  for (const std::int64_t row : table.positions) {
    table.cos.insert(table.cos.end(), &cos[row * pairs], &cos[row * pairs] + pairs);
    table.sin.insert(table.sin.end(), &sin[row * pairs], &sin[row * pairs] + pairs);
  }
  return table;
}

TEST(OnnxRotary, EveryVectorIsMet) {
  if (!std::filesystem::exists(onnx_directory()))
    GTEST_SKIP() << "no test vectors at " << onnx_directory();
  const auto cases = onnx_cases("RotaryEmbedding");
  ASSERT_EQ(cases.size(), 8u);
  for (const OnnxCase& c : cases) {
    SCOPED_TRACE(c.name);
    const NpyArray& input = c.inputs.at("input");
    const auto x = input.values<float>(), want = c.outputs.at("output").values<float>();
    const RotaryTable table = table_of(c);
    const std::int64_t dims = c.attribute("rotary_embedding_dim", 0);
    EXPECT_TRUE(dims == 0 || dims == 2 * table.pairs());
    std::vector<float> y(x.size(), NAN);
    const std::int64_t heads = c.attribute("num_heads", 0);
    apply_rotary(Threads(1), table, heads_of(input.shape, heads, x.data()),
                 heads_of(input.shape, heads, y.data()));
    ASSERT_EQ(y.size(), want.size());
    // Products are below 1, sums below 2. Theirs: three roundings, 2^-23 in all; ours: two.
    for (std::size_t n = 0; n < y.size(); ++n) ASSERT_NEAR(y[n], want[n], 4 * 0x1p-24) << n;
  }
}

}  // namespace
}  // namespace rapt::test
