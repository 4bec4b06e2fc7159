#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "rapt/tensor.h"

namespace rapt {

/// A tensor and whatever keeps its memory: a file's mapping, or a vector.
template <class View>
struct OwnedTensor {
  View view;
  std::shared_ptr<const void> owner;
};
using WeightMatrix = OwnedTensor<AnyConstTensor>;
using WeightVector = OwnedTensor<ConstTensor>;

/// A model's tensors by name.
class Weights {
 public:
  virtual ~Weights() = default;

  /// Whether a file holds a tensor of this name.
  virtual bool has(const std::string& name) const = 0;

  /// A matrix [1, 1, outputs, inputs], as it is stored.
  /// @throws Error{kBadFile} naming the tensor, if it is missing or has another shape.
  virtual WeightMatrix matrix(const std::string& name, std::int64_t outputs,
                              std::int64_t inputs) const = 0;

  /// A vector [1, 1, 1, size], in f32.
  virtual WeightVector vector(const std::string& name, std::int64_t size) const = 0;
};

/// Tensors of safetensors files, read in place where they are aligned, and taken out of memory when
/// the last that reads them lets go. Vectors in BF16 and F16 are converted, exactly.
class FileWeights final : public Weights {
 public:
  explicit FileWeights(Checkpoint checkpoint) : checkpoint_(std::move(checkpoint)) {}

  /// What the files hold and nothing has read would change the model's results elsewhere. Tables
  /// that only repeat the configuration (frequencies, causal masks) are let pass.
  /// @throws Error{kUnsupported} naming the first such tensor.
  void refuse_unread() const;

  bool has(const std::string& name) const override { return checkpoint_.has(name); }
  WeightMatrix matrix(const std::string& name, std::int64_t outputs,
                      std::int64_t inputs) const override;
  WeightVector vector(const std::string& name, std::int64_t size) const override;

 private:
  WeightMatrix read(const std::string& name, const std::vector<std::int64_t>& shape,
                    const Dims& extents) const;

  Checkpoint checkpoint_;
  mutable std::set<std::string> read_;
};

/// Tensors that no file holds: element n is a hash of (seed, name, n). Matrices are uniform with
/// variance 1 / inputs, which keeps the size of activations; vectors are near 1.
class RandomWeights final : public Weights {
 public:
  explicit RandomWeights(std::uint64_t seed) : seed_(seed) {}

  bool has(const std::string&) const override { return false; }
  WeightMatrix matrix(const std::string& name, std::int64_t outputs,
                      std::int64_t inputs) const override;
  WeightVector vector(const std::string& name, std::int64_t size) const override;

 private:
  WeightVector draw(const std::string& name, const Dims& extents, float middle, float reach) const;

  std::uint64_t seed_;
};

}  // namespace rapt
