#include "rapt/tokenizer.h"

#include <gtest/gtest.h>

#include <vector>

#include "model/mapped_file.h"
#include "model/model_test_files.h"
#include "model/utf8.h"
#include "rapt/error.h"

namespace rapt::test {
namespace {

using Tokens = std::vector<std::int32_t>;

Tokenizer small() { return Tokenizer::parse(small_tokenizer().dump()); }

constexpr std::int32_t kByte = 3, kSpace = 259, kA = 260, kC = 262, kSpaceAb = 264, kAbc = 265;

TEST(Tokenizer, MergesByRankFromTheLeft) {
  EXPECT_EQ(small().encode("ab"), (Tokens{1, kSpaceAb}));
  EXPECT_EQ(small().encode("abc"), (Tokens{1, kSpaceAb, kC}));  // "▁ ab" comes before "ab c"
  EXPECT_EQ(small().encode("cabc a"), (Tokens{1, kSpace, kC, kAbc, kSpace, kA}));
}

TEST(Tokenizer, UnknownCharactersBecomeTheirBytes) {
  EXPECT_EQ(small().encode("é"), (Tokens{1, kSpace, kByte + 0xC3, kByte + 0xA9}));
  EXPECT_EQ(small().encode("\n"), (Tokens{1, kSpace, kByte + 0x0A}));
}

TEST(Tokenizer, EmptyTextIsTheBeginningAlone) {
  const Tokenizer tokenizer = small();
  const auto beginning = tokenizer.beginning();
  EXPECT_EQ(Tokens(beginning.begin(), beginning.end()), Tokens{1});
  EXPECT_EQ(tokenizer.encode(""), Tokens{1});
}

TEST(Tokenizer, SpecialTokensAreFoundInTheText) {
  EXPECT_EQ(small().encode("a</s>a"), (Tokens{1, kSpace, kA, 2, kSpace, kA}));
  EXPECT_EQ(small().encode("</s"), (Tokens{1, kSpace, kByte + '<', kByte + '/', kByte + 's'}));
}

TEST(Tokenizer, TokensAroundATextMayBeLeftOut) {
  EXPECT_EQ(small().encode("a</s>", false), (Tokens{kSpace, kA, 2}));
  nlohmann::json file = small_tokenizer();
  file["post_processor"] = {
      {"type", "RobertaProcessing"}, {"cls", {"<s>", 1}}, {"sep", {"</s>", 2}}};
  EXPECT_EQ(Tokenizer::parse(file.dump()).encode("a"), (Tokens{1, kSpace, kA, 2}));
  EXPECT_EQ(Tokenizer::parse(file.dump()).encode("a", false), (Tokens{kSpace, kA}));
}

TEST(Tokenizer, DecodeInvertsEncode) {
  for (const std::string text : {"", "ab", " ab", "  a  b ", "abc é", "日本語 🙂\n", "<s"})
    EXPECT_EQ(small().decode(small().encode(text)), text);
}

TEST(Tokenizer, TextThatIsNotUtf8IsRefused) {
  for (const std::string text : {"a\xFF", "\xC3", "\xED\xA0\x80", "\xC0\x80", "\xF4\x90\x80\x80"})
    EXPECT_THROW(small().encode(text), Error);
}

TEST(Tokenizer, IdsThatNoTokenHasGiveNoText) {
  EXPECT_EQ(small().vocab_size(), 266);
  EXPECT_EQ(small().decode(Tokens{kA, 266, kA, 1 << 30}), "aa");
  EXPECT_THROW(small().decode(Tokens{-1}), Error);
}

TEST(TextStream, HoldsBackUnfinishedCharacters) {
  const Tokenizer tokenizer = small();
  TextStream stream(tokenizer);
  EXPECT_EQ(stream.push(kByte + 0xF0), "");
  EXPECT_EQ(stream.push(kByte + 0x9F), "");
  EXPECT_EQ(stream.push(kByte + 0x99), "");
  EXPECT_EQ(stream.push(kByte + 0x82), "🙂");
  EXPECT_EQ(stream.push(kByte + 0xE2), "");
  EXPECT_EQ(stream.push(1), "");  // a special token gives no text and parts no character
  EXPECT_EQ(stream.push(kA), "\uFFFDa");
  EXPECT_EQ(stream.push(kByte + 0x80), "\uFFFD");
  EXPECT_EQ(stream.push(kByte + 0xC3), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
}

TEST(TextStream, StripsTheFirstSpaceOnly) {
  const Tokenizer tokenizer = small();
  TextStream stream(tokenizer);
  EXPECT_EQ(stream.push(1), "");
  EXPECT_EQ(stream.push(kSpace), "");
  EXPECT_EQ(stream.push(kSpace), " ");
  EXPECT_EQ(stream.push(kSpaceAb), " ab");
}

TEST(TextStream, AnyTokensGiveTheTextOfDecodeInValidPieces) {
  const Tokenizer tokenizer = small();
  std::uint64_t state = 1;
  for (int round = 0; round < 2000; ++round) {
    TextStream stream(tokenizer);
    Tokens tokens;
    std::string text;
    for (int n = 0; n < 12; ++n) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      // Bytes that begin or continue characters are drawn often.
      const auto draw = static_cast<std::int32_t>(state >> 33);
      tokens.push_back(draw % 3 == 0 ? draw / 3 % 266 : kByte + 0x80 + draw / 3 % 0x80);
      const std::string piece = stream.push(tokens.back());
      EXPECT_EQ(utf8_valid_bytes(piece), piece.size());
      text += piece;
    }
    text += stream.finish();
    EXPECT_EQ(utf8_valid_bytes(text), text.size());
    EXPECT_EQ(text, tokenizer.decode(tokens));
  }
}

struct Damage {
  const char* pointer;  // JSON pointer to what is replaced
  nlohmann::json value;
  ErrorCode code;
  const char* where;  // how the message begins
};

void PrintTo(const Damage& damage, std::ostream* out) {
  *out << damage.pointer << " = " << damage.value;
}

void expect_error(nlohmann::json file, const Damage& damage) {
  file[nlohmann::json::json_pointer(damage.pointer)] = damage.value;
  try {
    Tokenizer::parse(file.dump(), "t.json");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), damage.code) << error.what();
    EXPECT_EQ(std::string(error.what()).find(std::string("t.json ") + damage.where + ":"), 0u)
        << error.what();
  }
}

