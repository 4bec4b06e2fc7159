#include "model/tokenizer/character_map.h"

#include "model/tokenizer/unicode.h"
#include "model/utf8.h"

namespace rapt {
namespace {

constexpr std::size_t kMostClusterBytes = 5;  // of what is mapped as a whole

// A unit of the array. A node's is at its place in the array; what a byte leads to is at
// place ^ offset ^ byte, and the number of a node that has one at place ^ offset.
bool is_number(std::uint32_t unit) { return unit >> 31 != 0; }
std::uint32_t number(std::uint32_t unit) { return unit & 0x7FFF'FFFF; }
bool has_number(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t label(std::uint32_t unit) { return unit & 0x8000'00FF; }
std::size_t offset(std::uint32_t unit) { return std::size_t{unit >> 10} << (unit >> 6 & 8); }

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

/// The bytes of a base64 text (RFC 4648, 4), or nothing where it is none.
std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  for (int n = 0; n < 2 && text.ends_with('='); ++n) text.remove_suffix(1);
  std::string bytes;
  std::uint32_t bits = 0;
  for (std::size_t n = 0; n < text.size(); ++n) {
    const int digit = base64_digit(text[n]);
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    if (n % 4 != 0) bytes += static_cast<char>(bits >> (6 - 2 * (n % 4)));
  }
  return bytes;
}

std::uint32_t little_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t n = 4; n-- > 0;) value = value << 8 | static_cast<std::uint8_t>(bytes[n]);
  return value;
}

bool begins_character(std::string_view text, std::size_t n) {
  return n < text.size() && (static_cast<std::uint8_t>(text[n]) & 0xC0) != 0x80;
}

}  // namespace

CharacterMap CharacterMap::parse(const JsonField& field) {
  if (field.is_null()) return {};
  const std::optional<std::string> bytes = from_base64(field.string());
  if (!bytes || bytes->size() < 4) field.fail("base64 of a character map");
  const std::size_t array_bytes = little_endian(*bytes);
  if (array_bytes % 4 != 0 || array_bytes > bytes->size() - 4)
    field.fail("a character map with its array whole");
  CharacterMap map;
  for (std::size_t n = 4; n < 4 + array_bytes; n += 4)
    map.units_.push_back(little_endian(std::string_view(*bytes).substr(n)));
  map.texts_ = bytes->substr(4 + array_bytes);
  if (utf8_valid_bytes(map.texts_) != map.texts_.size()) field.fail("a character map to UTF-8");
  for (std::size_t n = 0; n < map.units_.size(); ++n) {
    const std::uint32_t unit = map.units_[n];
    if (is_number(unit) || !has_number(unit)) continue;
    const std::size_t place = n ^ offset(unit);
    if (place >= map.units_.size() || !begins_character(map.texts_, number(map.units_[place])))
      field.fail("a character map whose numbers are places of its texts");
  }
  return map;
}

std::optional<std::string_view> CharacterMap::mapped(std::string_view text) const {
  std::size_t place = 0;
  for (const char c : text) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (place >= units_.size() || byte == 0) break;
    place ^= offset(units_[place]) ^ byte;
    if (place >= units_.size() || label(units_[place]) != byte) break;
    if (!has_number(units_[place])) continue;
    const std::size_t begin = number(units_[place ^ offset(units_[place])]);
    return std::string_view(texts_).substr(begin, texts_.find('\0', begin) - begin);
  }
  return std::nullopt;
}

std::string CharacterMap::operator()(std::string_view text) const {
  std::string result;
  for (std::string_view cluster : grapheme_clusters(text)) {
    if (cluster.size() <= kMostClusterBytes) {
      if (const auto whole = mapped(cluster)) {
        result += *whole;
        continue;
      }
    }
    while (!cluster.empty()) {
      const std::string_view character = cluster.substr(0, first_utf8(cluster).bytes);
      cluster.remove_prefix(character.size());
      result += mapped(character).value_or(character);
    }
  }
  return result;
}

}  // namespace rapt
