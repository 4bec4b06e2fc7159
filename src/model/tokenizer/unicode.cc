#include "model/tokenizer/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>

#include <cstdint>
#include <limits>
#include <memory>

#include "base/check.h"
#include "model/utf8.h"

namespace rapt {
namespace {

constexpr UChar32 kCapitalDottedI = 0x130;

const icu::Normalizer2& normalizer(UnicodeForm form) {
  UErrorCode status = U_ZERO_ERROR;
  const bool canonical = form == UnicodeForm::kNfc || form == UnicodeForm::kNfd;
  const bool composed = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  const icu::Normalizer2* found = icu::Normalizer2::getInstance(
      nullptr, canonical ? "nfc" : "nfkc", composed ? UNORM2_COMPOSE : UNORM2_DECOMPOSE, status);
  require(U_SUCCESS(status), ErrorCode::kUnsupported, "ICU", "its normalisation data",
          u_errorName(status));
  return *found;
}

void require_countable(std::string_view text) {
  require(text.size() <= std::numeric_limits<std::int32_t>::max(), ErrorCode::kBadArgument, "text",
          "fewer than 2^31 bytes", text.size());
}

void require_success(UErrorCode status) {
  require(U_SUCCESS(status), ErrorCode::kBadArgument, "text", "text that ICU can read",
          u_errorName(status));
}

std::string_view first_character(std::string_view text) {
  return text.substr(0, first_utf8(text).bytes);
}

std::string_view last_character(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return text.substr(begin);
}

bool is_space(std::string_view character) {
  return u_isUWhiteSpace(static_cast<UChar32>(code_point(character)));
}

bool is_word(std::string_view character) {
  const auto c = static_cast<UChar32>(code_point(character));
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL) ||
         (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

}  // namespace

std::string unicode_normalized(UnicodeForm form, std::string_view text) {
  require_countable(text);
  std::string result;
  icu::StringByteSink<std::string> sink(&result);
  UErrorCode status = U_ZERO_ERROR;
  const icu::StringPiece piece(text.data(), static_cast<std::int32_t>(text.size()));
  normalizer(form).normalizeUTF8(0, piece, sink, nullptr, status);
  require_success(status);
  return result;
}

std::string lower_case(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::string_view character = first_character(text);
    text.remove_prefix(character.size());
    const auto c = static_cast<UChar32>(code_point(character));
    // The only character whose lower case is two: i and the dot above.
    if (c == kCapitalDottedI)
      result += "i\u0307";
    else
      append_utf8(static_cast<char32_t>(u_tolower(c)), result);
  }
  return result;
}

std::vector<std::string_view> grapheme_clusters(std::string_view text) {
  require_countable(text);
  UErrorCode status = U_ZERO_ERROR;
  UText utext = UTEXT_INITIALIZER;
  utext_openUTF8(&utext, text.data(), std::ssize(text), &status);
  const std::unique_ptr<UText, decltype(&utext_close)> open_text(&utext, utext_close);
  const std::unique_ptr<UBreakIterator, decltype(&ubrk_close)> breaks(
      ubrk_open(UBRK_CHARACTER, "", nullptr, 0, &status), ubrk_close);
  ubrk_setUText(breaks.get(), &utext, &status);
  require_success(status);
  std::vector<std::string_view> clusters;
  std::size_t begin = 0;
  for (std::int32_t end; (end = ubrk_next(breaks.get())) != UBRK_DONE;) {
    clusters.push_back(text.substr(begin, static_cast<std::size_t>(end) - begin));
    begin = static_cast<std::size_t>(end);
  }
  return clusters;
}

std::size_t leading_space_bytes(std::string_view text) {
  std::string_view rest = text;
  while (!rest.empty() && is_space(first_character(rest)))
    rest.remove_prefix(first_character(rest).size());
  return text.size() - rest.size();
}

std::size_t trailing_space_bytes(std::string_view text) {
  std::string_view rest = text;
  while (!rest.empty() && is_space(last_character(rest)))
    rest.remove_suffix(last_character(rest).size());
  return text.size() - rest.size();
}

bool begins_with_word(std::string_view text) {
  return !text.empty() && is_word(first_character(text));
}

bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word(last_character(text));
}

}  // namespace rapt
