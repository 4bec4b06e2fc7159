#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rapt {

/// A part of a text, in bytes.
struct TextSpan {
  std::size_t begin, end;
};

/// A compiled pattern over UTF-8. Immutable and cheap to copy.
class Regex {
 public:
  /// A pattern in Oniguruma's syntax; `where` names it in errors.
  /// @throws Error{kUnsupported} if PCRE2 does not take it.
  static Regex pattern(std::string_view pattern, const std::string& where);

  /// The text itself, with nothing special in it.
  static Regex literal(std::string_view text, const std::string& where);

  /// The matches from left to right. An empty match is none where the match before it ended.
  ///
  /// @pre    `text` is UTF-8.
  /// @throws Error{kUnsupported} if a match takes more steps or memory than any sane pattern does.
  std::vector<TextSpan> matches(std::string_view text) const;

 private:
  struct Compiled;
  static Regex compile(const std::string& pattern, unsigned options, const std::string& where);

  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace rapt
