#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "model/output_file.h"
#include "model/safetensors.h"

namespace rapt {

/// What a safetensors file says of a tensor.
struct TensorHeader {
  std::string name;
  FileDtype dtype;
  std::vector<std::int64_t> shape;
  std::int64_t size_bytes;
};

/// Writes a safetensors file: the header, then the data piece by piece.
///
/// @source https://github.com/huggingface/safetensors#format
class SafetensorsWriter {
 public:
  /// Writes the header: `tensors` in the order of their data.
  /// @throws Error{kIo} naming the file.
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<TensorHeader>& tensors,
                    const std::map<std::string, std::string>& metadata);

  /// The next bytes of the tensors' data.
  void write(std::span<const std::byte> bytes) { file_.write(bytes); }

  /// Once, after all of them.
  void close() { file_.close(); }

 private:
  OutputFile file_;
};

}  // namespace rapt
