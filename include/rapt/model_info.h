#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "rapt/model.h"

namespace rapt {

/// What a model's files say of it; no weight is read.
struct ModelInfo {
  struct Part {
    std::string name;  ///< embedding, attention, mlp, norms, head, other
    std::int64_t parameters = 0;
  };

  ModelConfig config;
  std::vector<Part> parts;                     ///< those that have parameters, in that order
  std::map<std::string, std::int64_t> dtypes;  ///< parameters stored in each: "BF16"
  std::int64_t parameters = 0;                 ///< of all parts; a tied head counts once
  std::size_t weights_bytes = 0;               ///< as stored
  std::size_t loaded_bytes = 0;                ///< of the weights of a Model with these options
  std::size_t cache_bytes_per_token = 0;       ///< of keys and values of all layers
  std::size_t cache_bytes = 0;                 ///< of a session's cache of the whole context
  /// Of keys and values that all layers of an encoder-decoder keep of a token that its encoder reads.
  std::size_t memory_bytes_per_token = 0;

  /// Reads the configuration and the list of tensors of a Hugging Face directory. What `options`
  /// change is loaded_bytes, packed linear maps and an embedding as it is stored, and the caches.
  /// @throws Error{kIo, kBadFile, kUnsupported} naming the file and what is wrong.
  static ModelInfo read(const std::filesystem::path& directory, const ModelOptions& options = {});
};

}  // namespace rapt
