#include "model/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/check.h"

namespace rapt {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int reason) {
  throw Error(ErrorCode::kIo, path.string() + ": expected a readable file, got \"" +
                                  std::generic_category().message(reason) + "\"");
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  // O_NONBLOCK: a pipe without a writer is refused, not waited for.
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) fail(path, errno);
  struct stat status;
  int reason = 0;
  if (fstat(file, &status) != 0) {
    reason = errno;
  } else if (!S_ISREG(status.st_mode)) {
    reason = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
  } else if (status.st_size > 0) {  // an empty mapping is refused; an empty span will do
    const auto size = static_cast<std::size_t>(status.st_size);
    void* memory = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (memory == MAP_FAILED)
      reason = errno;
    else
      bytes_ = {static_cast<const std::byte*>(memory), size};
  }
  close(file);
  if (reason != 0) fail(path, reason);
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::forget(std::span<const std::byte> part) const noexcept {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto before = static_cast<std::size_t>(part.data() - bytes_.data()) % page;
  madvise(const_cast<std::byte*>(part.data() - before), part.size() + before, MADV_DONTNEED);
}

std::string read_text(const std::filesystem::path& path) {
  const MappedFile file(path);
  require(file.bytes().size() <= kMostTextBytes, ErrorCode::kBadFile, path.string(),
          "a text of at most " + std::to_string(kMostTextBytes) + " bytes", file.bytes().size());
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace rapt
