#include "model/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "model/tokenizer/unicode.h"

namespace rapt {
namespace {

std::uint64_t edge(std::int32_t node, unsigned char byte) {
  return static_cast<std::uint64_t>(node) << 8 | byte;
}

}  // namespace

std::int32_t AddedTokens::child(std::int32_t node, unsigned char byte) const {
  if (node == 0) return root_[byte];
  const auto found = edges_.find(edge(node, byte));
  return found == edges_.end() ? kNone : found->second;
}

std::int32_t AddedTokens::child_made(std::int32_t node, unsigned char byte) {
  const std::int32_t found = child(node, byte);
  if (found != kNone) return found;
  const auto made = static_cast<std::int32_t>(ends_.size());
  ends_.push_back(kNone);
  if (node == 0)
    root_[byte] = made;
  else
    edges_.emplace(edge(node, byte), made);
  return made;
}

void AddedTokens::add(AddedToken token) {
  std::int32_t node = 0;
  for (const char byte : token.content) node = child_made(node, static_cast<unsigned char>(byte));
  if (node == 0 || ends_[node] != kNone) return;  // no text, or another token's
  ends_[node] = static_cast<std::int32_t>(tokens_.size());
  tokens_.push_back(std::move(token));
}

const AddedToken* AddedTokens::longest_at(std::string_view text) const {
  const AddedToken* longest = nullptr;
  std::int32_t node = 0;
  for (const char byte : text) {
    node = child(node, static_cast<unsigned char>(byte));
    if (node == kNone) break;
    if (ends_[node] != kNone) longest = &tokens_[ends_[node]];
  }
  return longest;
}

void AddedTokens::split(std::string_view text, const OnText& on_text,
                        const OnToken& on_token) const {
  std::size_t done = 0;
  std::size_t spaces_end = 0;  // of the last spaces taken after a token: none is looked at twice
  for (std::size_t begin = 0; begin < text.size();) {
    const AddedToken* token = longest_at(text.substr(begin));
    if (token == nullptr) {
      ++begin;
      continue;
    }
    std::string_view before = text.substr(0, begin);
    begin += token->content.size();  // no other token is looked for within, even if this is none
    const std::string_view after = text.substr(begin);
    if (token->single_word && (ends_with_word(before) || begins_with_word(after))) continue;
    before.remove_prefix(std::min(done, before.size()));
    if (token->left_strip) before.remove_suffix(trailing_space_bytes(before));
    if (!before.empty()) on_text(before, done == 0);
    on_token(token->token);
    if (token->right_strip && begin >= spaces_end) spaces_end = begin + leading_space_bytes(after);
    done = token->right_strip ? spaces_end : begin;
  }
  if (done < text.size()) on_text(text.substr(done), done == 0);
}

}  // namespace rapt
