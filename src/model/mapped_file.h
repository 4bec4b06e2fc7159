#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace rapt {

/// A file's content, mapped read-only.
class MappedFile {
 public:
  /// @throws Error{kIo} naming the file and the system's reason.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

  /// Takes `part` out of memory until it is read again.
  void forget(std::span<const std::byte> part) const noexcept;

 private:
  std::span<const std::byte> bytes_;
};

/// Texts are read into memory as a whole: more than this is none that a model has.
inline constexpr std::size_t kMostTextBytes = 100'000'000;

/// The whole content of a text file.
/// @throws Error{kIo} naming the file and the system's reason; Error{kBadFile} if it is above
///         kMostTextBytes.
std::string read_text(const std::filesystem::path& path);

}  // namespace rapt
