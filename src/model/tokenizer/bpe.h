#pragma once

#include <array>
#include <cstdint>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace rapt {

/// Lets a map of strings be asked for a part of a text without a copy.
struct TextHash : std::hash<std::string_view> {
  using is_transparent = void;
};

class BpeEncoder;

/// Byte-pair encoding: a word starts as one token a character; then, again and again, the adjacent
/// pair of lowest rank becomes one token, the leftmost among equals.
///
/// A character that is no token becomes the tokens of its bytes, if those are there, else
/// `unknown`, else nothing.
///
/// @source arXiv:1508.07909; byte fallback as in SentencePiece, arXiv:1808.06226
class BytePairEncoding {
 public:
  using Encoder = BpeEncoder;
  static constexpr std::int32_t kNone = -1;

  struct Merge {
    std::int32_t rank;
    std::int32_t token;  ///< what the pair becomes
  };

  std::array<std::int32_t, 256> byte_tokens;  ///< kNone where a byte has none
  std::int32_t unknown = kNone;
  bool fuse_unknown = false;  ///< unknown characters in a row are one `unknown`
  bool whole_words = false;   ///< a word that is a token is that token, whatever the merges

  BytePairEncoding() { byte_tokens.fill(kNone); }

  void add_token(const std::string& text, std::int32_t token);

  /// Whether the pair had no merge.
  bool add_merge(std::int32_t left, std::int32_t right, Merge merge) {
    return merges_.emplace(pair_key(left, right), merge).second;
  }

  /// The token of this text, or kNone.
  std::int32_t token_of(std::string_view text) const;

  /// The merge of a pair, or null.
  const Merge* merge_of(std::int32_t left, std::int32_t right) const;

 private:
  static std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
  }

  std::unordered_map<std::string, std::int32_t, TextHash, std::equal_to<>> vocabulary_;
  std::unordered_map<std::uint64_t, Merge> merges_;  // by pair_key
};

/// Encodes words, one after the other; keeps its memory from word to word.
class BpeEncoder {
 public:
  explicit BpeEncoder(const BytePairEncoding& bpe) : bpe_(bpe) {}

  /// Appends the tokens of `word`, which is UTF-8.
  /// @cost O(n log n) in the length of the word.
  void encode(std::string_view word, std::vector<std::int32_t>& tokens);

 private:
  static constexpr std::int64_t kNone = -1;

  /// A token of the word so far, in a doubly linked list: merging takes the right one of a pair
  /// away.
  struct Symbol {
    std::int32_t token;
    std::int64_t previous, next;
    bool alive = true;
  };

  /// A pair that may be merged, unless one of its tokens has changed since.
  struct Candidate {
    std::int32_t rank;
    std::int64_t left;  // index of the left symbol
    std::int32_t left_token, right_token, merged;

    bool operator<(const Candidate& other) const {  // the queue's top is the greatest
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };

  /// Where the tokens of a word are in `known_tokens_`.
  struct Known {
    std::size_t begin, size;
  };
  static constexpr std::size_t kKnownWordBytes = 64, kKnownWords = std::size_t{1} << 16;

  void merge_word(std::string_view word, std::vector<std::int32_t>& tokens);
  void add_characters(std::string_view word);
  bool add_bytes(std::string_view character);
  void add(std::int32_t token);
  void consider(std::int64_t left);
  bool still_holds(const Candidate& candidate) const;
  void merge(const Candidate& candidate);

  const BytePairEncoding& bpe_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> queue_;
  // Words of a text repeat: short ones are encoded once.
  std::unordered_map<std::string, Known, TextHash, std::equal_to<>> known_words_;
  std::vector<std::int32_t> known_tokens_;
};

}  // namespace rapt
