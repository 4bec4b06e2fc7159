// Inverse frequencies and attention factors against those that transformers computes.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "model/mapped_file.h"
#include "rapt/model.h"
#include "util.h"

namespace rapt::test {
namespace {

const nlohmann::json& expected() {
  static const nlohmann::json file = nlohmann::json::parse(
      read_text(std::filesystem::path(RAPT_GOLDEN_DIR) / "rotary" / "expected.json"));
  return file;
}

class GoldenRotary : public testing::TestWithParam<std::size_t> {};

TEST_P(GoldenRotary, HasTheBitsOfTransformers) {
  const nlohmann::json& want = expected()["cases"][GetParam()];
  SCOPED_TRACE(want["name"].get<std::string>());
  nlohmann::json file = expected()["base"];
  file.merge_patch(want["patch"]);
  if (want["patch"].dump().find("partial_rotary_factor") != std::string::npos) {  // not in a Llama
    file["architectures"] = {"Phi3ForCausalLM"};
    file["model_type"] = "phi3";
  }
  const Rotary rotary(ModelConfig::parse(file.dump()).rotary());
  const std::int64_t length = want["length"];
  const std::vector<double> inv_freq = rotary.inv_freq(length);
  ASSERT_EQ(inv_freq.size(), want["inv_freq"].size());
  for (std::size_t i = 0; i < inv_freq.size(); ++i)
    EXPECT_EQ(bits(static_cast<float>(inv_freq[i])), want["inv_freq"][i].get<std::uint32_t>()) << i;
  // cos 0 = 1 shows the attention factor.
  const double factor = want["attention_factor"];
  EXPECT_FLOAT_EQ(rotary.table({0}, {length}).cos[0], static_cast<float>(factor));
}

std::string case_name(const testing::TestParamInfo<std::size_t>& info) {
  std::string name = expected()["cases"][info.param]["name"];
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenRotary,
                         testing::Range(std::size_t{0}, expected()["cases"].size()), case_name);

// What torch leaves to the C library's powf is not always the power rounded once: in these 9 of 896
// cases, one frequency each.
TEST(GoldenRotarySweep, AllButAFewHaveTheBitsOfTorch) {
  std::vector<std::pair<double, std::int64_t>> differing;
  for (std::size_t n = 0; n < expected()["sweep"]["thetas"].size(); ++n) {
    const double theta = expected()["sweep"]["thetas"][n];
    for (std::int64_t dims = 2; dims <= 256; dims += 2) {
      std::vector<float> values;
      for (const double f : Rotary(dims, theta).inv_freq()) values.push_back(static_cast<float>(f));
      const std::uint64_t hash = hash_bits({values.data(), {1, 1, 1, dims / 2}});
      if (hash % (std::uint64_t{1} << 32) != expected()["sweep"]["hashes"][n][dims / 2 - 1])
        differing.emplace_back(theta, dims);
    }
  }
  const decltype(differing) known = {{100, 150}, {150000, 154}, {500000, 224}, {1e6, 14}, {1e6, 28},
                                     {1e6, 42},  {1e6, 56},     {8e6, 126},    {8e6, 252}};
  EXPECT_EQ(differing, known);
}

}  // namespace
}  // namespace rapt::test
