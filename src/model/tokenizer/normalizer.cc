#include "model/tokenizer/normalizer.h"

#include <utility>

#include "base/check.h"
#include "model/tokenizer/parts.h"

namespace rapt {

void require_growth(std::size_t from_bytes, std::size_t to_bytes, const std::string& where) {
  require(to_bytes <= 64 * from_bytes + 256, ErrorCode::kUnsupported, where,
          "a text that grows at most 64 times", std::to_string(to_bytes) + " bytes and more");
}

Regex parse_pattern(const JsonField& field) {
  field.serve_only(field.has("String") != field.has("Regex"), "a pattern of type String or Regex");
  const JsonField pattern = field[field.has("String") ? "String" : "Regex"];
  const std::string& text = pattern.string();
  if (text.empty()) pattern.fail("a pattern that is not empty");
  return field.has("String") ? Regex::literal(text, pattern.where())
                             : Regex::pattern(text, pattern.where());
}

Replace Replace::parse(const JsonField& field) {
  return {parse_pattern(field["pattern"]), field["content"].string(), field.where()};
}

std::string Replace::operator()(const std::string& text) const {
  std::string result;
  std::size_t done = 0;
  for (const TextSpan match : pattern.matches(text)) {
    result.append(text, done, match.begin - done).append(content);
    require_growth(text.size(), result.size(), where);
    done = match.end;
  }
  return result.append(text, done);
}

Normalizer Normalizer::parse(const JsonField& field) {
  Normalizer normalizer;
  normalizer.where_ = field.where();
  for (const JsonField& step : sequence(field, "normalizers"))
    normalizer.steps_.push_back(parse_step(step));
  return normalizer;
}

Normalizer::Step Normalizer::parse_step(const JsonField& field) {
  const std::string& type = type_of(field);
  if (type == "NFC") return UnicodeForm::kNfc;
  if (type == "NFD") return UnicodeForm::kNfd;
  if (type == "NFKC") return UnicodeForm::kNfkc;
  if (type == "NFKD") return UnicodeForm::kNfkd;
  if (type == "Lowercase") return LowerCase{};
  if (type == "Prepend") return Prepend{field["prepend"].string()};
  if (type == "Replace") return Replace::parse(field);
  if (type == "Strip") return Strip{field["strip_left"].boolean(), field["strip_right"].boolean()};
  if (type == "Precompiled") return CharacterMap::parse(field["precompiled_charsmap"]);
  field["type"].fail(
      "NFC, NFD, NFKC, NFKD, Lowercase, Precompiled, Prepend, Replace, Strip or a Sequence of them",
      ErrorCode::kUnsupported);
}

std::string Normalizer::operator()(std::string text) const {
  const std::size_t bytes = text.size();
  for (const Step& step : steps_) {
    text = std::visit([&](const auto& typed) { return apply(typed, text); }, step);
    require_growth(bytes, text.size(), where_);
  }
  return text;
}

std::string Normalizer::apply(UnicodeForm form, const std::string& text) {
  return unicode_normalized(form, text);
}

std::string Normalizer::apply(LowerCase, const std::string& text) { return lower_case(text); }

std::string Normalizer::apply(const Prepend& prepend, const std::string& text) {
  return text.empty() ? text : prepend.content + text;
}

std::string Normalizer::apply(const Replace& replace, const std::string& text) {
  return replace(text);
}

std::string Normalizer::apply(Strip strip, const std::string& text) {
  const std::size_t begin = strip.left ? leading_space_bytes(text) : 0;
  const std::string rest = text.substr(begin);
  return rest.substr(0, rest.size() - (strip.right ? trailing_space_bytes(rest) : 0));
}

std::string Normalizer::apply(const CharacterMap& map, const std::string& text) {
  return map(text);
}

}  // namespace rapt
