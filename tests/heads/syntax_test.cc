// Sentence starts and brackets of texts, as `rapt heads` takes them.
#include "cli/syntax.h"

#include <gtest/gtest.h>

#include <string>

namespace rapt::cli {
namespace {

class SyntaxOfText : public testing::Test {
 protected:
  /// The pieces of tokens that start a sentence.
  std::vector<std::string> starts(const std::string& text) {
    read(text);
    std::vector<std::string> found;
    for (std::size_t t = 0; t < pieces_.size(); ++t)
      if (syntax_.sentence_starts[t] != 0) found.push_back(pieces_[t]);
    return found;
  }

  /// For each closing token that has a link, the two pieces.
  std::vector<std::string> pairs(const std::string& text) {
    read(text);
    std::vector<std::string> found;
    for (std::size_t t = 0; t < pieces_.size(); ++t)
      if (syntax_.brackets[t] >= 0)
        found.push_back(pieces_[static_cast<std::size_t>(syntax_.brackets[t])] + pieces_[t]);
    return found;
  }

 private:
  void read(const std::string& text) {
    const auto tokens = tokenizer_.encode(text, false);
    syntax_ = syntax_of(tokenizer_, tokens);
    pieces_.clear();
    for (const std::int32_t token : tokens) pieces_.push_back(tokenizer_.decode({&token, 1}));
    ASSERT_EQ(syntax_.sentence_starts.size(), tokens.size());
    ASSERT_EQ(syntax_.brackets.size(), tokens.size());
  }

  const Tokenizer tokenizer_ = Tokenizer::load(RAPT_MODELS_DIR "/default");
  std::vector<std::string> pieces_;
  Syntax syntax_;
};

using Pieces = std::vector<std::string>;

TEST_F(SyntaxOfText, SentencesStartAfterTheirEnds) {
  EXPECT_EQ(starts("The dog was big. He ran! Who saw it? They did"),
            (Pieces{"The", " He", " Who", " They"}));
  EXPECT_EQ(starts("the dog, the king; and the man"), Pieces{"the"});
  EXPECT_EQ(starts("The end.\n\n The king"), (Pieces{"The", " The"}));
}

TEST_F(SyntaxOfText, ClosingBracketsAreLinkedToTheirOpeningOnes) {
  EXPECT_EQ(pairs("a ( b ) c"), Pieces{" ()"});
  EXPECT_EQ(pairs("a ( b [ c ] d ) e"), (Pieces{"[]", " ()"}));
  EXPECT_TRUE(pairs("a ) b ( c ] d").empty());
  EXPECT_TRUE(pairs("no brackets here").empty());
}

}  // namespace
}  // namespace rapt::cli
