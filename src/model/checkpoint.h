#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "model/safetensors.h"

namespace rapt {

/// A tensor, and the file that keeps its memory.
struct StoredTensor {
  const FileTensor* tensor;
  std::shared_ptr<const SafetensorsFile> file;
};

/// The tensors of a model directory: those of model.safetensors or, where that is not, of the files
/// (shards) that model.safetensors.index.json names. All files are mapped.
///
/// An index and its shards must agree: each shard holds exactly the tensors that `weight_map` puts
/// there, and `metadata.total_size`, where given, is their bytes in all.
class Checkpoint {
 public:
  /// @throws Error{kIo, kBadFile} naming the file, and the tensor if one is to blame.
  explicit Checkpoint(const std::filesystem::path& directory);

  /// Every tensor's name and file.
  const std::map<std::string, std::shared_ptr<const SafetensorsFile>>& files() const {
    return files_;
  }

  bool has(const std::string& name) const { return files_.contains(name); }

  /// @throws Error{kBadFile} if there is no tensor of this name.
  StoredTensor tensor(const std::string& name) const;

 private:
  void read_file(const std::filesystem::path& path);
  void read_shards(const std::filesystem::path& index);

  std::string where_;  // the file that lists all tensors
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> files_;  // by tensor
};

}  // namespace rapt
