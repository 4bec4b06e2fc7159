#include "model/tokenizer/bpe.h"

#include <algorithm>

#include "model/utf8.h"

namespace rapt {

void BytePairEncoding::add_token(const std::string& text, std::int32_t token) {
  vocabulary_.emplace(text, token);
}

std::int32_t BytePairEncoding::token_of(std::string_view text) const {
  const auto found = vocabulary_.find(text);
  return found == vocabulary_.end() ? kNone : found->second;
}

const BytePairEncoding::Merge* BytePairEncoding::merge_of(std::int32_t left,
                                                          std::int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BpeEncoder::encode(std::string_view word, std::vector<std::int32_t>& tokens) {
  if (bpe_.whole_words) {
    const std::int32_t token = bpe_.token_of(word);
    if (token != BytePairEncoding::kNone) return tokens.push_back(token);
  }
  if (word.size() > kKnownWordBytes) return merge_word(word, tokens);
  auto known = known_words_.find(word);
  if (known == known_words_.end()) {
    if (known_words_.size() == kKnownWords) return merge_word(word, tokens);
    const std::size_t begin = known_tokens_.size();
    merge_word(word, known_tokens_);
    known = known_words_.emplace(word, Known{begin, known_tokens_.size() - begin}).first;
  }
  const auto begin = known_tokens_.begin() + static_cast<std::ptrdiff_t>(known->second.begin);
  tokens.insert(tokens.end(), begin, begin + static_cast<std::ptrdiff_t>(known->second.size));
}

void BpeEncoder::merge_word(std::string_view word, std::vector<std::int32_t>& tokens) {
  symbols_.clear();
  add_characters(word);
  for (std::int64_t n = 0; n < std::ssize(symbols_); ++n) consider(n);
  while (!queue_.empty()) {
    const Candidate candidate = queue_.top();
    queue_.pop();
    if (still_holds(candidate)) merge(candidate);
  }
  for (const Symbol& symbol : symbols_)
    if (symbol.alive) tokens.push_back(symbol.token);
}

void BpeEncoder::add_characters(std::string_view word) {
  bool unknown = false;  // due before the next character that is a token
  const auto add_unknown = [&] {
    if (unknown) add(bpe_.unknown);
    unknown = false;
  };
  while (!word.empty()) {
    const std::string_view character = word.substr(0, first_utf8(word).bytes);
    word.remove_prefix(character.size());
    const std::int32_t token = bpe_.token_of(character);
    if (token != BytePairEncoding::kNone) {
      add_unknown();
      add(token);
    } else if (!add_bytes(character) && bpe_.unknown != BytePairEncoding::kNone) {
      if (!bpe_.fuse_unknown) add_unknown();
      unknown = true;
    }
  }
  add_unknown();
}

// Whether every byte has a token.
bool BpeEncoder::add_bytes(std::string_view character) {
  const auto token_of = [&](char byte) {
    return bpe_.byte_tokens[static_cast<unsigned char>(byte)];
  };
  const bool all = std::all_of(character.begin(), character.end(), [&](char byte) {
    return token_of(byte) != BytePairEncoding::kNone;
  });
  if (all)
    for (const char byte : character) add(token_of(byte));
  return all;
}

void BpeEncoder::add(std::int32_t token) {
  const std::int64_t index = std::ssize(symbols_);
  if (index > 0) symbols_.back().next = index;
  symbols_.push_back({token, index - 1, kNone});
}

void BpeEncoder::consider(std::int64_t left) {
  if (left == kNone || symbols_[left].next == kNone) return;
  const std::int32_t token = symbols_[left].token, next = symbols_[symbols_[left].next].token;
  if (const BytePairEncoding::Merge* merge = bpe_.merge_of(token, next))
    queue_.push({merge->rank, left, token, next, merge->token});
}

bool BpeEncoder::still_holds(const Candidate& c) const {
  const Symbol& left = symbols_[c.left];
  return left.alive && left.next != kNone && left.token == c.left_token &&
         symbols_[left.next].token == c.right_token;
}

void BpeEncoder::merge(const Candidate& c) {
  Symbol& left = symbols_[c.left];
  Symbol& right = symbols_[left.next];
  left.token = c.merged;
  left.next = right.next;
  right.alive = false;
  if (left.next != kNone) symbols_[left.next].previous = c.left;
  consider(left.previous);
  consider(c.left);
}

}  // namespace rapt
