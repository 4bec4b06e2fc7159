#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "model/tokenizer/added_tokens.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/decoder.h"
#include "model/tokenizer/normalizer.h"
#include "model/tokenizer/pre_tokenizer.h"
#include "model/tokenizer/unigram.h"

namespace rapt {

/// The rules of a tokenizer.json.
///
/// encode: `raw` tokens are found in the text as it is; every stretch between them is normalised,
/// `normalized` tokens are found in that; every stretch between those is cut into words, and each
/// word is encoded. `first` and `last` go around the whole.
/// decode: the texts of the tokens, as `decoder` has them.
struct TokenizerRules {
  AddedTokens raw, normalized;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::variant<BytePairEncoding, Unigram> model;
  std::vector<std::int32_t> first, last;
  TokenDecoder decoder;

  /// @throws Error{kBadFile, kUnsupported} naming the field.
  static TokenizerRules parse(std::string_view json, const std::string& where);
};

}  // namespace rapt
