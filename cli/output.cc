#include "cli/output.h"

#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>

#include "rapt/error.h"

namespace rapt::cli {

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
    return;
  if (errno == EPIPE) throw ReaderLeft();
  throw Error(ErrorCode::kIo, "stdout: expected to be written, got \"" +
                                  std::generic_category().message(errno) + "\"");
}

}  // namespace rapt::cli
