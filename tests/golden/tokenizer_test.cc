// Tokenizers against what the `tokenizers` library makes of the same files and texts.
#include "rapt/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "model/mapped_file.h"
#include "model/utf8.h"

namespace rapt::test {
namespace {

using Tokens = std::vector<std::int32_t>;

nlohmann::json read(const std::string& name) {
  const auto path = std::filesystem::path(RAPT_GOLDEN_DIR) / "tokenizer" / name;
  return nlohmann::json::parse(read_text(path));
}

const nlohmann::json& expected() {
  static const nlohmann::json file = read("expected.json");
  return file;
}

std::string streamed(const Tokenizer& tokenizer, const Tokens& tokens) {
  TextStream stream(tokenizer);
  std::string text;
  for (const std::int32_t token : tokens) {
    const std::string piece = stream.push(token);
    EXPECT_EQ(utf8_valid_bytes(piece), piece.size());
    text += piece;
  }
  const std::string rest = stream.finish();
  EXPECT_EQ(utf8_valid_bytes(rest), rest.size());
  return text + rest;
}

class GoldenTokenizer : public testing::TestWithParam<std::size_t> {};

TEST_P(GoldenTokenizer, HasTheIdsAndTextsOfTheLibrary) {
  const nlohmann::json& texts = expected()["texts"];
  const nlohmann::json& want = expected()["cases"][GetParam()];
  nlohmann::json file = read(want["base"].get<std::string>() + ".json");
  file.merge_patch(want["patch"]);
  const Tokenizer tokenizer = Tokenizer::parse(file.dump());
  ASSERT_GE(want["ids"].size(), texts.size());
  for (std::size_t n = 0; n < want["ids"].size(); ++n) {
    const auto tokens = want["ids"][n].get<Tokens>();
    const nlohmann::json& decoded = want["decoded"][n];
    SCOPED_TRACE(n < texts.size() ? texts[n].dump() : "tokens drawn at random");
    if (n < texts.size()) {
      EXPECT_EQ(tokenizer.encode(texts[n].get<std::string>()), tokens);
    }
    const auto text = (decoded.is_null() ? texts[n] : decoded).get<std::string>();
    EXPECT_EQ(tokenizer.decode(tokens), text);
    EXPECT_EQ(streamed(tokenizer, tokens), text);
  }
}

std::string case_name(const testing::TestParamInfo<std::size_t>& info) {
  std::string name = expected()["cases"][info.param]["name"];
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenTokenizer,
                         testing::Range(std::size_t{0}, expected()["cases"].size()), case_name);

}  // namespace
}  // namespace rapt::test
