#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace rapt::cli {

/// Thrown where nobody reads stdout any more (`rapt ... | head`): a reason to stop, not an error.
struct ReaderLeft {};

/// Writes `text` to stdout and flushes it, so that a reader sees it now.
/// @throws ReaderLeft; Error{kIo} for what else the system refuses, a full disk say.
void print(std::string_view text);

/// An object and a line break. Strings that are not UTF-8, file names say, have U+FFFD for what is
/// not: JSON has no other way, and the work is done.
std::string json_text(const nlohmann::ordered_json& object, int indent = -1);

/// One line of stderr that is rewritten, for people who wait: nothing unless it is a terminal, and
/// gone at the end.
class StatusLine {
 public:
  StatusLine();
  ~StatusLine() { show(""); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  void show(const std::string& text);

  /// `text`, a bar of how much is done, and the share.
  void show(const std::string& text, std::int64_t done, std::int64_t all);

 private:
  const bool shown_;
};

}  // namespace rapt::cli
