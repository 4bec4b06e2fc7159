#include "rapt/model.h"

#include "base/check.h"
#include "model/families.h"
#include "model/mapped_file.h"
#include "model/safetensors.h"
#include "model/weights.h"

namespace rapt {

Model Model::load(const std::filesystem::path& directory) {
  const std::filesystem::path config_file = directory / "config.json";
  const std::filesystem::path weights_file = directory / "model.safetensors";
  const ModelConfig config = ModelConfig::parse(read_text(config_file), config_file.string());
  const std::filesystem::path index_file = directory / "model.safetensors.index.json";
  require(std::filesystem::exists(weights_file) || !std::filesystem::exists(index_file),
          ErrorCode::kUnsupported, directory.string(), "weights in one model.safetensors",
          "weights in several files");
  const FileWeights weights(std::make_shared<SafetensorsFile>(weights_file));
  return Model(find_family(config.architecture)->make(config, weights));
}

Model Model::random(const ModelConfig& config, std::uint64_t seed) {
  const ModelConfig whole = config.validated();
  return Model(find_family(whole.architecture)->make(whole, RandomWeights(seed)));
}

const ModelConfig& Model::config() const { return decoder_->config(); }

}  // namespace rapt
