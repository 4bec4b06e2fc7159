#pragma once

#include <string_view>

namespace rapt::cli {

/// Thrown where nobody reads stdout any more (`rapt ... | head`): a reason to stop, not an error.
struct ReaderLeft {};

/// Writes `text` to stdout and flushes it, so that a reader sees it now.
/// @throws ReaderLeft; Error{kIo} for what else the system refuses, a full disk say.
void print(std::string_view text);

}  // namespace rapt::cli
