#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/json.h"

namespace rapt {

/// What a token gives when it is decoded.
struct TokenText {
  enum Kind {
    kText,     ///< `text`, which is whole characters
    kBytes,    ///< the bytes in `text`, which may be parts of characters
    kNothing,  ///< a special token, or an id that no token has
  };
  Kind kind = kNothing;
  std::string text;
};

/// The texts of the tokens, and what happens to them one after the other. As a tokenizer.json has
/// it, a decoder is a list of steps over the texts of all tokens; here every step that looks at
/// each token alone is done once, when the file is read.
struct TokenDecoder {
  std::vector<TokenText> texts;  ///< by token
  /// What a token gives as the first one that gives text, where that is different.
  std::unordered_map<std::int32_t, std::string> first_texts;
  /// A byte that is part of no character becomes one U+FFFD, not a prefix of a character as one.
  bool replace_each_byte = false;
  /// Up to `strip` leading characters `stripped` are left out of the text.
  std::int64_t strip = 0;
  std::string stripped;

  /// Reads the steps and applies them to `texts`, which are there.
  /// @throws Error{kBadFile, kUnsupported} naming the field.
  void apply(const JsonField& field);

 private:
  template <class F>
  void change_each(F&& f);
  void apply_metaspace(const JsonField& field);
  void bytes_by_name();
  void read_strip(const JsonField& field);
};

}  // namespace rapt
