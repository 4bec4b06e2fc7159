#include "model/tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "model/utf8.h"

namespace rapt {
namespace {

constexpr int kCharacters = 0x144;  // 0x100 + 68 bytes that are not printable

constexpr bool printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

constexpr std::array<std::uint16_t, 256> character_of_byte() {
  std::array<std::uint16_t, 256> characters{};
  std::uint16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte)
    characters[byte] = printable(byte) ? static_cast<std::uint16_t>(byte) : next++;
  return characters;
}

constexpr std::array<std::int16_t, kCharacters> byte_of_character() {
  std::array<std::int16_t, kCharacters> bytes{};
  for (std::int16_t& byte : bytes) byte = -1;
  for (int byte = 0; byte < 256; ++byte)
    bytes[character_of_byte()[byte]] = static_cast<std::int16_t>(byte);
  return bytes;
}

constexpr auto kCharacterOfByte = character_of_byte();
constexpr auto kByteOfCharacter = byte_of_character();
static_assert(kCharacterOfByte[0xAD] == kCharacters - 1);

}  // namespace

std::string to_byte_characters(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (const unsigned char byte : bytes) append_utf8(kCharacterOfByte[byte], text);
  return text;
}

std::string from_byte_characters(std::string_view text) {
  std::string bytes;
  for (std::size_t n = 0; n < text.size();) {
    const std::size_t size = first_utf8(text.substr(n)).bytes;
    const char32_t character = code_point(text.substr(n, size));
    if (character >= kCharacters || kByteOfCharacter[character] < 0) return std::string(text);
    bytes += static_cast<char>(kByteOfCharacter[character]);
    n += size;
  }
  return bytes;
}

}  // namespace rapt
