#include "model/decoder_weights.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace rapt {
namespace {

/// Contiguous rows of a [1, 1, N, K], `size` of every `stride`, from `first` on.
WeightMatrix copy_rows(const AnyConstTensor& from, std::int64_t first, std::int64_t size,
                       std::int64_t stride) {
  const std::int64_t width = from.extents[3], row_bytes = width * size_of(from.dtype);
  const auto memory = std::make_shared<std::vector<std::byte>>();
  std::int64_t rows = 0;
  for (std::int64_t begin = first; begin < from.extents[2]; begin += stride, rows += size) {
    const auto* data = static_cast<const std::byte*>(from.address(0, 0, begin, 0));
    memory->insert(memory->end(), data, data + size * row_bytes);
  }
  return {{memory->data(), from.dtype, {1, 1, rows, width}}, memory};
}

}  // namespace

std::string transformer_prefix(const Weights& weights, const std::string& name) {
  const std::string prefix = "transformer.";
  return weights.has(prefix + name) ? prefix : "";
}

AffineWeights affine(const Weights& weights, const std::string& name, std::int64_t outputs,
                     std::int64_t inputs, bool bias) {
  AffineWeights map{weights.matrix(name + ".weight", outputs, inputs), {}};
  if (bias) map.bias = weights.vector(name + ".bias", outputs);
  return map;
}

AffineWeights transposed_affine(const Weights& weights, const std::string& name,
                                std::int64_t outputs, std::int64_t inputs) {
  WeightMatrix stored = weights.matrix(name + ".weight", inputs, outputs);
  const AnyConstTensor view(stored.view.data, stored.view.dtype, {1, 1, outputs, inputs},
                            {0, 0, 1, outputs});
  return {{view, std::move(stored.owner)}, weights.vector(name + ".bias", outputs)};
}

NormWeights rms_norm_weights(const Weights& weights, const std::string& name, std::int64_t size) {
  return {weights.vector(name + ".weight", size), {}, NormWeights::Kind::kRms};
}

NormWeights layer_norm_weights(const Weights& weights, const std::string& name, std::int64_t size) {
  return {weights.vector(name + ".weight", size), weights.vector(name + ".bias", size),
          NormWeights::Kind::kLayer};
}

WeightVector plus_one(const WeightVector& w) {
  const auto values = std::make_shared<std::vector<float>>();
  for (std::int64_t e = 0; e < w.view.extents[3]; ++e)
    values->push_back(1.0f + w.view.at(0, 0, 0, e));
  return {{values->data(), w.view.extents}, values};
}

WeightVector flat(const WeightMatrix& matrix) {
  const auto values = std::make_shared<std::vector<float>>();
  visit(matrix.view, [&](const auto& view) {
    for (std::int64_t n = 0; n < view.extents[2]; ++n)
      for (std::int64_t k = 0; k < view.extents[3]; ++k)
        values->push_back(to_float(view.at(0, 0, n, k)));
  });
  return {{values->data(), {1, 1, 1, std::ssize(*values)}}, values};
}

AffineWeights outputs_of(const AffineWeights& fused, std::int64_t first, std::int64_t count) {
  const AnyConstTensor& w = fused.weight.view;
  AffineWeights map{{{w.address(0, 0, first, 0), w.dtype, {1, 1, count, w.extents[3]}, w.strides},
                     fused.weight.owner},
                    {}};
  if (fused.bias.view.data != nullptr)
    map.bias = {{fused.bias.view.data + first, {1, 1, 1, count}}, fused.bias.owner};
  return map;
}

AffineWeights interleaved_part(const AffineWeights& fused, std::int64_t parts, std::int64_t part,
                               std::int64_t size) {
  AffineWeights map{copy_rows(fused.weight.view, part * size, size, parts * size), {}};
  if (fused.bias.view.data != nullptr) {
    const std::int64_t outputs = fused.bias.view.extents[3];
    const AnyConstTensor column = ConstTensor(fused.bias.view.data, {1, 1, outputs, 1});
    WeightMatrix bias = copy_rows(column, part * size, size, parts * size);
    map.bias = {{static_cast<const float*>(bias.view.data), {1, 1, 1, bias.view.extents[2]}},
                std::move(bias.owner)};
  }
  return map;
}

WeightMatrix head_weights(const Weights& weights, const std::string& name, bool tied,
                          const WeightMatrix& embedding) {
  if (tied && !weights.has(name)) return embedding;
  return weights.matrix(name, embedding.view.extents[2], embedding.view.extents[3]);
}

}  // namespace rapt
