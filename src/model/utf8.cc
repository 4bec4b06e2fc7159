#include "model/utf8.h"

#include <algorithm>
#include <cstdint>

namespace rapt {
namespace {

/// Lead bytes of one form (RFC 3629, 4): how many bytes the character has, and which second bytes.
struct Form {
  std::uint8_t first, last;
  std::size_t bytes;
  std::uint8_t second_low, second_high;
};

constexpr Form kForms[] = {
    {0x00, 0x7F, 1, 0x80, 0xBF}, {0xC2, 0xDF, 2, 0x80, 0xBF}, {0xE0, 0xE0, 3, 0xA0, 0xBF},
    {0xE1, 0xEC, 3, 0x80, 0xBF}, {0xED, 0xED, 3, 0x80, 0x9F}, {0xEE, 0xEF, 3, 0x80, 0xBF},
    {0xF0, 0xF0, 4, 0x90, 0xBF}, {0xF1, 0xF3, 4, 0x80, 0xBF}, {0xF4, 0xF4, 4, 0x80, 0x8F},
};

}  // namespace

Utf8Piece first_utf8(std::string_view text) noexcept {
  const auto byte = [&](std::size_t n) { return static_cast<std::uint8_t>(text[n]); };
  for (const Form& form : kForms) {
    if (byte(0) < form.first || byte(0) > form.last) continue;
    const std::size_t present = std::min(form.bytes, text.size());
    for (std::size_t n = 1; n < present; ++n) {
      const std::uint8_t low = n == 1 ? form.second_low : 0x80;
      const std::uint8_t high = n == 1 ? form.second_high : 0xBF;
      if (byte(n) < low || byte(n) > high) return {Utf8::kInvalid, n};
    }
    return {present == form.bytes ? Utf8::kCharacter : Utf8::kPrefix, present};
  }
  return {Utf8::kInvalid, 1};
}

std::size_t utf8_valid_bytes(std::string_view text) noexcept {
  std::size_t offset = 0;
  while (offset < text.size()) {
    const Utf8Piece piece = first_utf8(text.substr(offset));
    if (piece.kind != Utf8::kCharacter) break;
    offset += piece.bytes;
  }
  return offset;
}

char32_t code_point(std::string_view character) noexcept {
  const auto byte = [&](std::size_t n) { return static_cast<std::uint8_t>(character[n]); };
  if (character.size() == 1) return byte(0);
  char32_t result = byte(0) & (0xFFu >> (character.size() + 1));
  for (std::size_t n = 1; n < character.size(); ++n) result = result << 6 | (byte(n) & 0x3Fu);
  return result;
}

void append_utf8(char32_t code_point, std::string& text) {
  const auto add = [&](char32_t byte) { text += static_cast<char>(byte); };
  const auto add_trail = [&](int shift) { add(0x80 | (code_point >> shift & 0x3F)); };
  if (code_point < 0x80) return add(code_point);
  if (code_point < 0x800) {
    add(0xC0 | code_point >> 6);
  } else if (code_point < 0x10000) {
    add(0xE0 | code_point >> 12);
    add_trail(6);
  } else {
    add(0xF0 | code_point >> 18);
    add_trail(12);
    add_trail(6);
  }
  add_trail(0);
}

}  // namespace rapt
