#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace rapt {

/// Byte-pair encoding with byte fallback: a text starts as one token a character, or one a byte
/// where the character is no token; then, again and again, the adjacent pair of lowest rank becomes
/// one token, the leftmost among equals.
///
/// @source arXiv:1508.07909; byte fallback as in SentencePiece, arXiv:1808.06226
struct BytePairEncoding {
  struct Merge {
    std::int32_t rank;
    std::int32_t token;  ///< what the pair becomes
  };

  std::unordered_map<std::string, std::int32_t> vocabulary;
  std::array<std::int32_t, 256> byte_tokens{};
  std::unordered_map<std::uint64_t, Merge> merges;  ///< by pair_key

  static std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
  }

  /// Appends the tokens of `text`, which is UTF-8.
  /// @cost O(n log n) in the length of the text.
  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const;
};

}  // namespace rapt
