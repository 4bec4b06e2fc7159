// T5's buckets and ALiBi's slopes against those that transformers computes.
#include "rapt/modifiers.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "model/mapped_file.h"
#include "util.h"

namespace rapt::test {
namespace {

nlohmann::json expected() {
  return nlohmann::json::parse(
      read_text(std::filesystem::path(RAPT_GOLDEN_DIR) / "modifiers" / "expected.json"));
}

TEST(GoldenBuckets, AreThoseOfTransformers) {
  const nlohmann::json file = expected();
  const std::int64_t farthest = file["farthest"];
  ASSERT_EQ(file["buckets"].size(), 8u);
  for (const nlohmann::json& set : file["buckets"]) {
    const RelativeBias bias{set["buckets"], set["max_distance"], set["bidirectional"], {}};
    SCOPED_TRACE(testing::Message() << bias.buckets << " to " << bias.max_distance
                                    << (bias.bidirectional ? ", both ways" : ""));
    std::vector<std::pair<std::int64_t, std::int64_t>> runs;
    for (std::int64_t distance = -farthest; distance <= farthest; ++distance) {
      const std::int64_t bucket = bias.bucket(distance);
      if (runs.empty() || runs.back().second != bucket) runs.emplace_back(distance, bucket);
    }
    EXPECT_EQ(runs, set["runs"].get<decltype(runs)>());
  }
}

TEST(GoldenSlopes, HaveTheBitsOfTransformers) {
  const nlohmann::json file = expected();
  ASSERT_EQ(file["slopes"].size(), 64u);
  for (std::int64_t heads = 1; heads <= 64; ++heads) {
    std::vector<std::uint32_t> got;
    for (const float slope : alibi_slopes(heads)) got.push_back(bits(slope));
    EXPECT_EQ(got, file["slopes"][static_cast<std::size_t>(heads - 1)].get<decltype(got)>())
        << heads << " heads";
  }
}

}  // namespace
}  // namespace rapt::test
