#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rapt/activation.h"
#include "rapt/arithmetic.h"
#include "rapt/dtype.h"
#include "rapt/rotary.h"
#include "rapt/weight.h"

namespace rapt {

/// The buckets of T5's relative positions; their biases are weights. See RelativeBias.
struct RelativeBuckets {
  std::int64_t buckets = 32;
  std::int64_t max_distance = 128;

  bool operator==(const RelativeBuckets&) const = default;
};

/// What the attention of one layer sees and how it scores; heads are the model's. Every layer is
/// causal, but for those of an encoder, which see all tokens.
struct LayerConfig {
  std::int64_t window = 0;  ///< tokens that a query sees, its own last; 0: all before it
  /// None where positions are added to the embedding, or are ALiBi's or relative.
  std::optional<RotaryConfig> rotary = std::nullopt;
  bool alibi = false;  ///< with the slopes of alibi_slopes(num_attention_heads)
  std::optional<RelativeBuckets> relative = std::nullopt;
  std::optional<float> scale = std::nullopt;    ///< of q.k; default 1 / sqrt(head_dim)
  std::optional<float> softcap = std::nullopt;  ///< of the scores

  bool operator==(const LayerConfig&) const = default;
};

/// The encoder of an encoder-decoder. What is not here is as its decoder has it; the attention of
/// all layers is that of the decoder's first, but sees all tokens.
struct EncoderConfig {
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t max_position_embeddings = 0;  ///< the longest input, in tokens; 0: any

  bool operator==(const EncoderConfig&) const = default;
};

/// Extents and constants of a decoder, with the names of Hugging Face's config.json.
struct ModelConfig {
  std::string architecture = "LlamaForCausalLM";
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;  ///< 0 means num_attention_heads
  std::int64_t head_dim = 0;             ///< 0 means hidden_size / num_attention_heads
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;  ///< of all norms, layer norms too
  double rope_theta = 10000.0;
  double partial_rotary_factor = 1.0;  ///< of a head's features, those that are rotated
  RotaryScaling rope_scaling;
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tie_word_embeddings = false;
  bool use_parallel_residual = false;  ///< attention and MLP read the same residual stream
  bool is_gated_act = false;           ///< of a T5: whether its MLP has a gate
  bool scale_embedding = false;        ///< of a BART or Marian: embeddings times sqrt(hidden_size)
  bool scale_decoder_outputs = false;  ///< of a T5: what the head reads, by sqrt(hidden_size)
  Activation hidden_act = Activation::kSilu;
  std::optional<float> final_logit_softcapping;
  std::vector<LayerConfig> layers;          ///< empty: each has the rotary positions of `rotary()`
  std::vector<std::int32_t> bos_token_ids;  ///< tokens that begin a text
  std::vector<std::int32_t> eos_token_ids;  ///< tokens that end a text
  std::optional<EncoderConfig> encoder;     ///< of an encoder-decoder
  /// What an encoder-decoder's own text begins with, before any other token.
  std::vector<std::int32_t> decoder_start_token_ids;
  std::vector<std::int32_t> suppressed_token_ids;  ///< tokens that generation never draws

  /// Reads the text of a config.json; `where` names it in errors. Defaults are filled in.
  /// @throws Error{kBadFile} naming the field; Error{kUnsupported} naming the architecture or the
  ///         feature that this version does not serve, and what it does.
  static ModelConfig parse(const std::string& json, const std::string& where = "config.json");

  /// The same with its defaults filled in.
  /// @throws Error{kBadArgument} naming the first field out of range.
  ModelConfig validated() const;

  /// The rotary positions that rope_theta, rope_scaling and partial_rotary_factor describe: of the
  /// leading head_dim partial_rotary_factor features.
  RotaryConfig rotary() const;

  /// The longest sequence that its positions serve, in tokens: max_position_embeddings, or what
  /// dynamic NTK and YaRN stretch the original context to, where that is more.
  std::int64_t context() const;

  /// Whether generation stops at `token`: a token that ends a text or, but for encoder-decoders,
  /// begins another.
  bool ends_text(std::int32_t token) const;
};

/// How a model keeps its numbers.
struct ModelOptions {
  /// Weights of the linear maps, those of the layers and the head: as the files have them, exactly,
  /// or rounded to this type (see linear.h).
  std::optional<WeightType> weights;

  /// Keys and values of a session's cache. An encoder-decoder asks for one that is not quantised.
  DType cache = DType::kF32;

  /// Of the attention; native bf16 asks for a cache of bf16. Linear maps: see `weights`.
  Arithmetic attention = Arithmetic::kF32;
};

/// Told while a model is read: `done` of its `parts`, the blocks and what stands around them.
using LoadProgress = std::function<void(std::int64_t done, std::int64_t parts)>;

class Decoder;

/// A model's weights, ready to run. A cheap handle to immutable weights; share it between sessions.
class Model {
 public:
  /// Reads a Hugging Face directory: config.json and model.safetensors or, where that is not, the
  /// files of model.safetensors.index.json. They are memory-mapped.
  ///
  /// @pre    the files stay as they are while the model lives.
  /// @throws Error{kIo, kBadFile, kUnsupported} naming the file and what is wrong, a tensor that the
  ///         architecture does not have among it; Error{kOutOfMemory}.
  /// @cost   a packed copy of the matrices, in their type, and for a moment one block as it is mapped;
  ///         the embedding is read where it is mapped.
  static Model load(const std::filesystem::path& directory, const ModelOptions& options = {},
                    const LoadProgress& progress = {});

  /// A model of any shape, without files: every weight is a hash of `seed`, its tensor's name and
  /// its index, so that all machines have the same model. For tests and measurements.
  /// @throws Error{kBadArgument} naming the first field of `config` out of range;
  ///         Error{kOutOfMemory}.
  static Model random(const ModelConfig& config, std::uint64_t seed,
                      const ModelOptions& options = {});

  const ModelConfig& config() const;
  const Decoder& decoder() const { return *decoder_; }

 private:
  explicit Model(std::shared_ptr<const Decoder> decoder) : decoder_(std::move(decoder)) {}
  std::shared_ptr<const Decoder> decoder_;
};

}  // namespace rapt
