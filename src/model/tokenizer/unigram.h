#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/byte_trie.h"

namespace rapt {

class UnigramEncoder;

/// The unigram language model: of all ways to cut a word into tokens, the one whose scores have the
/// greatest sum; of equal ones, that with the longest last token, and so on towards the front.
///
/// A character that is no token counts as `unknown`, with a score 10 below the least one. Unknown
/// characters in a row become the tokens of their bytes, if all of those are there, else one
/// `unknown`.
///
/// @source arXiv:1804.10959; byte fallback as in SentencePiece, arXiv:1808.06226
class Unigram {
 public:
  using Encoder = UnigramEncoder;
  static constexpr std::int32_t kNone = ByteTrie::kNone;

  std::array<std::int32_t, 256> byte_tokens;  ///< kNone where a byte has none
  std::int32_t unknown = kNone;

  Unigram() { byte_tokens.fill(kNone); }

  /// The next token, from 0 on. Of two tokens of the same text the later one counts.
  void add_token(std::string_view text, double score);

  /// The token of this text, or kNone.
  std::int32_t token_of(std::string_view text) const;

  double score(std::int32_t token) const { return scores_[token]; }
  double unknown_score() const { return least_score_ - kUnknownPenalty; }
  const ByteTrie& tokens() const { return tokens_; }

 private:
  static constexpr double kUnknownPenalty = 10;

  ByteTrie tokens_;
  std::vector<double> scores_;  // by token
  double least_score_ = 0;
};

/// Encodes words, one after the other; keeps its memory from word to word.
class UnigramEncoder {
 public:
  explicit UnigramEncoder(const Unigram& unigram) : unigram_(unigram) {}

  /// Appends the tokens of `word`, which is UTF-8.
  /// @cost O(length of the word times that of the longest token).
  void encode(std::string_view word, std::vector<std::int32_t>& tokens);

 private:
  static constexpr std::size_t kNowhere = -1;

  /// The best way to cut what is before a place: its score, and its last token.
  struct Best {
    double score = 0;
    std::size_t begin = kNowhere;
    std::int32_t token = Unigram::kNone;
  };

  void find_best(std::string_view word);
  void add_unknown(std::string_view text, std::vector<std::int32_t>& tokens) const;

  const Unigram& unigram_;
  std::vector<Best> best_;        // by place in the word, 0 to its size
  std::vector<std::size_t> cut_;  // places where its tokens end, from the last to the first
};

}  // namespace rapt
