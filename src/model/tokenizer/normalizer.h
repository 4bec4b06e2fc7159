#pragma once

#include <string>
#include <variant>
#include <vector>

#include "model/json.h"
#include "model/tokenizer/character_map.h"
#include "model/tokenizer/regex.h"
#include "model/tokenizer/unicode.h"

namespace rapt {

/// Every match of `pattern` becomes `content`.
struct Replace {
  Regex pattern;
  std::string content;
  std::string where;  ///< names it in errors

  /// @throws Error{kBadFile, kUnsupported} naming the field.
  static Replace parse(const JsonField& field);

  /// @throws Error{kUnsupported} if the text grows beyond all measure, or as Regex::matches.
  std::string operator()(const std::string& text) const;
};

/// A few lines of a file could double a text again and again. No form of normalisation makes one 64
/// times as long.
/// @throws Error{kUnsupported} that begins with `where` if the text has grown beyond that.
void require_growth(std::size_t from_bytes, std::size_t to_bytes, const std::string& where);

/// A pattern as {"String": ...} or {"Regex": ...}.
/// @throws Error{kBadFile, kUnsupported} naming the field.
Regex parse_pattern(const JsonField& field);

/// What happens to a text before it is cut into words: steps, one after the other.
class Normalizer {
 public:
  /// null, a normalizer, or a Sequence of them.
  /// @throws Error{kBadFile, kUnsupported} naming the field.
  static Normalizer parse(const JsonField& field);

  /// @pre    `text` is UTF-8.
  /// @throws Error{kUnsupported} as Replace.
  std::string operator()(std::string text) const;

 private:
  struct Prepend {
    std::string content;
  };
  struct LowerCase {};
  struct Strip {
    bool left, right;
  };
  using Step = std::variant<UnicodeForm, LowerCase, Prepend, Replace, Strip, CharacterMap>;

  static Step parse_step(const JsonField& field);
  static std::string apply(UnicodeForm form, const std::string& text);
  static std::string apply(LowerCase, const std::string& text);
  static std::string apply(const Prepend& prepend, const std::string& text);
  static std::string apply(const Replace& replace, const std::string& text);
  static std::string apply(Strip strip, const std::string& text);
  static std::string apply(const CharacterMap& map, const std::string& text);

  std::vector<Step> steps_;
  std::string where_;
};

}  // namespace rapt
