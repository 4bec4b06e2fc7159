// Topic 5.3, prefill versus decode: one formula, two workloads. Prefill does many flops for every
// byte and is bound by arithmetic; decode reads the whole cache for one token: bound by memory.

#include <chrono>

#include "example.h"

using namespace example;

namespace {

struct Cost {
  double seconds, flops, bytes;
};

/// Time of the second of two runs, with the flops on visible pairs and the bytes moved at least.
Cost measure(const rapt::Problem& p, const rapt::Inputs& inputs, const rapt::MutableTensor& o) {
  const bool cached = inputs.cache != nullptr;
  const rapt::Plan plan = rapt::make_plan(
      p, rapt::Threads(1), cached ? rapt::KvSource::kCache : rapt::KvSource::kTensors);
  rapt::Scratch scratch;
  Cost cost{};
  for (int repeat = 0; repeat < 2; ++repeat) {  // the first one warms the working memory
    const auto start = std::chrono::steady_clock::now();
    rapt::run(plan, inputs, scratch, {.o = o, .lse = {}, .m = {}, .l = {}});
    cost.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  const double features = static_cast<double>(p.head_dim + p.value_dim());
  cost.flops = 2.0 * p.visible_pairs() * features;
  cost.bytes = 4.0 * (p.q_tokens * p.q_heads + p.kv_tokens * p.kv_heads) * features;
  return cost;
}

void print(const char* name, const Cost& c) {
  std::printf("%-8s %9.3f ms %9.1f Mflop %8.2f MB %8.1f flop/byte %7.1f GFLOP/s %6.2f GB/s\n", name,
              1e3 * c.seconds, c.flops / 1e6, c.bytes / 1e6, c.flops / c.bytes,
              c.flops / c.seconds / 1e9, c.bytes / c.seconds / 1e9);
}

}  // namespace

int main() {
  Proof proof;
  const std::int64_t tokens = 2048, heads = 8, d = 64;
  const Tensor q = random({1, tokens, heads, d}, 1), k = random({1, tokens, heads, d}, 2),
               v = random({1, tokens, heads, d}, 3);
  print_shape("q, k, v", q.extents);

  const rapt::Problem prefill = problem_of(q, k, v, rapt::Mask::causal());
  Tensor all(q.extents);
  const Cost prompt = measure(prefill, {q, k, v}, all);

  // The last token again, against a cache that holds its key too.
  rapt::DenseKvCache cache({1, heads, d, d, tokens});
  cache.append(k, v);
  rapt::Problem decode = prefill;
  decode.q_tokens = 1;
  const rapt::ConstTensor last(&q.data[(tokens - 1) * heads * d], {1, 1, heads, d});
  Tensor one({1, 1, heads, d});
  const Cost token = measure(decode, {last, {}, {}, &cache}, one);

  print("prefill", prompt);
  print("decode", token);
  proof(std::equal(one.data.begin(), one.data.end(), all.data.end() - heads * d),
        "decoding the last token gives what prefill gave for it");
  proof(prompt.flops / prompt.bytes > 200 * token.flops / token.bytes,
        "prefill does over 200 times the flops a byte: bound by arithmetic, decode by memory");
  return proof.exit_code();
}
