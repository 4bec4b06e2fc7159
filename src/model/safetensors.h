#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/mapped_file.h"
#include "rapt/dtype.h"

namespace rapt {

/// Element types that a safetensors file may hold.
enum class FileDtype {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kU16,
  kI16,
  kF16,
  kBF16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kF64
};

const char* name(FileDtype dtype) noexcept;

/// The type of views of such elements, where there is one.
std::optional<DType> dtype_of(FileDtype dtype) noexcept;

/// One tensor of a file: contiguous, last axis fastest.
struct FileTensor {
  FileDtype dtype;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;  // of the product of `shape` elements exactly
};

/// "[32, 64]"
std::string describe(const std::vector<std::int64_t>& shape);

/// The tensors of a safetensors file whose content is `file`: 8 bytes of header length, a JSON
/// header, the data. The tensors must tile the data without overlap or hole.
///
/// @throws Error{kBadFile} that begins with `where` and names the tensor, for every malformed
///         header.
/// @source https://github.com/huggingface/safetensors#format
std::map<std::string, FileTensor> parse_safetensors(std::span<const std::byte> file,
                                                    const std::string& where);

/// What the header's __metadata__ says. @throws as parse_safetensors.
std::map<std::string, std::string> parse_metadata(std::span<const std::byte> file,
                                                  const std::string& where);

/// A memory-mapped safetensors file.
class SafetensorsFile {
 public:
  /// @throws Error{kIo, kBadFile} naming the file.
  explicit SafetensorsFile(const std::filesystem::path& path)
      : where_(path.string()), file_(path), tensors_(parse_safetensors(file_.bytes(), where_)) {}

  const std::string& where() const { return where_; }
  const std::map<std::string, FileTensor>& tensors() const { return tensors_; }
  std::map<std::string, std::string> metadata() const {
    return parse_metadata(file_.bytes(), where_);
  }

  /// @throws Error{kBadFile} if the file has no tensor of this name.
  const FileTensor& tensor(const std::string& name) const;

  /// Takes bytes of a tensor out of memory until they are read again.
  void forget(std::span<const std::byte> bytes) const noexcept { file_.forget(bytes); }

 private:
  std::string where_;
  MappedFile file_;
  std::map<std::string, FileTensor> tensors_;
};

}  // namespace rapt
