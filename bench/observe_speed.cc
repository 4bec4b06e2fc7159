// How long looking at attention takes, beside attention itself:
// observe_speed [TOKENS MAP_TOKENS PAIRS_TOKENS].
//
// One causal head, D 128, f32, one thread; entropy, sink mass, lookback and the mass by distance. Then
// the pooled map of 512 x 512 blocks, with the peak of the process's memory; and what goes twice
// through the scores of 8 heads of D 64: what keys receive, the similarity of all pairs of heads.

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/clock.h"
#include "base/splitmix64.h"
#include "rapt/head_similarity.h"
#include "rapt/observe.h"
#include "rapt/pooled_map.h"
#include "rapt/received.h"

namespace rapt {
namespace {

std::vector<float> numbers(std::int64_t count, std::uint64_t seed) {
  std::vector<float> x;
  for (std::int64_t n = 0; n < count; ++n)
    x.push_back(static_cast<float>(splitmix64(seed, static_cast<std::uint64_t>(n)) >> 40) *
                    0x1p-23f -
                1.0f);
  return x;
}

struct Heads {
  explicit Heads(std::int64_t tokens, std::int64_t heads = 1, std::int64_t dim = 128)
      : extents{1, tokens, heads, dim},
        q(numbers(tokens * heads * dim, 1)),
        k(numbers(tokens * heads * dim, 2)),
        v(numbers(tokens * heads * dim, 3)) {
    problem.q_tokens = problem.kv_tokens = tokens;
    problem.q_heads = problem.kv_heads = heads;
    problem.head_dim = dim;
    problem.mask = Mask::causal();
    problem.scale = 0.5f;
  }

  Inputs inputs() const {
    return {.q = ConstTensor(q.data(), extents),
            .k = ConstTensor(k.data(), extents),
            .v = ConstTensor(v.data(), extents)};
  }

  Problem problem;
  Dims extents;
  std::vector<float> q, k, v;
};

void compare(std::int64_t tokens) {
  const Heads head(tokens);
  const Threads one(1);
  Scratch scratch;
  std::vector<float> o(head.v.size());
  const Plan plan = make_plan(head.problem, one);
  ObserveOptions options;
  options.metrics = {RowMetric::kEntropy, RowMetric::kSinkMass, RowMetric::kLookback};
  options.distances = true;
  double forward = 1e9, looking = 1e9;
  for (int repeat = 0; repeat < 5; ++repeat) {
    forward =
        std::min(forward, seconds_of([&] {
                   run(plan, head.inputs(), scratch, {.o = MutableTensor(o.data(), head.extents)});
                 }));
    looking = std::min(
        looking, seconds_of([&] { observe(head.problem, head.inputs(), options, one, scratch); }));
  }
  std::printf("T %lld: attention %.3f s, observe %.3f s, ratio %.2f\n",
              static_cast<long long>(tokens), forward, looking, looking / forward);
}

void map(std::int64_t tokens) {
  const Heads head(tokens);
  Scratch scratch;
  const double seconds =
      seconds_of([&] { pooled_map(head.problem, head.inputs(), 512, 512, Threads(1), scratch); });
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf(
      "T %lld: pooled map 512 x 512 in %.1f s, peak %.0f MiB of the process, q and k %.0f\n",
      static_cast<long long>(tokens), seconds, static_cast<double>(usage.ru_maxrss) / 1024,
      static_cast<double>(2 * tokens * 128 * 4) / (1 << 20));
}

void compare_two_passes(std::int64_t tokens) {
  const Heads heads(tokens, 8, 64);
  const Threads one(1);
  Scratch scratch;
  std::vector<float> o(heads.v.size());
  const Plan plan = make_plan(heads.problem, one);
  double forward = 1e9, receiving = 1e9, pairs = 1e9;
  for (int repeat = 0; repeat < 5; ++repeat) {
    forward = std::min(forward, seconds_of([&] {
                         run(plan, heads.inputs(), scratch,
                             {.o = MutableTensor(o.data(), heads.extents)});
                       }));
    receiving = std::min(receiving, seconds_of([&] {
                           attention_received(heads.problem, heads.inputs(), one, scratch);
                         }));
    pairs = std::min(
        pairs, seconds_of([&] { head_similarity(heads.problem, heads.inputs(), one, scratch); }));
  }
  std::printf("T %lld: attention %.3f s; received %.2f of it, similarity of 8 heads %.2f\n",
              static_cast<long long>(tokens), forward, receiving / forward, pairs / forward);
}

}  // namespace
}  // namespace rapt

int main(int argc, char** argv) {
  const auto tokens = [&](int n, long long unless) {
    return argc > n ? std::atoll(argv[n]) : unless;
  };
  if (tokens(1, 16384) > 0) rapt::compare(tokens(1, 16384));
  if (tokens(2, 131072) > 0) rapt::map(tokens(2, 131072));
  if (tokens(3, 4096) > 0) rapt::compare_two_passes(tokens(3, 4096));
  return 0;
}
