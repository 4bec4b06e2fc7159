#include "rapt/model.h"

#include <string_view>

#include "base/float_env.h"
#include "base/memory.h"
#include "model/decoder.h"
#include "model/mapped_file.h"
#include "model/weights.h"
#include "rapt/error.h"

namespace rapt {
namespace {

/// make(), whose errors begin with the directory if they name no file of it.
template <class F>
auto in_directory(const std::filesystem::path& directory, F&& make) {
  try {
    return make();
  } catch (const Error& error) {
    if (std::string_view(error.what()).starts_with((directory / "").string())) throw;
    throw Error(error.code(), directory.string() + " " + error.what());
  }
}

}  // namespace

Model Model::load(const std::filesystem::path& directory, const ModelOptions& options,
                  const LoadProgress& progress) {
  return with_memory("Model::load", [&] {
    const CanonicalFloatEnv environment;  // families compute weights
    const std::filesystem::path config_file = directory / "config.json";
    const ModelConfig config = ModelConfig::parse(read_text(config_file), config_file.string());
    const FileWeights weights{Checkpoint(directory)};
    auto decoder = in_directory(directory, [&] {
      return std::make_shared<const Decoder>(config, weights, options, progress);
    });
    weights.refuse_unread();
    return Model(std::move(decoder));
  });
}

Model Model::random(const ModelConfig& config, std::uint64_t seed, const ModelOptions& options) {
  return with_memory("Model::random", [&] {
    const CanonicalFloatEnv environment;
    const ModelConfig whole = config.validated();
    return Model(std::make_shared<const Decoder>(whole, RandomWeights(seed), options));
  });
}

const ModelConfig& Model::config() const { return decoder_->config(); }

}  // namespace rapt
