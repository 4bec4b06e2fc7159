#pragma once

#include <string>
#include <string_view>

namespace rapt {

/// The patterns of a tokenizer.json are Oniguruma's, in Ruby's syntax. Returns the pattern that
/// means the same to PCRE2 under UTF, UCP, MULTILINE and NEWLINE_LF; where the two would read
/// something differently, it is rewritten or refused.
///
/// @throws Error{kUnsupported} that begins with `where` and names what is refused.
std::string pcre2_pattern(std::string_view oniguruma, const std::string& where);

}  // namespace rapt
