#include "cli/syntax.h"

#include <algorithm>
#include <span>
#include <sstream>
#include <string>
#include <utility>

#include "base/check.h"
#include "model/json.h"
#include "model/mapped_file.h"

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

/// The numbers of a list, one for each token of a text.
template <class T>
std::vector<T> numbers_of(const JsonField& list, std::int64_t low, std::int64_t high,
                          const Text& text) {
  const std::size_t count = list.array_size();
  require(count == text.tokens.size(), ErrorCode::kBadFile, list.where(),
          std::to_string(text.tokens.size()) + " numbers, the tokens of " + text.file, count);
  std::vector<T> numbers;
  for (std::size_t n = 0; n < count; ++n)
    numbers.push_back(static_cast<T>(list.at(n).integer(low, high)));
  return numbers;
}

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

void read_marks(const std::string& marks, const std::vector<Text>& texts,
                std::vector<Syntax>& syntax) {
  std::istringstream lines(read_text(marks));
  std::string line;
  for (std::int64_t n = 1; std::getline(lines, line); ++n) {
    const std::string where = marks + " line " + std::to_string(n);
    const nlohmann::json object = parse_json(line, where);
    const JsonField fields(object, where);
    const std::string& file = fields["file"].string();
    const auto text = std::ranges::find(texts, file, &Text::file);
    require(text != texts.end(), ErrorCode::kBadFile, where + " file", "one of the texts", file);
    Syntax& of_text = syntax[text - texts.begin()];
    if (fields.has("token_class"))
      of_text.sentence_starts = numbers_of<std::uint8_t>(fields["token_class"], 0, 1, *text);
    if (fields.has("links"))
      of_text.brackets =
          numbers_of<std::int64_t>(fields["links"], -1, std::ssize(text->tokens) - 1, *text);
  }
}

}  // namespace rapt::cli
