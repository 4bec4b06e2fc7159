#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "rapt/kv_cache.h"
#include "rapt/problem.h"
#include "rapt/scratch.h"
#include "rapt/state.h"
#include "rapt/tensor.h"
#include "rapt/threads.h"

namespace rapt {

/// Where keys and values come from.
enum class KvSource {
  kTensors,  ///< plain k and v tensors of any strides
  kCache,    ///< a cache whose tiles are whole chunks: dense, or of pages of a multiple of 512
  kPages,    ///< a cache of any tiles: a PagedKvCache
  kRows,     ///< rows of tokens in pages of a multiple of 16, or in one: BlockTables
  kAnyRows,  ///< rows of tokens in pages of any size
};

struct PlanDetail;

/// What `make_plan` decided: kernels, tiles, work items, working memory. Immutable: share it.
class Plan {
 public:
  const Problem& problem() const;
  KvSource source() const;

  /// Working memory that `run` will use, in bytes: O(tokens), never O(Tq Tk).
  std::size_t scratch_bytes() const;

  /// The decisions and their reasons, one `name: value` a line, for people and for tests.
  std::string explain() const;

  /// Value of one line of `explain()`; empty if there is no such line.
  std::string explain(const std::string& name) const;

  const PlanDetail& detail() const { return *detail_; }

 private:
  friend struct PlanDetail;
  explicit Plan(std::shared_ptr<const PlanDetail> detail) : detail_(std::move(detail)) {}
  std::shared_ptr<const PlanDetail> detail_;
};

/// Checks `problem`, and chooses kernels, tiles and the split of the work.
///
/// @throws Error{kBadArgument, kBadShape} naming the field; Error{kOutOfMemory}.
/// @cost   a few ns for each tile of 48 rows x 512 keys; nothing is computed on tensors.
Plan make_plan(const Problem& problem, const Threads& threads,
               KvSource source = KvSource::kTensors);

/// The same for keys and values in `cache`, or in any that keeps them alike: the source is the one
/// that reads most of it in place.
Plan make_plan(const Problem& problem, const Threads& threads, const KvTiles& cache);

/// Inputs of one run. Either `k` and `v`, or `cache` with the sequences' keys already appended.
/// The bias is by token, padding included, and extents of 1 are broadcast.
struct Inputs {
  AnyConstTensor q{};              ///< [B, Tq, Hq, D]
  AnyConstTensor k{};              ///< [B, Tk, Hkv, D]
  AnyConstTensor v{};              ///< [B, Tk, Hkv, Dv]
  const KvTiles* cache = nullptr;  ///< for all but KvSource::kTensors
  ConstTensor bias{};              ///< [B, Hq, Tq, Tk], for ScoreModifiers::additive_bias
  /// [B] of the cache; empty: b of b. Several may be one: beams that attend to the same memory.
  std::span<const std::int64_t> sequences{};

  std::int64_t cache_sequence(std::int64_t b) const {
    return sequences.empty() ? b : sequences[static_cast<std::size_t>(b)];
  }
};

/// Outputs of one run. `o` is required; the others are written where `data` is set.
struct Result {
  AnyTensor o{};        ///< [B, Tq, Hq, Dv]
  MutableTensor lse{};  ///< [1, B, Hq, Tq], natural log-sum-exp of the visible scores
  MutableTensor m{};  ///< [1, B, Hq, Tq], the integer maximum in log2 units, -inf for an empty row
  MutableTensor l{};  ///< [1, B, Hq, Tq], sum of 2^(s - m) over the visible keys and the sink
};

/// Runs `plan`: o = softmax(scores) v over the visible keys, and lse = ln sum exp(scores), the sink
/// included; the scores are scale q k^T, changed by the modifiers.
///
/// @shape   q [B, Tq, Hq, D]   k [B, Tk, Hkv, D]   v [B, Tk, Hkv, Dv]   o [B, Tq, Hq, Dv]
/// @dtype   problem.storage; scores, sums and accumulators f32. o is rounded once, when it is
///          written: nearest, ties to even, infinity beyond the type's largest number.
/// @pre     outputs overlap no input.
/// @throws  Error{kBadShape} if a view does not match the plan's problem, Error{kBadArgument} if
///          its type does not.
/// @error   max |o - o64| <= 2 e + 2^-23 max|v|, e the error of a sequential two-pass f32 loop; 3 e
///          with softcap, ALiBi or a bias; before o is rounded. Native bf16 adds 1.004 2^-7
///          max|v|, and 1.002 2^-8 to lse.
/// @cost    2 visible_pairs() (D + Dv) flops. Allocates nothing once `scratch` is warm.
/// @source  arXiv:2307.08691 (tiling and online softmax); the order is docs/numerics.md.
void run(const Plan& plan, const Inputs& inputs, Scratch& scratch, const Result& result);

/// Runs `plan` over the keys of chunks [first, end) only, into a state that `merge` can join.
///
/// A chunk is `kChunk` slots. States of adjacent ranges, merged and finished, give the bits of
/// `run`; chunks beyond a sequence's keys are empty.
///
/// @throws Error{kBadArgument} if the range is reversed or negative; Error{kBadShape} as `run`.
/// @cost   as `run`, and O(log chunks) nodes of B Tq Hq (Dv + 2) floats.
State run_partial(const Plan& plan, const Inputs& inputs, Scratch& scratch, ChunkRange chunks);

/// What `attention_rows` gives.
enum class RowKind {
  kWeights,  ///< A_j = 2^(s_j - m) / l; +0 for a hidden key
  kScores,   ///< scale q.k_j changed by the modifiers, in natural units; -inf for a hidden key
};

/// Rows of the attention matrix, for checking and for teaching. A row of weights sums to one over
/// its visible keys, less what a sink takes; an empty row is all zero.
///
/// @shape  out [B, Hq, rows.size(), Tk], indexed by token (padding included), not by slot.
/// @throws Error{kBadArgument} if a row is outside [0, Tq); Error{kBadShape} as `run`.
/// @cost   O(rows Tk) memory.
void attention_rows(const Plan& plan, const Inputs& inputs, Scratch& scratch,
                    const std::vector<std::int64_t>& rows, const MutableTensor& out,
                    RowKind kind = RowKind::kWeights);

}  // namespace rapt
