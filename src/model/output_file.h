#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace rapt {

/// A new file that is written from the beginning to the end.
class OutputFile {
 public:
  /// @throws Error{kIo} naming the file and the system's reason, as do the others.
  explicit OutputFile(std::filesystem::path path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(const std::string& text) { write(std::as_bytes(std::span(text))); }

  /// Once, after the last write: returns when the content is on the disk.
  void close();

 private:
  std::filesystem::path path_;
  int file_;
};

/// A new directory that appears as a whole or not at all: files are written into a temporary one
/// beside it, which takes its name in the end, and is removed if that does not come.
class OutputDirectory {
 public:
  /// @throws Error{kIo} if something of this name exists, or the system refuses.
  explicit OutputDirectory(const std::filesystem::path& path);
  ~OutputDirectory();
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;

  /// Where a file of this name is to be written.
  std::filesystem::path file(const std::string& name) const { return temporary_ / name; }

  /// Once, after the last file is closed.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
};

}  // namespace rapt
