#include "rapt/model_info.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "base/round.h"
#include "model/checkpoint.h"
#include "model/decoder.h"
#include "model/mapped_file.h"
#include "rapt/linear.h"

namespace rapt {
namespace {

struct PartRule {
  const char* part;
  const char* word;  // of the tensor's name
};

// The first that fits decides: a norm inside attention is a norm, and masks and frequencies that older
// tools stored are no parameters of it.
constexpr PartRule kRules[] = {{"other", "inv_freq"},
                               {"other", ".attn.bias"},
                               {"other", ".attention.bias"},
                               {"other", "masked_bias"},
                               {"head", "embed_out"},
                               {"head", "lm_head"},
                               {"norms", "norm"},
                               {"norms", "ln_"},
                               {"embedding", "embed"},
                               {"embedding", "wte"},
                               {"embedding", "wpe"},
                               {"embedding", "shared."},
                               {"attention", "attn"},
                               {"attention", "attention"},
                               {"attention", "Attention"},
                               {"mlp", "mlp"},
                               {"mlp", "DenseReluDense"},
                               {"mlp", ".fc"},
                               {"other", ""}};
constexpr const char* kOrder[] = {"embedding", "attention", "mlp", "norms", "head", "other"};

std::string part_of(const std::string& tensor) {
  for (const PartRule& rule : kRules)
    if (tensor.find(rule.word) != std::string::npos) return rule.part;
  return "other";
}

/// Found by its zeros first, as the extents beside a 0 may have any product.
std::int64_t elements(const std::vector<std::int64_t>& shape) {
  if (std::ranges::find(shape, 0) != shape.end()) return 0;
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

/// Bytes of a matrix as a linear map, of a vector in f32.
std::size_t packed_bytes(const FileTensor& tensor, const ModelOptions& options) {
  const std::int64_t size = elements(tensor.shape);
  if (size == 0 || tensor.shape.size() != 2) return static_cast<std::size_t>(size) * sizeof(float);
  const WeightType stored = weight_type(dtype_of(tensor.dtype).value_or(DType::kF32));
  return Linear::bytes_of(tensor.shape[0], tensor.shape[1], options.weights.value_or(stored));
}

/// Bytes of a tensor in a loaded model, which reads an embedding where it is mapped.
std::size_t loaded_bytes(const FileTensor& tensor, const std::string& part, bool tied_head,
                         const ModelOptions& options) {
  if (part == "other") return 0;
  if (part != "embedding") return packed_bytes(tensor, options);
  return tensor.bytes.size() + (tied_head ? packed_bytes(tensor, options) : 0);
}

void count_parameters(const Checkpoint& checkpoint, const ModelOptions& options, ModelInfo& info) {
  const auto is_head = [](const auto& tensor) { return part_of(tensor.first) == "head"; };
  const bool tied_head =
      info.config.tie_word_embeddings && std::ranges::none_of(checkpoint.files(), is_head);
  std::map<std::string, std::int64_t> parts;
  for (const auto& [name, file] : checkpoint.files()) {
    const FileTensor& tensor = file->tensor(name);
    const std::int64_t size = elements(tensor.shape);
    const std::string part = part_of(name);
    parts[part] += size;
    info.dtypes[rapt::name(tensor.dtype)] += size;
    info.parameters += size;
    info.weights_bytes += tensor.bytes.size();
    const bool is_tied = tied_head && name.find("wpe") == std::string::npos &&
                         name.find("embed_positions") == std::string::npos;
    info.loaded_bytes += loaded_bytes(tensor, part, is_tied, options);
  }
  for (const char* part : kOrder)
    if (parts[part] > 0) info.parts.push_back({part, parts[part]});
}

/// Bytes of a token's keys, values and scales in all layers.
std::size_t token_bytes(const ModelConfig& config, DType dtype) {
  const std::int64_t head = (config.head_dim + round_up(config.head_dim, 16)) * size_of(dtype) +
                            (is_quantised(dtype) ? 8 : 0);
  return static_cast<std::size_t>(config.num_hidden_layers * config.num_key_value_heads * head);
}

}  // namespace

ModelInfo ModelInfo::read(const std::filesystem::path& directory, const ModelOptions& options) {
  const std::filesystem::path config_file = directory / "config.json";
  ModelInfo info;
  info.config = ModelConfig::parse(read_text(config_file), config_file.string());
  count_parameters(Checkpoint(directory), options, info);
  info.cache_bytes_per_token = token_bytes(info.config, options.cache);
  info.cache_bytes =
      rapt::cache_bytes(session_cache_shape(info.config, options.cache, info.config.context()));
  if (info.config.encoder) info.memory_bytes_per_token = info.cache_bytes_per_token;
  return info;
}

}  // namespace rapt
