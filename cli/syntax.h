#pragma once

#include <cstdint>
#include <vector>

#include "rapt/tokenizer.h"

namespace rapt::cli {

/// What the tokens of a text are to heads that go by syntax.
struct Syntax {
  std::vector<std::uint8_t> sentence_starts;  ///< by token: the first one of a sentence
  std::vector<std::int64_t>
      brackets;  ///< by token: where the bracket was opened that it closes, or -1
};

/// A sentence starts with the text, and with the first token that has more than spaces after one
/// that ends in . ! or ?, closing quotes and brackets aside. Brackets are ( [ and {; one that closes
/// another kind than was opened last closes nothing.
Syntax syntax_of(const Tokenizer& tokenizer, const std::vector<std::int32_t>& tokens);

}  // namespace rapt::cli