class BadTokenizer : public testing::TestWithParam<Damage> {};

TEST_P(BadTokenizer, IsAnErrorThatNamesTheField) { expect_error(small_tokenizer(), GetParam()); }

nlohmann::json repeated(std::size_t times, const nlohmann::json& part) {
  return {{"type", "Sequence"}, {"pretokenizers", std::vector<nlohmann::json>(times, part)}};
}

constexpr ErrorCode kBad = ErrorCode::kBadFile, kNot = ErrorCode::kUnsupported;

INSTANTIATE_TEST_SUITE_P(
    Fields, BadTokenizer,
    testing::ValuesIn(std::vector<Damage>{
        Damage{"/model/type", "WordPiece", kNot, "model type"},
        Damage{"/model/type", "Unigram", kBad, "model vocab"},
        Damage{"/model/byte_fallback", 1, kBad, "model byte_fallback"},
        Damage{"/model/dropout", 0.1, kNot, "model dropout"},
        Damage{"/model/ignore_merges", "yes", kBad, "model ignore_merges"},
        Damage{"/model/end_of_word_suffix", "</w>", kNot, "model end_of_word_suffix"},
        Damage{"/model/continuing_subword_prefix", "##", kNot, "model continuing_subword_prefix"},
        Damage{"/model/unk_token", "<none>", kBad, "model unk_token"},
        Damage{"/model/vocab", nlohmann::json::array(), kBad, "model vocab"},
        Damage{"/model/vocab/a", 261, kBad, "model vocab b"},
        Damage{"/model/vocab/a", -1, kBad, "model vocab a"},
        Damage{"/model/vocab/a", 1 << 20, kBad, "model vocab a"},
        Damage{"/model/vocab/a", "260", kBad, "model vocab a"},
        Damage{"/model/merges/0", "a x", kBad, "model merges[0]"},
        Damage{"/model/merges/0", "a c", kBad, "model merges[0]"},
        Damage{"/model/merges/0", "ab", kBad, "model merges[0]"},
        Damage{"/model/merges/0", "a  b", kBad, "model merges[0]"},
        Damage{"/model/merges/0", {"a"}, kBad, "model merges[0]"},
        Damage{"/model/merges/1", "a b", kBad, "model merges[1]"},
        Damage{"/model/merges", nullptr, kBad, "model merges"},
        Damage{"/added_tokens/1/id", 5, kBad, "added_tokens[1] id"},
        Damage{"/added_tokens/1/content", "new", kBad, "added_tokens[1] id"},
        Damage{"/added_tokens/1/content", "", kBad, "added_tokens[1]"},
        Damage{"/added_tokens/1/lstrip", 1, kBad, "added_tokens[1] lstrip"},
        Damage{
            "/added_tokens/1", {{"id", 0}, {"content", "<unk>"}}, kBad, "added_tokens[1] content"},
        Damage{"/added_tokens/1",
               {{"id", 0}, {"content", "new"}, {"special", true}},
               kBad,
               "added_tokens[1] id"},
        Damage{"/normalizer/normalizers/0/type", "Nmt", kNot, "normalizer normalizers[0] type"},
        Damage{"/normalizer/normalizers/0",
               {{"type", "Strip"}, {"strip_left", true}},
               kBad,
               "normalizer normalizers[0] strip_right"},
        Damage{"/normalizer/normalizers/1/pattern",
               {{"Regex", "("}},
               kNot,
               "normalizer normalizers[1] pattern Regex"},
        Damage{"/normalizer/normalizers/1/pattern",
               {{"Glob", "*"}},
               kNot,
               "normalizer normalizers[1] pattern"},
        Damage{"/normalizer/normalizers/1/pattern",
               {{"String", ""}},
               kBad,
               "normalizer normalizers[1] pattern String"},
        Damage{"/pre_tokenizer", {{"type", "ByteLevel"}}, kBad, "pre_tokenizer add_prefix_space"},
        Damage{"/pre_tokenizer", {{"type", "Whitespace"}}, kNot, "pre_tokenizer type"},
        Damage{"/pre_tokenizer", "ByteLevel", kBad, "pre_tokenizer"},
        Damage{"/pre_tokenizer", repeated(2, {{"type", "ByteLevel"}, {"add_prefix_space", false}}),
               kNot, "pre_tokenizer pretokenizers[1] type"},
        Damage{"/pre_tokenizer", repeated(17, {{"type", "Digits"}}), kNot, "pre_tokenizer"},
        Damage{"/pre_tokenizer",
               {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Joined"}},
               kBad,
               "pre_tokenizer behavior"},
        Damage{"/pre_tokenizer",
               {{"type", "Metaspace"}, {"replacement", "ab"}},
               kBad,
               "pre_tokenizer replacement"},
        Damage{"/pre_tokenizer",
               {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}},
               kBad,
               "pre_tokenizer prepend_scheme"},
        Damage{"/pre_tokenizer",
               {{"type", "Metaspace"},
                {"replacement", "_"},
                {"prepend_scheme", "first"},
                {"add_prefix_space", false}},
               kBad,
               "pre_tokenizer prepend_scheme"},
        Damage{"/truncation", {{"max_length", 5}}, kNot, "truncation"},
        Damage{"/padding", {{"strategy", {{"Fixed", 5}}}}, kNot, "padding strategy"},
        Damage{"/padding",
               {{"strategy", "BatchLongest"}, {"pad_to_multiple_of", 8}},
               kNot,
               "padding pad_to_multiple_of"},
        Damage{"/post_processor/type", "Other", kNot, "post_processor type"},
        Damage{"/post_processor/type", "BertProcessing", kBad, "post_processor cls"},
        Damage{"/post_processor",
               {{"type", "BertProcessing"}, {"cls", {"<s>", 1}}, {"sep", {"</s>", 266}}},
               kBad,
               "post_processor sep[1]"},
        Damage{"/post_processor",
               {{"type", "RobertaProcessing"}, {"cls", {"<s>"}}, {"sep", {"</s>", 2}}},
               kBad,
               "post_processor cls"},
        Damage{"/post_processor/special_tokens/<s>/ids/0", 266, kBad,
               "post_processor special_tokens <s> ids[0]"},
        Damage{"/post_processor/single/1",
               {{"SpecialToken", {{"id", "<s>"}}}},
               kBad,
               "post_processor single"},
        Damage{"/decoder/decoders/2/type", "Metaspace", kNot, "decoder"},
        Damage{"/decoder/decoders/3/stop", 1, kNot, "decoder decoders[3] stop"},
        Damage{"/decoder/decoders/3/content", "ab", kBad, "decoder decoders[3] content"},
        Damage{"/decoder", nullptr, kNot, "decoder"}}));

