#include "rapt/model.h"

#include "base/float_env.h"
#include "base/memory.h"
#include "model/decoder.h"
#include "model/mapped_file.h"
#include "model/weights.h"

namespace rapt {

Model Model::load(const std::filesystem::path& directory, const ModelOptions& options) {
  return with_memory("Model::load", [&] {
    const CanonicalFloatEnv environment;  // families compute weights
    const std::filesystem::path config_file = directory / "config.json";
    const ModelConfig config = ModelConfig::parse(read_text(config_file), config_file.string());
    const FileWeights weights{Checkpoint(directory)};
    return Model(std::make_shared<const Decoder>(config, weights, options));
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
