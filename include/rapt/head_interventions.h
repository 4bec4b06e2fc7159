#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "rapt/model.h"
#include "rapt/tensor.h"
#include "rapt/threads.h"

namespace rapt {

/// A query head of a model.
struct HeadIndex {
  std::int64_t layer = 0, head = 0;

  auto operator<=>(const HeadIndex&) const = default;
};

/// "0.3": layer and head.
std::string to_string(HeadIndex head);

/// The Hq / Hkv query heads that read key/value head `kv_head` of a layer, in order.
///
/// Changing the outputs of them all leaves their attention as it is; removing the keys and values of
/// the head is another experiment, in which the softmax has other keys or none.
/// @throws Error{kBadArgument} if the model has no such layer or key/value head.
std::vector<HeadIndex> heads_of_group(const ModelConfig& config, std::int64_t layer,
                                      std::int64_t kv_head);

/// What becomes of the outputs o_h of single query heads before W_O, in a run of a model.
///
///     gate       o_h <- g o_h               g = 1 leaves the bits; g = 0 writes zeros
///     mean       o_h <- m                   m [Dv], say of head_output_means
///     resample   o_h <- r_t                 t the token's position, r [T, Dv] of another text
///
/// A value; a head that is named again has the last one. Heads that are not named keep their bits,
/// and a session without interventions pays nothing for them.
///
/// Zero takes a model off the distribution it was trained on; mean and resample do so less.
/// @source zero: Michel et al. 2019, arXiv:1905.10650; mean and resample: Wang et al. 2022,
///         arXiv:2211.00593, Chan et al. 2022, causal scrubbing
class HeadInterventions {
 public:
  /// o_h <- gate o_h.
  /// @throws Error{kBadArgument} if gate is not finite, or an index is negative.
  void gate(HeadIndex head, float gate);

  /// o_h <- values, the same at every position or those of each. They are copied.
  /// @shape  values [1, 1, 1, Dv] or [1, 1, T, Dv]
  /// @throws Error{kBadShape} unless it is of that shape; Error{kBadArgument} if an index is
  ///         negative.
  void replace(HeadIndex head, const ConstTensor& values);

  bool empty() const { return changes_.empty(); }

  /// Positions that values given by position have, the fewest of any head; without such all there
  /// are.
  std::int64_t positions() const { return positions_; }

  /// @throws Error{kBadArgument} naming a head that the model has not; Error{kBadShape} naming values
  ///         that are not as wide as its heads.
  void check(const ModelConfig& config) const;

  /// Changes the heads of `layer`; o [1, T, Hq, Dv] is of the positions from `first` on.
  void apply(std::int64_t layer, std::int64_t first, const MutableTensor& o) const;

 private:
  struct Change {
    float gate = 1;
    std::int64_t rows = 0;  // of values; 0: the gate
    std::vector<float> values;
  };

  void set(HeadIndex head, Change change);

  std::map<HeadIndex, Change> changes_;
  std::int64_t positions_ = INT64_MAX;
};

/// Outputs of all heads of a model for T tokens, or their means.
struct HeadOutputs {
  std::int64_t layers = 0, tokens = 0, heads = 0, dim = 0;  ///< L, T, Hq, Dv
  std::vector<float> values;                                ///< [L, T, Hq, Dv]

  /// A view [1, 1, T, Dv] of one head's, as HeadInterventions::replace takes it.
  /// @throws Error{kBadArgument} if there is no such head.
  ConstTensor of(HeadIndex head) const;
};

/// o_h of every head and token, before W_O.
/// @throws Error as Session::prefill.
/// @cost   the model without its head, and 4 L T Hq Dv bytes.
HeadOutputs head_outputs(const Model& model, const Threads& threads,
                         std::span<const std::int32_t> tokens);

/// The mean output of every head over all tokens of all texts: T = 1. Sums are in f64, in order.
/// @throws Error{kBadArgument} if there is no text; Error as Session::prefill.
HeadOutputs head_output_means(const Model& model, const Threads& threads,
                              std::span<const std::vector<std::int32_t>> texts);

}  // namespace rapt
