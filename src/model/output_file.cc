#include "model/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "base/check.h"

namespace rapt {
namespace {

namespace fs = std::filesystem;

void require_done(bool done, const fs::path& path, const char* expected) {
  require(done, ErrorCode::kIo, path.string(), expected,
          "\"" + std::generic_category().message(errno) + "\"");
}

/// "out" and "out/" are "/here/out".
fs::path without_end(const fs::path& path) {
  const fs::path absolute = fs::absolute(path).lexically_normal();
  return absolute.has_filename() ? absolute : absolute.parent_path();
}

/// What mkdtemp leaves to its owner is as open as any new directory.
void open_to_others(const fs::path& directory) {
  const mode_t mask = umask(0);
  umask(mask);
  require_done(chmod(directory.c_str(), 0777 & ~mask) == 0, directory, "to become readable");
}

}  // namespace

OutputFile::OutputFile(fs::path path)
    : path_(std::move(path)),
      file_(open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) {
  require_done(file_ >= 0, path_, "a new file");
}

OutputFile::~OutputFile() {
  if (file_ >= 0) ::close(file_);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    require_done(written >= 0, path_, "to be written");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void OutputFile::close() {
  require_done(fsync(file_) == 0, path_, "to be written");
  require_done(::close(std::exchange(file_, -1)) == 0, path_, "to be written");
}

OutputDirectory::OutputDirectory(const fs::path& path) : path_(without_end(path)) {
  const bool exists = fs::exists(fs::symlink_status(path_));
  require(!exists, ErrorCode::kIo, path.string(), "a new directory", "one that exists");
  std::string name = path_.parent_path() / ("." + path_.filename().string() + ".XXXXXX");
  require_done(mkdtemp(name.data()) != nullptr, path, "a directory that can be made");
  temporary_ = name;
}

OutputDirectory::~OutputDirectory() {
  std::error_code unsaid;
  if (!temporary_.empty()) fs::remove_all(temporary_, unsaid);
}

void OutputDirectory::commit() {
  open_to_others(temporary_);
  // Replaces at most an empty directory that has come meanwhile.
  require_done(rename(temporary_.c_str(), path_.c_str()) == 0, path_, "a new directory");
  temporary_.clear();
}

}  // namespace rapt
