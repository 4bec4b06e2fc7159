// Topic 5.2, the KV cache: keys and values are stored once and read by every later query. However
// tokens came in, at once, in pieces, one by one or after a truncation, prefill has the same bits.

#include "example.h"

using namespace example;

namespace {

/// Tokens [begin, end) of a tensor [1, T, H, D], as a view.
rapt::ConstTensor tokens_of(const Tensor& t, std::int64_t begin, std::int64_t end) {
  const rapt::ConstTensor all = t;
  return {&all.at(0, begin, 0, 0), {1, end - begin, all.extents[2], all.extents[3]}, all.strides};
}

struct Stream {
  const Tensor &q, &k, &v;
  rapt::DenseKvCache cache;
  Tensor o;

  /// Appends tokens [begin, end), then attends from them to all that is in the cache.
  void step(std::int64_t begin, std::int64_t end) {
    cache.append(tokens_of(k, begin, end), tokens_of(v, begin, end));
    rapt::Problem problem = problem_of(q, k, v, rapt::Mask::causal());
    problem.q_tokens = end - begin;  // the last query stands at the last key
    problem.kv_tokens = cache.length(0);
    const Tensor part = attention(problem, {tokens_of(q, begin, end), {}, {}, &cache});
    std::copy(part.data.begin(), part.data.end(),
              o.data.begin() + begin * q.extents[2] * q.extents[3]);
  }
};

}  // namespace

int main() {
  Proof proof;
  const std::int64_t tokens = 560, q_heads = 4, kv_heads = 2, d = 32;
  const Tensor q = random({1, tokens, q_heads, d}, 1), k = random({1, tokens, kv_heads, d}, 2),
               v = random({1, tokens, kv_heads, d}, 3);
  const Tensor prefill = attention(problem_of(q, k, v, rapt::Mask::causal()), {q, k, v});
  print_shape("q", q.extents);
  print_shape("k, v", k.extents);

  const rapt::DenseKvCache::Shape shape = {1, kv_heads, d, d, tokens};
  Stream stream = {q, k, v, rapt::DenseKvCache(shape), Tensor(prefill.extents)};
  std::printf("cache: %zu bytes a token\n", stream.cache.size_bytes() / tokens);

  stream.step(0, 500);
  for (std::int64_t i = 500; i < tokens; ++i) stream.step(i, i + 1);
  proof(same_bits(stream.o, prefill),
        "a prompt of 500 tokens, then 60 one by one: bits of prefill");

  stream.cache.truncate(0, 300);
  proof(stream.cache.length(0) == 300, "truncated to 300 tokens");
  std::fill(stream.o.data.begin() + 300 * q_heads * d, stream.o.data.end(), 0.0f);
  for (std::int64_t i = 300; i < tokens; i += 65) stream.step(i, i + 65);
  proof(same_bits(stream.o, prefill), "and continued in pieces of 65: bits of prefill again");

  Stream decode = {q, k, v, rapt::DenseKvCache(shape), Tensor(prefill.extents)};
  for (std::int64_t i = 0; i < tokens; ++i) decode.step(i, i + 1);
  proof(same_bits(decode.o, prefill), "every token streamed alone: bits of prefill");
  return proof.exit_code();
}
