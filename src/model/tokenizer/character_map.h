#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/json.h"

namespace rapt {

/// What characters become before a SentencePiece model sees them: `precompiled_charsmap`, a trie of
/// texts as a double array, and what each of them becomes.
///
/// @source Aoe, An Efficient Digital Search Algorithm by Using a Double-Array Structure, IEEE TSE
///         15(9), 1989; the units' bits are darts-clone's
class CharacterMap {
 public:
  /// Reads the base64 text of a map: bytes of the array (uint32), its units (uint32 each), and the
  /// texts, each with a zero after it; all little endian. null is a map of nothing, as in files
  /// made for Transformers.js.
  /// @throws Error{kBadFile} naming the field.
  static CharacterMap parse(const JsonField& field);

  /// Maps each grapheme cluster of less than 6 bytes that begins with a text of the map, as a
  /// whole; of all others each character that does. Of several such texts the shortest counts.
  /// That is how the `tokenizers` library does it; SentencePiece maps the longest text.
  ///
  /// @pre    `text` is UTF-8.
  /// @throws Error{kBadArgument} as grapheme_clusters.
  std::string operator()(std::string_view text) const;

 private:
  /// What the shortest text of the map that `text` begins with becomes.
  std::optional<std::string_view> mapped(std::string_view text) const;

  std::vector<std::uint32_t> units_;
  std::string texts_;
};

}  // namespace rapt
