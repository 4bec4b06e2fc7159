#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/bpe.h"

namespace rapt {

/// What a token gives when it is decoded.
struct TokenText {
  enum Kind {
    kText,     ///< `text`
    kByte,     ///< the one byte in `text`, which may be part of a character
    kNothing,  ///< a special token, or an id that no token has
  };
  Kind kind = kNothing;
  std::string text;
};

/// A token that is found in the text as it is, before anything else happens to it.
struct AddedToken {
  std::string content;
  std::int32_t token;
};

/// Every `from` becomes `to`, left to right. An empty `from` stands for the beginning of a text
/// that is not empty.
struct Replacement {
  std::string from, to;
};

/// The rules of a tokenizer.json.
///
/// encode: added tokens are found in the text; every stretch between them is normalised, then
/// encoded; `first` and `last` go around the whole.
/// decode: the texts of the tokens, without up to `strip` leading characters that are `stripped`.
struct TokenizerRules {
  std::vector<AddedToken> added;  // longest first
  std::vector<Replacement> normalizer;
  BytePairEncoding bpe;
  std::vector<std::int32_t> first, last;
  std::vector<TokenText> texts;  // by token
  std::string stripped;
  std::int64_t strip = 0;

  /// @throws Error{kBadFile, kUnsupported} naming the field.
  static TokenizerRules parse(std::string_view json, const std::string& where);
};

std::string replace_all(const std::string& text, const Replacement& replacement);

}  // namespace rapt
