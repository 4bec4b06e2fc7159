#pragma once

#include <cstdint>
#include <string>

#include "model/weights.h"

namespace rapt {

/// A norm of the network; without a weight it is not there.
struct NormWeights {
  enum class Kind { kRms, kLayer };

  WeightVector weight, bias;  ///< without data, there is no bias
  Kind kind = Kind::kRms;

  explicit operator bool() const { return weight.view.data != nullptr; }
};

/// y = W x + b; without a weight it is not there.
struct AffineWeights {
  WeightMatrix weight;
  WeightVector bias;  ///< without data, there is none

  explicit operator bool() const { return weight.view.data != nullptr; }
};

/// The weights of one block. Norms that are not there are left out of the formula:
///
///     x = attention_sum(x + attention_out(attention(attention_in(x))))
///     x = cross_sum(x + cross(cross_in(x), memory))             where there is an encoder
///     x = mlp_sum(x + mlp_out(mlp(mlp_in(x))))
///     mlp(x) = down(f(gate(x)) up(x)),  or down(f(gate(x))) without `up`
///
/// or, where the residual is parallel, x = x + attention(attention_in(x)) + mlp(mlp_in(x)).
struct BlockWeights {
  NormWeights attention_in, attention_out, mlp_in, mlp_out;
  AffineWeights q, k, v, o;     ///< of the attention
  WeightVector q_norm, k_norm;  ///< see MultiHeadAttention::Weights
  AffineWeights gate, up, down;
  WeightVector relative_bias;  ///< [1, 1, 1, buckets Hq], for LayerConfig::relative
  NormWeights attention_sum, cross_in, cross_sum, mlp_sum;
  AffineWeights cross_q, cross_k, cross_v, cross_o;  ///< of the attention to the memory
};

/// The weights before and after the blocks. An encoder has no head.
struct EndWeights {
  WeightMatrix embedding;      ///< [1, 1, vocab_size, hidden_size]
  float embedding_scale = 1;   ///< of its rows
  WeightMatrix positions;      ///< [1, 1, max_position_embeddings, hidden_size], or none
  NormWeights embedding_norm;  ///< or none
  NormWeights final_norm;      ///< or none
  float head_scale = 1;        ///< of what the head reads
  WeightMatrix head;           ///< [1, 1, vocab_size, hidden_size]; the embedding, if it is tied
  WeightVector head_bias;      ///< [1, 1, 1, vocab_size], or none
};

/// "transformer." or, where `weights` has no "transformer.<name>", nothing: some checkpoints leave
/// it out of all names.
std::string transformer_prefix(const Weights& weights, const std::string& name);

/// name.weight and, with a bias, name.bias.
AffineWeights affine(const Weights& weights, const std::string& name, std::int64_t outputs,
                     std::int64_t inputs, bool bias = false);

/// The same stored as [inputs, outputs].
AffineWeights transposed_affine(const Weights& weights, const std::string& name,
                                std::int64_t outputs, std::int64_t inputs);

NormWeights rms_norm_weights(const Weights& weights, const std::string& name, std::int64_t size);

/// name.weight and name.bias.
NormWeights layer_norm_weights(const Weights& weights, const std::string& name, std::int64_t size);

/// 1 + w, in f32: what a norm of Gemma's multiplies by.
WeightVector plus_one(const WeightVector& w);

/// The elements of a matrix, row by row, as a vector in f32.
WeightVector flat(const WeightMatrix& matrix);

/// `count` outputs of a map that several share, from `first` on; a view.
AffineWeights outputs_of(const AffineWeights& fused, std::int64_t first, std::int64_t count);

/// Outputs [n (parts size) + part size, + size) for every n: part number `part` of maps whose
/// outputs take turns, as q, k and v of each head. A copy.
AffineWeights interleaved_part(const AffineWeights& fused, std::int64_t parts, std::int64_t part,
                               std::int64_t size);

/// The head: `name`, or the embedding where the configuration ties it. A head that the files hold
/// all the same is used, as transformers 5 does: it may differ.
WeightMatrix head_weights(const Weights& weights, const std::string& name, bool tied,
                          const WeightMatrix& embedding);

}  // namespace rapt