nlohmann::json character_map(const nlohmann::json& base64) {
  return {{"type", "Precompiled"}, {"precompiled_charsmap", base64}};
}

nlohmann::json unigram_tokenizer() {
  return nlohmann::json::parse(R"({"added_tokens": [], "decoder": {"type": "Fuse"}, "model": {
      "type": "Unigram", "unk_id": 0, "vocab": [
          ["<unk>", 0], ["a", -1], ["ab", -3], ["b", -2], ["abc", -2.5], ["c", -1.0]]}})");
}

Tokens unigram_tokens(const nlohmann::json& file, const std::string& text) {
  return Tokenizer::parse(file.dump()).encode(text);
}

TEST(Unigram, TakesTheBestSumAndTheLongestLastTokenOfEqualOnes) {
  const nlohmann::json file = unigram_tokenizer();
  EXPECT_EQ(unigram_tokens(file, "abc"), Tokens{4});
  EXPECT_EQ(unigram_tokens(file, "ab"), Tokens{2});  // "ab" and "a", "b" sum to -3
  EXPECT_EQ(unigram_tokens(file, "ba"), (Tokens{3, 1}));
  EXPECT_EQ(unigram_tokens(file, "acab"), (Tokens{1, 5, 2}));
  EXPECT_EQ(unigram_tokens(file, ""), Tokens{});
}

