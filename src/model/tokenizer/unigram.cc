#include "model/tokenizer/unigram.h"

#include <algorithm>

#include "model/utf8.h"

namespace rapt {

void Unigram::add_token(std::string_view text, double score) {
  least_score_ = scores_.empty() ? score : std::min(least_score_, score);
  if (!text.empty()) tokens_[text] = static_cast<std::int32_t>(scores_.size());
  scores_.push_back(score);
}

std::int32_t Unigram::token_of(std::string_view text) const {
  std::int32_t whole = kNone;
  tokens_.for_each_prefix(text, [&](std::size_t bytes, std::int32_t token) {
    if (bytes == text.size()) whole = token;
  });
  return whole;
}

void UnigramEncoder::encode(std::string_view word, std::vector<std::int32_t>& tokens) {
  find_best(word);
  cut_.clear();
  for (std::size_t end = word.size(); end > 0; end = best_[end].begin) cut_.push_back(end);
  std::size_t begin = 0, unknown_begin = 0;
  bool unknown = false;
  const auto end_unknown = [&] {
    if (unknown) add_unknown(word.substr(unknown_begin, begin - unknown_begin), tokens);
    unknown = false;
  };
  for (auto end = cut_.rbegin(); end != cut_.rend(); ++end) {
    const std::int32_t token = best_[*end].token;
    if (token != unigram_.unknown) {
      end_unknown();
      tokens.push_back(token);
    } else if (!unknown) {
      unknown = true;
      unknown_begin = begin;
    }
    begin = *end;
  }
  end_unknown();
}

// Viterbi's algorithm over all tokens at all places.
void UnigramEncoder::find_best(std::string_view word) {
  best_.assign(word.size() + 1, Best{});
  for (std::size_t begin = 0; begin < word.size();) {
    const std::string_view rest = word.substr(begin);
    const std::size_t character = first_utf8(rest).bytes;
    const double score = best_[begin].score;
    const auto offer = [&](std::size_t bytes, std::int32_t token, double token_score) {
      Best& end = best_[begin + bytes];
      if (end.begin == kNowhere || score + token_score > end.score)
        end = {score + token_score, begin, token};
    };
    bool known = false;
    unigram_.tokens().for_each_prefix(rest, [&](std::size_t bytes, std::int32_t token) {
      offer(bytes, token, unigram_.score(token));
      known = known || bytes == character;
    });
    if (!known) offer(character, unigram_.unknown, unigram_.unknown_score());
    begin += character;
  }
}

void UnigramEncoder::add_unknown(std::string_view text, std::vector<std::int32_t>& tokens) const {
  const std::int32_t whole = unigram_.token_of(text);  // "<unk>" itself, say
  if (whole != Unigram::kNone) return tokens.push_back(whole);
  const auto token_of = [&](char byte) {
    return unigram_.byte_tokens[static_cast<unsigned char>(byte)];
  };
  const bool all = std::all_of(text.begin(), text.end(),
                               [&](char byte) { return token_of(byte) != Unigram::kNone; });
  if (!all) return tokens.push_back(unigram_.unknown);
  for (const char byte : text) tokens.push_back(token_of(byte));
}

}  // namespace rapt
