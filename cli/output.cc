#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
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

std::string json_text(const nlohmann::ordered_json& object, int indent) {
  return object.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

StatusLine::StatusLine() : shown_(isatty(STDERR_FILENO) != 0) {}

void StatusLine::show(const std::string& text) {
  if (shown_) std::fprintf(stderr, "\r\033[K%s", text.c_str());
}

void StatusLine::show(const std::string& text, std::int64_t done, std::int64_t all) {
  constexpr std::int64_t kWidth = 30;
  const auto filled = static_cast<std::size_t>(kWidth * done / all);
  show(text + " [" + std::string(filled, '#') + std::string(kWidth - filled, '.') + "] " +
       std::to_string(100 * done / all) + "%");
}

}  // namespace rapt::cli
