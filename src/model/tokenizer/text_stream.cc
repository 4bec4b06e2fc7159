#include "base/check.h"
#include "model/tokenizer/rules.h"
#include "model/utf8.h"
#include "rapt/tokenizer.h"

namespace rapt {
namespace {

constexpr const char* kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// What stands for so many bytes that are no character.
std::string replacement(const TokenDecoder& decoder, std::size_t bytes) {
  std::string text;
  for (std::size_t n = 0; n < (decoder.replace_each_byte ? bytes : 1); ++n)
    text += kReplacementCharacter;
  return text;
}

// Takes the whole characters from the front of `bytes`, and what can become none.
std::string take_characters(const TokenDecoder& decoder, std::string& bytes) {
  std::string text;
  std::size_t done = 0;
  while (done < bytes.size()) {
    const Utf8Piece piece = first_utf8(std::string_view(bytes).substr(done));
    if (piece.kind == Utf8::kPrefix) break;
    text += piece.kind == Utf8::kCharacter ? bytes.substr(done, piece.bytes)
                                           : replacement(decoder, piece.bytes);
    done += piece.bytes;
  }
  bytes.erase(0, done);
  return text;
}

}  // namespace

std::string TextStream::push(std::int32_t token) {
  const TokenDecoder& decoder = rules_->decoder;
  require(token >= 0, ErrorCode::kBadArgument, "token", "0 or more", token);
  if (token >= std::ssize(decoder.texts)) return "";
  const TokenText& piece = decoder.texts[token];
  if (piece.kind == TokenText::kNothing) return "";
  const auto first = is_first_ ? decoder.first_texts.find(token) : decoder.first_texts.end();
  is_first_ = false;
  if (first != decoder.first_texts.end()) return strip(first->second);
  if (piece.kind == TokenText::kText) return strip(drop_held() + piece.text);
  held_ += piece.text;
  return strip(take_characters(decoder, held_));
}

std::string TextStream::finish() {
  std::string text = strip(drop_held());
  stripped_ = 0;
  at_start_ = is_first_ = true;
  return text;
}

// The bytes held back have become part of no character.
std::string TextStream::drop_held() {
  if (held_.empty()) return "";
  std::string text = replacement(rules_->decoder, held_.size());
  held_.clear();
  return text;
}

std::string TextStream::strip(std::string text) {
  std::size_t begin = 0;
  const std::string& stripped = rules_->decoder.stripped;
  while (at_start_ && begin < text.size()) {
    at_start_ =
        stripped_ < rules_->decoder.strip && text.compare(begin, stripped.size(), stripped) == 0;
    if (!at_start_) break;
    begin += stripped.size();
    ++stripped_;
  }
  return text.substr(begin);
}

}  // namespace rapt
