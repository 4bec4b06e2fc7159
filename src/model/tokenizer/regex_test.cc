#include "model/tokenizer/regex.h"

#include <gtest/gtest.h>

#include "model/tokenizer/oniguruma.h"
#include "rapt/error.h"

namespace rapt::test {
namespace {

std::string translated(const std::string& pattern) { return pcre2_pattern(pattern, "p"); }

TEST(Oniguruma, WhatBothReadAlikeStays) {
  for (const std::string pattern :
       {R"((?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}|x{2,}y{3}|\d++$)",
        R"( ?[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]+(?=a)(?!b)(?<=c)(?<!d)(?>e)(?:f)(g))",
        R"((?i)a\x{41}\x41\.\(x{2,}?y{2,3}?)"})
    EXPECT_EQ(translated(pattern), pattern);
}

TEST(Oniguruma, WhatTheyReadDifferentlyIsRewritten) {
  EXPECT_EQ(translated(R"(\s+(?!\S)|[^\s\S])"),
            R"(\p{White_Space}+(?!\P{White_Space})|[^\p{White_Space}\P{White_Space}])");
  const std::string word = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
  EXPECT_EQ(translated(R"(\w\W[\w])"), "[" + word + "][^" + word + "][" + word + "]");
  EXPECT_EQ(translated(R"(\p{Han}[\P{Latin}])"), R"(\p{sc:Han}[\P{sc:Latin}])");
  EXPECT_EQ(translated(R"({|a{b}{ 1}{1, 2}{,}[{]{1,,2}{)"),
            R"(\{|a\{b}\{ 1}\{1, 2}\{,}[{]\{1,,2}\{)");
  EXPECT_EQ(translated("[a[b[c]]d][^(|[.,]){}]"), "[abcd][^(|.,){}]");
  EXPECT_EQ(translated(R"(\h[\h]\v\u00e9)"), R"([0-9A-Fa-f][0-9A-Fa-f]\x{B}\x{00e9})");
}

TEST(Oniguruma, WhatTheyReadDifferentlyOtherwiseIsRefused) {
  for (const std::string pattern :
       {R"(\b)",    R"(\1)",   R"(\k<a>)",    R"(\K)",     R"(\R)",    R"([\W])", R"([\b])",
        "[a[^b]]",  "[a&&b]",  "[[:alpha:]]", "[]a]",      "[^]a]",    "[a",      "(?m:.)",
        "(?s).",    "a(?i)b",  "(?<name>a)",  "(?#a)",     "(?R)",     "(*FAIL)", "a{2}+",
        "a{,2}",    "\\",      R"(\pL)",      R"(\p{^L})", R"(\p{L)",  R"(\xE9)", R"(\x{})",
        R"(\x{41)", R"(\u12)", "a{2}?",       "a{2,2}?",   "a{2,02}?", "[a[]b]]", "[a-[b]]",
        "[[a]-b]",  "[a[-b]]", "[a[b-]c]",    "[a[b]"})
    EXPECT_THROW(translated(pattern), Error) << pattern;
}

TEST(Regex, EmptyMatchesAreFoundOnceAndNotAfterAMatch) {
  std::string marked = "abé";
  std::size_t shift = 0;
  for (const TextSpan match : Regex::pattern("b|", "p").matches("abé")) {
    marked.insert(match.begin + shift, "|");
    marked.insert(match.end + shift + 1, "|");
    shift += 2;
  }
  EXPECT_EQ(marked, "||a|b|é||");
}

TEST(Regex, LinesBeginAndEndAtLineFeeds) {
  EXPECT_EQ(Regex::pattern("^.+$", "p").matches("a\r\nb\nc").size(), 3u);
}

TEST(Regex, HostilePatternsEndInAnError) {
  const std::string text = std::string(200, 'a') + "c";
  for (const std::string pattern : {"(a+)+$", "(?:(?:a|aa)+)+[bd]", "(.*)(.*)(.*)(.*)(.*)(.*)[bd]"})
    EXPECT_THROW(Regex::pattern(pattern, "p").matches(text), Error) << pattern;
  EXPECT_THROW(Regex::pattern(std::string(1000, '(') + std::string(1000, ')'), "p"), Error);
  EXPECT_THROW(Regex::pattern("(?:(?:a{1000}){1000}){1000}", "p"), Error);
  EXPECT_THROW(Regex::pattern(std::string(100'000, 'a'), "p"), Error);
  EXPECT_THROW(Regex::pattern("a)", "p"), Error);
}

TEST(Regex, DeepMatchesOfLongTextsDoNotOverflowTheStack) {
  const std::string text(100'000, 'a');
  EXPECT_EQ(Regex::pattern("(?:a|b)+", "p").matches(text).size(), 1u);
}

TEST(Regex, LongRunsOfSpacesAreMatched) {
  const std::string text(3'000'000, ' ');
  const Regex pattern = Regex::pattern(R"(\s*[\r\n]+|\s+(?!\S)|\s+)", "p");
  EXPECT_EQ(pattern.matches(text).size(), 1u);
  EXPECT_EQ(pattern.matches(text + "a").size(), 2u);
}

}  // namespace
}  // namespace rapt::test
