#pragma once

// The case list of attention: what tests and measurements run over.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "masks.h"
#include "rapt/attention.h"
#include "util.h"

namespace rapt::test {

enum class Padding {
  kNone,
  kLeft,
  kRight,
  kMixed
};  // kMixed: both sides, no keys at all, one each
enum class Values {
  kNormal,  // logits of deviation 1
  kPeaked,  // of deviation 8: few keys take all
  kLarge,   // of deviation 1e4
  kTiny,    // denormal logits and values
};

enum class Modifiers {
  kNone,
  kSoftcap,
  kAlibi,
  kRelative,
  kBias,  // broadcast over different axes in different cases, -inf among its values
  kSinks,
  kAll
};
inline constexpr int kModifierSets = 7;
enum class Positions {
  kDefault,
  kGiven  // with gaps, not ascending, others for each sequence
};

struct AttentionCase {
  std::int64_t batch = 1;
  std::int64_t q_tokens = 1;
  std::int64_t kv_tokens = 1;
  std::int64_t q_heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 64;
  std::int64_t v_head_dim = 0;  // 0: head_dim
  const NamedMask* mask = nullptr;
  Modifiers modifiers = Modifiers::kNone;
  Positions positions = Positions::kDefault;
  Padding padding = Padding::kNone;
  Layout layout = Layout::kContiguous;
  Values values = Values::kNormal;
  Storage storage;
  Arithmetic arithmetic = Arithmetic::kF32;
  KvSource source = KvSource::kTensors;
  int threads = 1;

  Problem problem() const;
  std::string name() const;

  /// Multiplications, of every pair whether visible or not.
  double cost() const;
  /// Floats of q, k, v, o and the bias.
  double floats() const;

  /// Extents of the additive bias; zeros where there is none.
  Dims bias_extents() const;
};

/// Inputs of a case in f32. Equal for equal extents and values, whatever layout, mask and padding are.
struct CaseInputs {
  Tensor q, k, v, bias;
  Storage storage;
  Layout layout;

  explicit CaseInputs(const AttentionCase& c, std::uint64_t seed = 1);

  /// The inputs, after rounding them to the case's types where they are: a test may have changed some.
  Inputs inputs() const;
};

/// Runs a problem from tensors of its types, or from a cache filled with its keys; KvSource::kRows is
/// one whose values are in the keys. The inputs are in f32, the types' numbers; so is o afterwards.
Outputs run_from(KvSource source, const Problem& problem, const Inputs& in, int threads,
                 Layout out = Layout::kContiguous);

/// Runs a case from its source, a cache filled with its keys if that is asked for.
Outputs run_case(const AttentionCase& c, const CaseInputs& in);

/// Calls f for each case with empty queries, keys, batches or rows.
void for_each_empty_case(const std::function<void(const AttentionCase&)>& f);

/// A pairwise covering set over lengths, masks, padding, head dimensions, groups, layouts, values,
/// sources and threads, each case small enough for the oracle.
std::vector<AttentionCase> pairwise_cases();

/// The case in native bf16: q, k and v stored as it needs them.
AttentionCase in_native(AttentionCase c);

/// Lengths x masks x padding x head dimensions in full, the rest drawn at random. Hours.
void for_each_grid_case(const std::function<void(const AttentionCase&)>& f);

/// RAPT_FULL_GRID=1 is set.
bool full_grid();

/// First, last and random tokens of [0, tokens), ascending, `count` at most.
std::vector<std::int64_t> sample_rows(std::int64_t tokens, std::int64_t count);

}  // namespace rapt::test
