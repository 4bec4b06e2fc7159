#include "model/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "model/tokenizer/unicode.h"

namespace rapt {

void AddedTokens::add(AddedToken token) {
  if (token.content.empty()) return;  // normalised away
  std::int32_t& index = indices_[token.content];
  if (index != ByteTrie::kNone) return;
  index = static_cast<std::int32_t>(tokens_.size());
  tokens_.push_back(std::move(token));
}

const AddedToken* AddedTokens::longest_at(std::string_view text) const {
  const AddedToken* longest = nullptr;
  indices_.for_each_prefix(text,
                           [&](std::size_t, std::int32_t index) { longest = &tokens_[index]; });
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
