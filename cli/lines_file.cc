#include "cli/lines_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>

#include "base/check.h"
#include "cli/output.h"
#include "model/json.h"
#include "model/mapped_file.h"

namespace rapt::cli {
namespace {

void require_system(bool ok, const std::filesystem::path& path, const char* expected) {
  require(ok, ErrorCode::kIo, path.string(), expected,
          "\"" + std::generic_category().message(errno) + "\"");
}

/// None: no JSON.
std::optional<nlohmann::json> parsed(std::string_view line) {
  try {
    return parse_json(line, "line");
  } catch (const Error&) {
    return {};
  }
}

bool begins_like_one(std::string_view text, const LinesFile::Form& form) {
  return std::ranges::any_of(form.beginnings, [&](const std::string& beginning) {
    return text.starts_with(beginning) || std::string_view(beginning).starts_with(text);
  });
}

/// Hands over the lines; returns the bytes up to the end of the last whole one.
std::size_t read(std::string_view text, const std::filesystem::path& path,
                 const LinesFile::Form& form,
                 const std::function<void(const nlohmann::json&, const std::string&)>& take) {
  std::size_t begin = 0;
  for (std::int64_t line = 1; begin < text.size(); ++line) {
    const std::string where = path.string() + " line " + std::to_string(line);
    const std::size_t end = text.find('\n', begin);
    const bool last = end == std::string_view::npos || end + 1 == text.size();
    const auto value = parsed(text.substr(begin, end - begin));
    if (last && (end == std::string_view::npos || !value)) {
      require(value ? form.describes(*value) : begins_like_one(text.substr(begin), form),
              ErrorCode::kBadFile, where, form.name + " of an earlier run", "something else");
      return begin;
    }
    require(value.has_value(), ErrorCode::kBadFile, where, "JSON", "something else");
    take(*value, where);
    begin = end + 1;
  }
  return begin;
}

}  // namespace

LinesFile::LinesFile(const std::filesystem::path& path, const Form& form,
                     const std::function<void(const nlohmann::json&, const std::string&)>& take)
    : path_(path), file_(open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  require_system(file_ >= 0, path, "a file that can be written");
  try {
    require_system(flock(file_, LOCK_EX | LOCK_NB) == 0, path, "no other run that writes it");
    const MappedFile content(path);
    const auto bytes = content.bytes();
    const std::size_t whole =
        read({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path, form, take);
    if (whole < bytes.size())
      require_system(ftruncate(file_, static_cast<off_t>(whole)) == 0, path,
                     "to cut off its torn last line");
  } catch (...) {
    close(file_);
    throw;
  }
}

LinesFile::~LinesFile() { close(file_); }

void LinesFile::append(const nlohmann::ordered_json& object) {
  const std::string line = json_text(object);
  for (std::size_t done = 0; done < line.size();) {  // once, but for a disk that is nearly full
    const ssize_t size = write(file_, line.data() + done, line.size() - done);
    require_system(size >= 0, path_, "to be written");
    done += static_cast<std::size_t>(size);
  }
}

void LinesFile::sync() { require_system(fsync(file_) == 0, path_, "to be written"); }

}  // namespace rapt::cli
