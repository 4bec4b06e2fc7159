#include "bench/cases.h"

#include <fnmatch.h>

#include "base/splitmix64.h"
#include "rapt/error.h"

namespace rapt::bench {
namespace {

std::string number(std::int64_t n) { return std::to_string(n); }

struct Extents {
  std::int64_t head_dim, tokens, heads;
};

Case prefill(const std::string& mask_name, const Mask& mask, const Extents& extents) {
  Problem p;
  p.q_tokens = p.kv_tokens = extents.tokens;
  p.q_heads = p.kv_heads = extents.heads;
  p.head_dim = extents.head_dim;
  p.mask = mask;
  return {"prefill/f32/" + mask_name + "/d" + number(p.head_dim) + "/t" + number(p.q_tokens) +
              "/h" + number(p.q_heads),
          AttentionCase{p, KvSource::kTensors}};
}

// One in ten of the blocks of so many tokens, drawn at random.
Mask tenth_of_blocks(std::int64_t tokens, std::int64_t block) {
  const std::int64_t blocks = tokens / block;
  const BlockMask::Shape shape{1, 1, blocks, blocks, block, block};
  return Mask::blocks(BlockMask::from_predicate(
      shape, [](std::int64_t, std::int64_t, std::int64_t x, std::int64_t y) {
        return splitmix64(static_cast<std::uint64_t>(x), static_cast<std::uint64_t>(y)) % 10 == 0;
      }));
}

// The newest of 64k tokens, whose key is already in the cache.
Case decode(const std::string& heads_name, std::int64_t q_heads, std::int64_t kv_heads) {
  Problem p;
  p.q_tokens = 1;
  p.kv_tokens = 65536;
  p.q_heads = q_heads;
  p.kv_heads = kv_heads;
  p.head_dim = 128;
  p.mask = Mask::causal();
  return {"decode/f32/" + heads_name + "/d" + number(p.head_dim) + "/t" + number(p.kv_tokens),
          AttentionCase{p, KvSource::kCache}};
}

Case linear(std::int64_t rows, std::int64_t outputs, std::int64_t inputs) {
  return {"linear/f32/" + number(rows) + "x" + number(outputs) + "x" + number(inputs),
          LinearCase{rows, outputs, inputs}};
}

Work work_of(const AttentionCase& c) {
  const Problem& p = c.problem;
  const double features = static_cast<double>(p.head_dim + p.value_dim());
  const double rows =
      static_cast<double>(p.batch * (p.q_tokens * p.q_heads + p.kv_tokens * p.kv_heads));
  const auto pairs = static_cast<double>(p.visible_pairs());
  return {2 * pairs * features, sizeof(float) * rows * features};
}

Work work_of(const LinearCase& c) {
  const double rows = static_cast<double>(c.rows), outputs = static_cast<double>(c.outputs),
               inputs = static_cast<double>(c.inputs);
  return {2 * rows * outputs * inputs,
          sizeof(float) * (rows * inputs + outputs * inputs + rows * outputs)};
}

double rotated_bytes_of(const AttentionCase& c) {
  const Problem& p = c.problem;
  if (c.source != KvSource::kCache) return 0;
  return static_cast<double>(p.batch * p.kv_heads * p.kv_tokens * (p.head_dim + p.value_dim())) *
         sizeof(float);
}

double rotated_bytes_of(const LinearCase& c) {
  return c.rows == 1 ? static_cast<double>(c.outputs * c.inputs) * sizeof(float) : 0;
}

}  // namespace

Work Case::work() const {
  return std::visit([](const auto& c) { return work_of(c); }, call);
}

double Case::rotated_bytes() const {
  return std::visit([](const auto& c) { return rotated_bytes_of(c); }, call);
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      prefill("causal", Mask::causal(), {128, 4096, 8}),
      prefill("dense", Mask::none(), {128, 4096, 8}),
      prefill("causal", Mask::causal(), {64, 4096, 8}),
      prefill("window256", Mask::sliding_window(256), {128, 4096, 8}),
      prefill("blocks10of64", tenth_of_blocks(8192, 64), {128, 8192, 1}),
      prefill("blocks10of128", tenth_of_blocks(8192, 128), {128, 8192, 1}),
      prefill("causal", Mask::causal(), {128, 32768, 1}),
      prefill("window1024", Mask::sliding_window(1024), {128, 32768, 1}),
      decode("mha", 8, 8),
      decode("gqa32x8", 32, 8),
      decode("mqa8x1", 8, 1),
      linear(1024, 1024, 1024),
      linear(1, 4096, 4096),
  };
  return all;
}

std::vector<Case> cases_matching(const std::string& glob) {
  std::vector<Case> found;
  std::string names;
  for (const Case& c : cases()) {
    if (fnmatch(glob.c_str(), c.name.c_str(), 0) == 0) found.push_back(c);
    names += "\n  " + c.name;
  }
  if (found.empty())
    throw Error(
        ErrorCode::kBadArgument,
        "bench case: expected a pattern that matches one of these, got '" + glob + "'" + names);
  return found;
}

}  // namespace rapt::bench
