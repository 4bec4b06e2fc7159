#include "model/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/parts.h"
#include "model/utf8.h"

namespace rapt {
namespace {

// More than any file has. Cutting words and putting characters before the parts, a long list could
// make more words than fit into any memory.
constexpr std::size_t kMostParts = 16;

// Words with the space before them. @source GPT-2's encoder (Radford et al., 2019).
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// A stretch of a text: a match, or what is between matches.
struct Stretch {
  TextSpan span;
  bool delimits;
};

std::vector<Stretch> stretches(const Regex& pattern, bool inverted, std::string_view text) {
  std::vector<Stretch> all;
  std::size_t done = 0;
  for (const TextSpan match : pattern.matches(text)) {
    if (done != match.begin) all.push_back({{done, match.begin}, inverted});
    all.push_back({match, !inverted});
    done = match.end;
  }
  if (done != text.size()) all.push_back({{done, text.size()}, inverted});
  return all;
}

}  // namespace

std::vector<TextSpan> PreTokenizer::Cut::operator()(std::string_view text) const {
  std::vector<TextSpan> words;
  bool after_delimiter = false;
  for (const auto& [span, delimits] : stretches(pattern, inverted, text)) {
    const bool joins =
        !words.empty() && ((delimiter == kMergedWithPrevious && delimits && !after_delimiter) ||
                           (delimiter == kMergedWithNext && !delimits && after_delimiter) ||
                           (delimiter == kContiguous && delimits == after_delimiter));
    if (joins)
      words.back().end = span.end;
    else if (delimiter != kRemoved || !delimits)
      words.push_back(span);
    after_delimiter = delimits;
  }
  return words;
}

PreTokenizer PreTokenizer::parse(const JsonField& field) {
  PreTokenizer result;
  const std::vector<JsonField> parts = sequence(field, "pretokenizers");
  field.serve_only(parts.size() <= kMostParts, "at most 16 pre-tokenizers");
  for (const JsonField& part : parts) result.add(part);
  return result;
}

PreTokenizer::Cut::Delimiter PreTokenizer::parse_delimiter(const JsonField& field) {
  constexpr std::array<std::pair<const char*, Cut::Delimiter>, 5> kNames = {{
      {"Removed", Cut::kRemoved},
      {"Isolated", Cut::kIsolated},
      {"MergedWithPrevious", Cut::kMergedWithPrevious},
      {"MergedWithNext", Cut::kMergedWithNext},
      {"Contiguous", Cut::kContiguous},
  }};
  for (const auto& [name, delimiter] : kNames)
    if (field.string() == name) return delimiter;
  field.fail("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

void PreTokenizer::add(const JsonField& field) {
  const std::string& type = type_of(field);
  if (type == "ByteLevel") return add_byte_level(field);
  if (type == "Metaspace") return add_metaspace(field);
  if (type == "Split") {
    steps_.push_back(Cut{parse_pattern(field["pattern"]), parse_delimiter(field["behavior"]),
                         flag(field, "invert", false)});
  } else if (type == "WhitespaceSplit") {
    steps_.push_back(Cut{Regex::pattern("\\s", field.where()), Cut::kRemoved});
  } else if (type == "Digits") {
    const bool each = flag(field, "individual_digits", false);
    steps_.push_back(
        Cut{Regex::pattern("\\p{N}", field.where()), each ? Cut::kIsolated : Cut::kContiguous});
  } else {
    field["type"].fail("ByteLevel, Split, WhitespaceSplit, Digits, Metaspace or a Sequence of them",
                       ErrorCode::kUnsupported);
  }
}

void PreTokenizer::add_byte_level(const JsonField& field) {
  const bool is_first = std::none_of(steps_.begin(), steps_.end(), [](const Step& step) {
    return std::holds_alternative<Bytes>(step);
  });
  field["type"].serve_only(is_first, "one ByteLevel");  // each doubles what is not ASCII
  if (field["add_prefix_space"].boolean()) steps_.push_back(Prefix{" "});
  if (flag(field, "use_regex", true))
    steps_.push_back(Cut{Regex::pattern(kGpt2Pattern, field.where()), Cut::kIsolated});
  steps_.push_back(Bytes{});
}

void PreTokenizer::add_metaspace(const JsonField& field) {
  const JsonField replacement = field["replacement"];
  const std::string& space = replacement.string();
  if (space.empty() || first_utf8(space).bytes != space.size()) replacement.fail("one character");
  steps_.push_back(Replace{Regex::literal(" ", field.where()), space, field.where()});
  if (!metaspace_is_never(field))
    steps_.push_back(
        Prefix{space, field.has("prepend_scheme") && field["prepend_scheme"].string() == "first"});
  if (flag(field, "split", true))
    steps_.push_back(Cut{Regex::literal(space, field.where()), Cut::kMergedWithNext});
}

void PreTokenizer::run(std::size_t step, std::string_view text, bool at_start,
                       const Sink& sink) const {
  if (text.empty()) return;
  if (step == steps_.size()) return sink(text);
  const auto next = [&](std::string_view word, bool is_first) {
    run(step + 1, word, at_start && is_first, sink);
  };
  if (const auto* cut = std::get_if<Cut>(&steps_[step])) {
    for (const auto [begin, end] : (*cut)(text)) next(text.substr(begin, end - begin), begin == 0);
  } else if (const auto* prefix = std::get_if<Prefix>(&steps_[step])) {
    const bool put = !text.starts_with(prefix->prefix) && (at_start || !prefix->only_at_start);
    next(put ? prefix->prefix + std::string(text) : text, true);
  } else if (const auto* replace = std::get_if<Replace>(&steps_[step])) {
    next((*replace)(std::string(text)), true);
  } else {
    next(to_byte_characters(text), true);
  }
}

}  // namespace rapt
