#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace rapt::cli {

/// A file of results, a JSON object a line. Each line is appended by one write, so that what a run
/// leaves behind, however it ends, are whole lines and at most one torn one: the next run cuts that
/// off and goes on.
class LinesFile {
 public:
  /// What a line looks like: no file of another kind may lose its last line.
  struct Form {
    std::string name;                                      ///< for errors: "an answer"
    std::vector<std::string> beginnings;                   ///< of a line: one of them
    std::function<bool(const nlohmann::json&)> describes;  ///< whether a whole value may be one
  };

  /// Opens the file, made if it is not there, and calls take(line, where) for each whole line of
  /// earlier runs; what that throws leaves the file as it was.
  /// @throws Error{kIo}, also while another run writes the file; Error{kBadFile} naming the first
  ///         line that is none.
  LinesFile(const std::filesystem::path& path, const Form& form,
            const std::function<void(const nlohmann::json&, const std::string& where)>& take);
  ~LinesFile();
  LinesFile(const LinesFile&) = delete;
  LinesFile& operator=(const LinesFile&) = delete;

  /// @throws Error{kIo}.
  void append(const nlohmann::ordered_json& line);

  /// What was appended is on the disk now.
  void sync();

 private:
  const std::filesystem::path path_;
  const int file_;
};

}  // namespace rapt::cli
