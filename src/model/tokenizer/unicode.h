#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rapt {

/// Normalisation forms.
/// @source Unicode Standard Annex 15
enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

/// `text`, which is UTF-8, in a normalisation form.
/// @throws Error{kBadArgument} beyond 2^31 - 1 bytes, which ICU cannot count.
std::string unicode_normalized(UnicodeForm form, std::string_view text);

/// Each character in lower case, whatever is around it: a final sigma is no special case.
std::string lower_case(std::string_view text);

/// `text`, which is UTF-8, cut into what a reader takes for characters.
/// @throws Error{kBadArgument} beyond 2^31 - 1 bytes, which ICU cannot count.
/// @source Unicode Standard Annex 29, extended grapheme clusters
std::vector<std::string_view> grapheme_clusters(std::string_view text);

/// Bytes of the White_Space characters that a text begins or ends with.
std::size_t leading_space_bytes(std::string_view text);
std::size_t trailing_space_bytes(std::string_view text);

/// Whether a text begins or ends with a character of a word: a letter, mark, decimal digit,
/// connector or joiner.
/// @source Unicode Technical Standard 18, Annex C, word
bool begins_with_word(std::string_view text);
bool ends_with_word(std::string_view text);

}  // namespace rapt
