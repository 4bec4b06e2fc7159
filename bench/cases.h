#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "rapt/attention.h"
#include "rapt/model.h"
#include "rapt/weight.h"

namespace rapt::bench {

/// Useful work of one call, whatever an implementation really does.
struct Work {
  double flops = 0;  ///< of visible pairs only
  double bytes = 0;  ///< every input read once, every output written once; 0 if they are hot
  bool pairs =
      false;  ///< in native bf16: its ceiling is the dot product instruction's, where there is one
};

/// Attention of plain tensors (prefill, packing included) or of a cache (decode): of
/// KvSource::kRows one whose values are in the keys.
struct AttentionCase {
  Problem problem;
  KvSource source;
  bool hot = false;  ///< calls read what the last one did: it stays in the processor's caches
  std::int64_t page_size = 0;  ///< of KvSource::kPages, whose pages lie in random order
};

/// The newest token of some sequences in pages, whose first `shared_tokens` are alike.
struct BatchCase {
  Problem problem;  ///< of one of them
  std::int64_t sequences, shared_tokens, page_size;
  bool shared;  ///< the tokens that are alike are in the same pages
};

/// y = x W^T, x [rows, inputs], y [rows, outputs], W in `type`.
struct LinearCase {
  WeightType type;
  std::int64_t rows, outputs, inputs;
};

/// Plain reads of all of kReadBytes by blocks in random order: what pages can reach at most.
struct ReadCase {
  std::int64_t block_bytes;
};

/// The newest token of one sequence in a model of random weights, after `context` tokens.
struct ModelCase {
  ModelConfig config;
  ModelOptions options;  ///< weights in a type that is said
  std::int64_t context;
};

struct Case {
  std::string name;  ///< `prefill/f32/causal/d128/t4096/h8`, for example
  std::variant<AttentionCase, BatchCase, LinearCase, ReadCase, ModelCase> call;

  Work work() const;

  /// Bytes of the operand that the calls take turns at: the cache, or the weights of one token's
  /// product or of a model. 0 where a call computes long enough on what it reads.
  double rotated_bytes() const;
};

/// Every case, in the order of the report. The tests take the same list, cut to fewer tokens.
const std::vector<Case>& cases();

/// Cases whose name matches a shell pattern; `*` matches `/` too.
/// @throws Error{kBadArgument} that lists the cases if there is none.
std::vector<Case> cases_matching(const std::string& glob);

}  // namespace rapt::bench