TEST(Unigram, ACharacterThatIsNoTokenIsUnknownBesideLongerTokens) {
  nlohmann::json file = unigram_tokenizer();
  for (const auto& [text, score] : {std::pair("xy", -9), std::pair("yz", -1)})
    file["model"]["vocab"].push_back({text, score});
  EXPECT_EQ(unigram_tokens(file, "xyz"), (Tokens{0, 7}));  // -19 - 1, and "xy" with z -9 - 19
}

TEST(Unigram, TheTextOfTheUnknownTokenHasNoBytes) {
  nlohmann::json file = unigram_tokenizer();
  file["model"]["byte_fallback"] = true;
  for (const char* byte : {"<0x3C>", "<0x75>", "<0x6E>", "<0x6B>", "<0x3E>"})
    file["model"]["vocab"].push_back({byte, -1});
  EXPECT_EQ(unigram_tokens(file, "<unk>"), Tokens{0});
  EXPECT_EQ(unigram_tokens(file, "<u"), (Tokens{6, 7}));
}

TEST(Unigram, UnknownCharactersInARowAreOneOrTheirBytes) {
  nlohmann::json file = unigram_tokenizer();
  EXPECT_EQ(unigram_tokens(file, "xyazé"), (Tokens{0, 1, 0}));
  file["model"]["byte_fallback"] = true;
  file["model"]["vocab"].push_back({"<0xC3>", -1});
  EXPECT_EQ(unigram_tokens(file, "éa"), (Tokens{0, 1}));  // not all bytes are there
  file["model"]["vocab"].push_back({"<0xA9>", -1});
  EXPECT_EQ(unigram_tokens(file, "éa"), (Tokens{6, 7, 1}));
  EXPECT_EQ(unigram_tokens(file, "éxa"), (Tokens{0, 1}));
}

class BadUnigram : public testing::TestWithParam<Damage> {};

TEST_P(BadUnigram, IsAnErrorThatNamesTheField) { expect_error(unigram_tokenizer(), GetParam()); }

// Maps of one unit and no text: a node whose number is beyond the array, and one whose number is no
// place of a text.
INSTANTIATE_TEST_SUITE_P(
    Fields, BadUnigram,
    testing::Values(
        Damage{"/model/unk_id", 6, kBad, "model unk_id"},
        Damage{"/model/unk_id", nullptr, kBad, "model unk_id"},
        Damage{"/model/vocab", nlohmann::json::object(), kBad, "model vocab"},
        Damage{"/model/vocab/1", "a", kBad, "model vocab[1]"},
        Damage{"/model/vocab/1", {"a"}, kBad, "model vocab[1]"},
        Damage{"/model/vocab/1/0", 1, kBad, "model vocab[1][0]"},
        Damage{"/model/vocab/1/1", "-1", kBad, "model vocab[1][1]"},
        Damage{"/normalizer", character_map(""), kBad, "normalizer precompiled_charsmap"},
        Damage{"/normalizer", character_map("AAA"), kBad, "normalizer precompiled_charsmap"},
        Damage{"/normalizer", character_map("AA=="), kBad, "normalizer precompiled_charsmap"},
        Damage{"/normalizer", character_map("AAA*AA=="), kBad, "normalizer precompiled_charsmap"},
        Damage{"/normalizer", character_map("BAAAAA=="), kBad, "normalizer precompiled_charsmap"},
        Damage{"/normalizer", character_map("AQAAAAA="), kBad, "normalizer precompiled_charsmap"},
        Damage{"/normalizer", character_map("AAAAAP8="), kBad, "normalizer precompiled_charsmap"},
        Damage{"/normalizer", character_map("BAAAAAABEAA="), kBad,
               "normalizer precompiled_charsmap"},
        Damage{"/normalizer", character_map("BAAAAAABAAA="), kBad,
               "normalizer precompiled_charsmap"}));

