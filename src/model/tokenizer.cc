#include "rapt/tokenizer.h"

#include "base/check.h"
#include "model/mapped_file.h"
#include "model/tokenizer_rules.h"
#include "model/utf8.h"

namespace rapt {
namespace {

constexpr const char* kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

/// The added token that `text` begins with, or null.
const AddedToken* added_at(const TokenizerRules& rules, std::string_view text) {
  for (const AddedToken& added : rules.added)
    if (text.starts_with(added.content)) return &added;
  return nullptr;
}

void encode_stretch(const TokenizerRules& rules, std::string_view stretch,
                    std::vector<std::int32_t>& tokens) {
  std::string text(stretch);
  for (const Replacement& step : rules.normalizer) text = replace_all(text, step);
  rules.bpe.encode(text, tokens);
}

/// Takes the whole characters from the front of `bytes`, and what can become none.
std::string take_characters(std::string& bytes) {
  std::string text;
  while (!bytes.empty()) {
    const Utf8Piece piece = first_utf8(bytes);
    if (piece.kind == Utf8::kPrefix) break;
    text += piece.kind == Utf8::kCharacter ? bytes.substr(0, piece.bytes) : kReplacementCharacter;
    bytes.erase(0, piece.bytes);
  }
  return text;
}

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  const auto file = std::filesystem::is_directory(path) ? path / "tokenizer.json" : path;
  return parse(read_text(file), file.string());
}

Tokenizer Tokenizer::parse(std::string_view json, const std::string& where) {
  Tokenizer tokenizer;
  tokenizer.rules_ = std::make_shared<TokenizerRules>(TokenizerRules::parse(json, where));
  return tokenizer;
}

std::int64_t Tokenizer::vocab_size() const { return std::ssize(rules_->texts); }

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  require(utf8_valid_bytes(text) == text.size(), ErrorCode::kBadArgument, "Tokenizer.encode text",
          "UTF-8", "another byte at " + std::to_string(utf8_valid_bytes(text)));
  std::vector<std::int32_t> tokens = rules_->first;
  std::size_t begin = 0;  // of the stretch without added tokens
  for (std::size_t n = 0; n < text.size();) {
    const AddedToken* added = added_at(*rules_, text.substr(n));
    if (added == nullptr) {
      ++n;
      continue;
    }
    encode_stretch(*rules_, text.substr(begin, n - begin), tokens);
    tokens.push_back(added->token);
    n += added->content.size();
    begin = n;
  }
  encode_stretch(*rules_, text.substr(begin), tokens);
  tokens.insert(tokens.end(), rules_->last.begin(), rules_->last.end());
  return tokens;
}

std::string Tokenizer::decode(std::span<const std::int32_t> tokens) const {
  TextStream stream(*this);
  std::string text;
  for (const std::int32_t token : tokens) text += stream.push(token);
  return text + stream.finish();
}

std::string TextStream::push(std::int32_t token) {
  require(token >= 0 && token < std::ssize(rules_->texts), ErrorCode::kBadArgument, "token",
          "0 to " + std::to_string(std::ssize(rules_->texts) - 1), token);
  const TokenText& piece = rules_->texts[token];
  switch (piece.kind) {
    case TokenText::kNothing:
      return "";
    case TokenText::kByte:
      held_ += piece.text;
      return strip(take_characters(held_));
    case TokenText::kText:
      return strip(drop_held() + piece.text);
  }
  return "";
}

std::string TextStream::finish() {
  std::string text = strip(drop_held());
  stripped_ = 0;
  at_start_ = true;
  return text;
}

// The bytes held back have become part of no character.
std::string TextStream::drop_held() {
  std::string text;
  for (std::size_t n = 0; n < held_.size(); ++n) text += kReplacementCharacter;
  held_.clear();
  return text;
}

std::string TextStream::strip(std::string text) {
  std::size_t begin = 0;
  const std::string& stripped = rules_->stripped;
  while (at_start_ && begin < text.size()) {
    at_start_ = stripped_ < rules_->strip && text.compare(begin, stripped.size(), stripped) == 0;
    if (!at_start_) break;
    begin += stripped.size();
    ++stripped_;
  }
  return text.substr(begin);
}

}  // namespace rapt
