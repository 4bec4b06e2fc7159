#include "cli/syntax.h"

#include <span>
#include <string>
#include <utility>

namespace rapt::cli {
namespace {

constexpr const char* kSpaces = " \t\r\n";

bool has_words(const std::string& piece) {
  return piece.find_first_not_of(kSpaces) != std::string::npos;
}

bool ends_sentence(const std::string& piece) {
  const auto last = piece.find_last_not_of(" \t\r\n\"')]}");
  return last != std::string::npos && std::string(".!?").find(piece[last]) != std::string::npos;
}

bool only_closes(const std::string& piece) {
  return piece.find_first_not_of(" \t\r\n\"')]}") == std::string::npos;
}

/// Brackets that are open, with the tokens that they are in.
class OpenBrackets {
 public:
  /// Where the last bracket was opened that `piece` closes, or -1.
  std::int64_t take(const std::string& piece, std::int64_t token) {
    const std::string opening = "([{", closing = ")]}";
    std::int64_t link = -1;
    for (const char c : piece) {
      if (opening.find(c) != std::string::npos) open_.emplace_back(c, token);
      const auto kind = closing.find(c);
      if (kind == std::string::npos || open_.empty() || open_.back().first != opening[kind])
        continue;
      link = open_.back().second;
      open_.pop_back();
    }
    return link == token ? -1 : link;
  }

 private:
  std::vector<std::pair<char, std::int64_t>> open_;
};

}  // namespace

Syntax syntax_of(const Tokenizer& tokenizer, const std::vector<std::int32_t>& tokens) {
  Syntax syntax;
  OpenBrackets brackets;
  bool starts = true;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const std::string piece = tokenizer.decode(std::span(&tokens[t], 1));
    const bool start = starts && has_words(piece) && !(t > 0 && only_closes(piece));
    syntax.sentence_starts.push_back(start ? 1 : 0);
    syntax.brackets.push_back(brackets.take(piece, static_cast<std::int64_t>(t)));
    if (start) starts = false;
    if (ends_sentence(piece)) starts = true;
  }
  return syntax;
}

}  // namespace rapt::cli
