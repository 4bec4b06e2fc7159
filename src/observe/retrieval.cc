#include "rapt/retrieval.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "attention/views.h"
#include "base/check.h"
#include "base/memory.h"

namespace rapt {
namespace {

/// The keys of one row by their scores; -inf is hidden, or as good as that.
void add_top(const float* scores, std::int64_t keys, std::int64_t count,
             std::vector<std::int64_t>& order, std::vector<std::int64_t>& out) {
  order.clear();
  for (std::int64_t j = 0; j < keys; ++j)
    if (scores[j] != -std::numeric_limits<float>::infinity()) order.push_back(j);
  const auto end = order.begin() + std::min<std::int64_t>(count, std::ssize(order));
  std::partial_sort(order.begin(), end, order.end(), [&](std::int64_t a, std::int64_t b) {
    const bool a_nan = std::isnan(scores[a]), b_nan = std::isnan(scores[b]);
    if (a_nan || b_nan) return a_nan == b_nan ? a < b : a_nan;
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  });
  out.insert(out.end(), order.begin(), end);
  out.insert(out.end(), static_cast<std::size_t>(count - (end - order.begin())), -1);
}

}  // namespace

std::vector<std::int64_t> top_keys(const Problem& problem, const Inputs& inputs,
                                   const std::vector<std::int64_t>& rows, std::int64_t count,
                                   const Threads& threads, Scratch& scratch) {
  problem.validate();
  require(count >= 1 && count <= problem.kv_tokens, ErrorCode::kBadArgument, "top_keys count",
          "1 to " + std::to_string(problem.kv_tokens), count);
  return with_memory("top_keys", [&] {
    Problem scored = problem;
    Inputs keys = inputs;
    static constexpr float kZero = 0.0f;
    if (keys.cache == nullptr) {  // values are not looked at
      scored.v_head_dim = 1;
      scored.storage.v = DType::kF32;
      keys.v = ConstTensor(&kZero, {problem.batch, problem.kv_tokens, problem.kv_heads, 1}, Dims{});
    }
    scored.arithmetic = Arithmetic::kF32;
    const Plan plan = keys.cache == nullptr ? make_plan(scored, threads)
                                            : make_plan(scored, threads, *keys.cache);
    std::vector<std::vector<std::int64_t>> of_heads(
        static_cast<std::size_t>(problem.batch * problem.q_heads));
    std::vector<float> scores(of_heads.size() * static_cast<std::size_t>(problem.kv_tokens));
    std::vector<std::int64_t> order;
    for (const std::int64_t row : rows) {
      attention_rows(plan, keys, scratch, {row},
                     {scores.data(), {problem.batch, problem.q_heads, 1, problem.kv_tokens}},
                     RowKind::kScores);
      for (std::size_t n = 0; n < of_heads.size(); ++n)
        add_top(scores.data() + n * static_cast<std::size_t>(problem.kv_tokens), problem.kv_tokens,
                count, order, of_heads[n]);
    }
    std::vector<std::int64_t> all;
    for (const auto& of_head : of_heads) all.insert(all.end(), of_head.begin(), of_head.end());
    return all;
  });
}

std::vector<double> retrieval_scores(const Problem& problem, const Inputs& inputs,
                                     const RetrievalRun& run, const Threads& threads,
                                     Scratch& scratch) {
  require(problem.batch == 1, ErrorCode::kBadArgument, "Problem.batch", "1, one text",
          problem.batch);
  require(run.emitted.size() == run.rows.size(), ErrorCode::kBadArgument, "RetrievalRun.emitted",
          std::to_string(run.rows.size()) + " tokens, one a row", run.emitted.size());
  require(std::ssize(run.tokens) == problem.kv_tokens, ErrorCode::kBadArgument,
          "RetrievalRun.tokens", problem.kv_tokens, run.tokens.size());
  const Range& needle = run.needle;
  require(0 <= needle.begin && needle.begin < needle.end && needle.end <= problem.kv_tokens,
          ErrorCode::kBadArgument, "RetrievalRun.needle",
          "some keys of 0 to " + std::to_string(problem.kv_tokens),
          "[" + std::to_string(needle.begin) + ", " + std::to_string(needle.end) + ")");
  const auto top = top_keys(problem, inputs, run.rows, 1, threads, scratch);
  return with_memory("retrieval_scores", [&] {
    std::vector<double> scores;
    scores.reserve(static_cast<std::size_t>(problem.q_heads));
    for (std::int64_t h = 0; h < problem.q_heads; ++h) {
      std::set<std::int32_t> copied;
      for (std::size_t n = 0; n < run.rows.size(); ++n) {
        const std::int64_t key = top[static_cast<std::size_t>(h) * run.rows.size() + n];
        if (key >= needle.begin && key < needle.end &&
            run.tokens[static_cast<std::size_t>(key)] == run.emitted[n])
          copied.insert(run.emitted[n]);
      }
      scores.push_back(static_cast<double>(copied.size()) / static_cast<double>(needle.size()));
    }
    return scores;
  });
}

}  // namespace rapt
