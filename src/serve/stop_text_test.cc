// Text up to a stop string, whatever tokens it falls into.
#include "serve/stop_text.h"

#include <gtest/gtest.h>

#include "model/model_test_files.h"

namespace rapt::test {
namespace {

Tokenizer tokenizer() { return Tokenizer::parse(small_tokenizer().dump()); }

/// The pieces of `text`'s tokens, byte by byte, joined by '|'; a final ! where it stopped.
std::string pieces(const std::string& text, const std::vector<std::string>& stops) {
  StopText stream(tokenizer(), std::vector<std::int32_t>{1, 260}, stops);
  std::string joined;
  for (const char byte : text) {
    joined += stream.push(3 + static_cast<unsigned char>(byte)) + "|";
    if (stream.stopped()) break;
  }
  joined += stream.finish();
  return joined + (stream.stopped() ? "!" : "");
}

TEST(StopText, HoldsBackWhatMayBecomeAStop) {
  EXPECT_EQ(pieces("hello", {}), "h|e|l|l|o|");
  EXPECT_EQ(pieces("hello", {"xyz"}), "h|e|l|l|o|");
  EXPECT_EQ(pieces("hello", {"llo"}), "h|e||||!");
  EXPECT_EQ(pieces("hello", {"llx"}), "h|e|||llo|");
  EXPECT_EQ(pieces("hel", {"llo"}), "h|e||l");
  EXPECT_EQ(pieces("aab", {"ab"}), "|a||!");
  EXPECT_EQ(pieces("ababac", {"abac"}), "|||ab|||!") << "a stop begins within what is held";
}

TEST(StopText, TheFirstStopOfTheTextEndsIt) {
  EXPECT_EQ(pieces("one two", {"wo", "ne"}), "o|||!");
  EXPECT_EQ(pieces("abc", {"bc", "abc"}), "|||!") << "the one that begins first";
}

TEST(StopText, StopsAreOfTheTextAndNotOfThePrompt) {
  EXPECT_EQ(pieces("b", {"ab"}), "b|");  // the prompt ends with a
}

TEST(StopText, CharactersAreWhole) {
  EXPECT_EQ(pieces("\xC3\xA9!", {"\xC3\xA9!"}), "|||!");
  EXPECT_EQ(pieces("x\xC3", {}), "x||\xEF\xBF\xBD");
  EXPECT_EQ(pieces("x\xC3", {"\xEF\xBF\xBD"}), "x||!") << "the end of the text is text too";
}

}  // namespace
}  // namespace rapt::test
