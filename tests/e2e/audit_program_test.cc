// `rapt audit` as a shell sees it, on the model that comes with rapt.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "program.h"

namespace rapt::test {
namespace {

using nlohmann::json;

TEST(AuditProgram, TheDefaultModelPasses) {
  const Outcome outcome = rapt("audit --queries 9 --threads 1 --json");
  ASSERT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_EQ(outcome.errors, "");
  const json got = json::parse(outcome.output);
  EXPECT_EQ(got.size(), 7u);
  EXPECT_NE(got["model"].get<std::string>().find("models/default"), std::string::npos);
  EXPECT_EQ(got["tokens"], 512);
  EXPECT_GT(got["seconds"], 0.0);
  EXPECT_EQ(got["passed"], true);
  EXPECT_TRUE(got["first"].is_null());
  ASSERT_EQ(got["layers"].size(), 4u);
  for (std::size_t n = 0; n < 4; ++n) {
    const json& layer = got["layers"][n];
    EXPECT_EQ(layer.size(), 7u);
    EXPECT_EQ(layer["layer"], n);
    const auto queries = layer["queries"].get<std::vector<std::int64_t>>();
    EXPECT_EQ(queries.size(), 9u);
    std::int64_t keys = 0;
    for (const std::int64_t query : queries) keys += 8 * (query + 1);  // of eight heads
    EXPECT_EQ(layer["expected_keys"], keys);
    EXPECT_EQ(layer["found_keys"], keys);
    EXPECT_EQ(layer["hidden_mass"], 0.0);
    EXPECT_LT(layer["row_sum_error"], 1e-5);
    EXPECT_EQ(layer["findings"], json::array());
  }
  EXPECT_EQ(got["prefixes"]["cuts"], (std::vector<int>{1, 15, 16, 17, 47, 48, 49, 256, 511}));
  EXPECT_EQ(got["prefixes"]["findings"], json::array());
}

TEST(AuditProgram, AuditsTheTextThatIsGiven) {
  const TestDirectory directory;
  const std::string file = directory.write("a.txt", "Once upon a time there was a fox.");
  const Outcome of_file = rapt("audit -f '" + file + "'");
  ASSERT_EQ(of_file.status, 0) << of_file.errors;
  EXPECT_NE(of_file.output.find("\ntext     " + file + ", "), std::string::npos) << of_file.output;
  EXPECT_TRUE(of_file.output.ends_with("\n\npass: no leak found\n")) << of_file.output;
  const Outcome of_prompt = rapt("audit -p \"$(cat '" + file + "')\"");
  const auto layers = [](const std::string& table) { return table.substr(table.find("\n\n")); };
  EXPECT_EQ(layers(of_prompt.output), layers(of_file.output));
}

TEST(AuditProgram, RefusesWhatItCannotAudit) {
  const TestDirectory directory;
  EXPECT_EQ(rapt("audit -p ''").errors,
            "rapt: prompt: expected at least two tokens within the model's context (512), got 1\n");
  EXPECT_EQ(rapt("audit -p x -f y").status, 2);
  EXPECT_EQ(rapt("audit --queries 0").status, 2);
  EXPECT_EQ(rapt("audit -f '" + directory.file("none") + "'").status, 1);
  const std::string bad = directory.write("bad", "abc\xff");
  EXPECT_EQ(rapt("audit -f '" + bad + "'").errors,
            "rapt: " + bad + ": expected UTF-8, got another byte at 3\n");
}

}  // namespace
}  // namespace rapt::test
