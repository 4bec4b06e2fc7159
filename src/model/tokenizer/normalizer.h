#pragma once

#include <string>
#include <variant>
#include <vector>

#include "model/json.h"
#include "model/tokenizer/regex.h"
#include "model/tokenizer/unicode.h"

namespace rapt {

/// Every match of `pattern` becomes `content`.
struct Replace {
  Regex pattern;
  std::string content;

  /// @throws Error{kBadFile, kUnsupported} naming the field.
  static Replace parse(const JsonField& field);

  std::string operator()(const std::string& text) const;
};

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
  /// @throws Error{kUnsupported} as Regex::matches.
  std::string operator()(std::string text) const;

 private:
  struct Prepend {
    std::string content;
  };
  struct LowerCase {};
  struct Strip {
    bool left, right;
  };
  using Step = std::variant<UnicodeForm, LowerCase, Prepend, Replace, Strip>;

  static Step parse_step(const JsonField& field);
  static std::string apply(UnicodeForm form, const std::string& text);
  static std::string apply(LowerCase, const std::string& text);
  static std::string apply(const Prepend& prepend, const std::string& text);
  static std::string apply(const Replace& replace, const std::string& text);
  static std::string apply(Strip strip, const std::string& text);

  std::vector<Step> steps_;
};

}  // namespace rapt