TEST(CharacterMap, WithNothingInItChangesNothing) {
  nlohmann::json file = unigram_tokenizer();
  for (const nlohmann::json& map :
       {nlohmann::json("AAAAAA=="), nlohmann::json("BAAAAAAAAAA="), nlohmann::json()}) {
    file["normalizer"] = character_map(map);
    EXPECT_EQ(unigram_tokens(file, "ab\r\ne\u0301c"), (Tokens{2, 0, 5})) << map.dump();
  }
}

TEST(Tokenizer, PairsMayBeArrays) {
  nlohmann::json file = small_tokenizer();
  file["model"]["merges"] = nlohmann::json::parse(R"([["a", "b"], ["▁", "ab"], ["ab", "c"]])");
  EXPECT_EQ(Tokenizer::parse(file.dump()).encode("abc"), small().encode("abc"));
}

nlohmann::json replace_step(const std::string& from, const std::string& to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

TEST(Tokenizer, TextsThatExplodeAreRefused) {
  nlohmann::json file = small_tokenizer();
  for (int n = 0; n < 60; ++n) file["normalizer"]["normalizers"].push_back(replace_step("a", "aa"));
  const Tokenizer tokenizer = Tokenizer::parse(file.dump());
  EXPECT_THROW(tokenizer.encode("a"), Error);
  EXPECT_EQ(tokenizer.encode("b"), small().encode("b"));
  file = small_tokenizer();
  file["normalizer"]["normalizers"].push_back(replace_step("a", std::string(1'000'000, 'a')));
  EXPECT_THROW(Tokenizer::parse(file.dump()).encode("a"), Error);
  file = small_tokenizer();
  auto& decoders = file["decoder"]["decoders"];
  for (int n = 0; n < 60; ++n) decoders.insert(decoders.begin(), replace_step("a", "aa"));
  EXPECT_THROW(Tokenizer::parse(file.dump()), Error);
  file = small_tokenizer();
  file["post_processor"]["special_tokens"]["<s>"]["ids"] = std::vector<int>(1025, 1);
  EXPECT_THROW(Tokenizer::parse(file.dump()), Error);
}

TEST(Tokenizer, DamagedJsonIsRefused) {
  const std::string file = small_tokenizer().dump();
  for (std::size_t size = 0; size < file.size(); size += 7)
    EXPECT_THROW(Tokenizer::parse(file.substr(0, size)), Error) << size;
  for (const std::string text :
       {"{\"model\":1,\"model\":2}", "null", "[]", "{\"a\":1e999}", "\xFF"})
    EXPECT_THROW(Tokenizer::parse(text), Error) << text;
  EXPECT_THROW(Tokenizer::parse(std::string(100'000, '[')), Error);
  EXPECT_THROW(Tokenizer::parse("{\"a\":" + std::string(100'000, '[')), Error);
}

TEST(Tokenizer, PathsThatCannotBeReadAreErrors) {
  for (const std::string& path : {std::string("none"), std::string(10'000, 'a')})
    EXPECT_THROW(Tokenizer::load(path), Error) << path.size();
}

TEST(Tokenizer, FilesBeyondTheLimitAreRefused) {
  std::string file = small_tokenizer().dump();
  file.resize(kMostTextBytes + 1, ' ');
  EXPECT_THROW(Tokenizer::parse(file), Error);
}

// Many spaces beside tokens that take spaces: each is looked at once.
TEST(Tokenizer, SpacesAroundManyTokensTakeLinearTime) {
  nlohmann::json file = small_tokenizer();
  for (const auto& [content, id] : {std::pair(" ", 266), std::pair("\t", 267)})
    file["added_tokens"].push_back(
        {{"id", id}, {"content", content}, {"lstrip", true}, {"rstrip", content[0] == ' '}});
  std::string text;
  for (int n = 0; n < 300'000; ++n) text += n % 2 == 0 ? " " : "\t";
  EXPECT_EQ(Tokenizer::parse(file.dump()).encode(text).size(), text.size() + 1);
}

TEST(Tokenizer, AddedTokensThatAreNotSpecialHaveText) {
  nlohmann::json file = small_tokenizer();
  file["added_tokens"].push_back({{"id", 266}, {"content", "<tool>"}, {"special", false}});
  const Tokenizer tokenizer = Tokenizer::parse(file.dump());
  EXPECT_EQ(tokenizer.encode("<tool>"), (Tokens{1, 266}));
  EXPECT_EQ(tokenizer.decode(Tokens{1, 266}), "<tool>");
}

}  // namespace
}  // namespace rapt::test
