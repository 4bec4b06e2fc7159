#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/decoder_step.h"
#include "model/decoder_weights.h"
#include "rapt/activation.h"
#include "rapt/layer.h"
#include "rapt/linear.h"
#include "rapt/model.h"

namespace rapt {

/// y = norm(x), with the kind, weights and epsilon of a model's.
void apply_norm(const Threads& threads, const NormWeights& norm, double eps, const MutableTensor& x,
                const MutableTensor& y);

/// Working memory of one step, all [1, 1, T, width].
struct Activations {
  MutableTensor x;         ///< the residual stream
  MutableTensor normed;    ///< what a sublayer reads
  MutableTensor change;    ///< what it adds
  MutableTensor gate, up;  ///< inside the MLP

  /// Takes them from `scratch`.
  static Activations carve(const ModelConfig& config, std::int64_t tokens, Scratch& scratch);
};

/// Plans of a step's attention: layers that solve the same problem have one.
class StepPlans {
 public:
  explicit StepPlans(const DecoderStep& step);

  const std::vector<MultiHeadAttention::BatchSequence>& sequences() const { return sequences_; }

  /// The plan of `inputs`, made by the first layer of its kind.
  const BatchPlan& plan(const MultiHeadAttention& attention, const LayerConfig& layer,
                        const MultiHeadAttention::BatchInputs& inputs);

  /// The plan of attention to the memory, one for all layers.
  const Plan& cross_plan(const MultiHeadAttention& attention,
                         const MultiHeadAttention::Inputs& inputs);

  /// Prefixes that sequences attend to at once, the most of any plan.
  std::int64_t prefixes() const;

 private:
  struct Made {
    LayerConfig layer;
    BatchPlan plan;
  };

  const Threads& threads_;
  std::vector<MultiHeadAttention::BatchSequence> sequences_;
  std::vector<Made> made_;
  std::optional<Plan> cross_;
};

/// What the attention of a block to its own tokens sees.
enum class BlockKind { kDecoder, kEncoder };

/// One block of a decoder, or of an encoder: attention and MLP, as decoder_weights.h has them.
class DecoderBlock {
 public:
  /// `layer` is that of the cache, too.
  DecoderBlock(const ModelConfig& config, std::int64_t layer, BlockWeights weights,
               const ModelOptions& options, BlockKind kind = BlockKind::kDecoder);

  /// Adds to the residual stream what attention and MLP give.
  void run(const DecoderStep& step, StepPlans& plans, const Activations& a) const;

  /// Keys and values of an encoder's output, for all steps.
  /// @shape  memory [1, 1, T, hidden_size]
  DenseKvCache project(const Threads& threads, const ConstTensor& memory, DType dtype,
                       MultiHeadAttention::Workspace& workspace) const;

 private:
  void attend(const DecoderStep& step, StepPlans& plans, const MutableTensor& x,
              const MutableTensor& y) const;
  void attend_observed(const DecoderStep& step, const BatchPlan& plan,
                       const MultiHeadAttention::BatchInputs& inputs,
                       MultiHeadAttention::Outputs outputs) const;
  void attend_memory(const DecoderStep& step, StepPlans& plans, const MutableTensor& x,
                     const MutableTensor& y) const;
  void run_mlp(const DecoderStep& step, const MutableTensor& x, const Activations& a) const;

  std::int64_t layer_;
  LayerConfig config_;
  double norm_eps_;
  bool parallel_;
  Activation activation_;
  NormWeights attention_in_, attention_out_, attention_sum_, cross_in_, cross_sum_, mlp_in_,
      mlp_out_, mlp_sum_;
  MultiHeadAttention attention_;
  std::optional<MultiHeadAttention> cross_;
  Linear gate_;
  std::optional<Linear> up_;
  Linear down_;
};

/// W and b packed, in the type that `options` ask for.
Linear pack(const AffineWeights& map, const ModelOptions& options);

}  // namespace rapt
