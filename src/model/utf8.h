#pragma once

#include <cstddef>
#include <string_view>

namespace rapt {

/// What the bytes at the beginning of a text are.
enum class Utf8 {
  kCharacter,  ///< one whole character
  kPrefix,     ///< a proper prefix of a character, and nothing after it
  kInvalid,    ///< a byte that begins no character
};

struct Utf8Piece {
  Utf8 kind;
  std::size_t bytes;  ///< of the character or prefix; 1 where invalid
};

/// The first piece of a text that is not empty. Overlong forms, surrogates and what lies beyond
/// U+10FFFF are no characters.
/// @source RFC 3629
Utf8Piece first_utf8(std::string_view text) noexcept;

/// Offset of the first byte that is not part of a character; text.size() if there is none.
std::size_t utf8_valid_bytes(std::string_view text) noexcept;

}  // namespace rapt
