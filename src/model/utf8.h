#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace rapt {

/// What the bytes at the beginning of a text are.
enum class Utf8 {
  kCharacter,  ///< one whole character
  kPrefix,     ///< a proper prefix of a character, and nothing after it
  kInvalid,    ///< bytes that begin no character
};

struct Utf8Piece {
  Utf8 kind;
  std::size_t bytes;  ///< where invalid: of the longest prefix of a character, at least 1
};

/// The first piece of a text that is not empty. Overlong forms, surrogates and what lies beyond
/// U+10FFFF are no characters.
/// @source RFC 3629; the Unicode Standard, 3.9, U+FFFD substitution of maximal subparts
Utf8Piece first_utf8(std::string_view text) noexcept;

/// Offset of the first byte that is not part of a character; text.size() if there is none.
std::size_t utf8_valid_bytes(std::string_view text) noexcept;

/// The code point of one whole character, and the reverse.
char32_t code_point(std::string_view character) noexcept;
void append_utf8(char32_t code_point, std::string& text);

}  // namespace rapt
