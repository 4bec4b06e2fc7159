#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/texts.h"
#include "rapt/tokenizer.h"

namespace rapt::cli {

/// What the tokens of a text are to heads that go by syntax.
struct Syntax {
  std::vector<std::uint8_t> sentence_starts;  ///< by token: the first one of a sentence
  std::vector<std::int64_t>
      brackets;  ///< by token: where the bracket was opened that it closes, or -1
};

/// A sentence starts with the text, and with the first token that has more than spaces after one
/// that ends in . ! or ?, closing quotes (" and ' alone) and brackets aside. Brackets are ( [ and
/// {; one that closes another kind than was opened last closes nothing.
Syntax syntax_of(const Tokenizer& tokenizer, const std::vector<std::int32_t>& tokens);

/// Puts what a file says in the place of the texts' syntax: JSON objects, one a line, each with the
/// "file" of a text and, by token, "token_class" (0 or 1), "links" (a token's number, or -1) or
/// both.
/// @throws Error naming the line and what is wrong, a file that is no text's or another number of
///         tokens among it.
void read_marks(const std::string& marks, const std::vector<Text>& texts,
                std::vector<Syntax>& syntax);

}  // namespace rapt::cli
