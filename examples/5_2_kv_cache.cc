// Topic 5.2, the KV cache: keys and values are stored once and read by every later query. However
// tokens came in, at once, in pieces, one by one or after a truncation, prefill has the same bits; and
// so from pages, which sequences that begin alike share.

#include <rapt/paged_kv_cache.h>

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

/// A sequence of `count` tokens in the only layer of a cache.
std::int64_t add(rapt::PagedKvCache& pages, const Tensor& k, const Tensor& v, std::int64_t count) {
  const std::int64_t sequence = pages.create();
  pages.extend(sequence, count);
  pages.store(0, sequence, 0, tokens_of(k, 0, count), tokens_of(v, 0, count));
  return sequence;
}

/// All queries against the keys of one sequence.
Tensor from_pages(const rapt::PagedKvCache& pages, std::int64_t sequence, rapt::Problem problem,
                  const Tensor& q) {
  problem.storage.k = problem.storage.v = pages.shape().dtype;
  const rapt::Plan plan = make_plan(problem, rapt::Threads(1), rapt::KvSource::kPages);
  Tensor o(q.extents);
  rapt::Scratch scratch;
  run(plan, {.q = q, .cache = &pages.layer(0), .sequences = {&sequence, 1}}, scratch, {.o = o});
  return o;
}

void show_pages(Proof& proof, const Tensor& q, const Tensor& k, const Tensor& v,
                const Tensor& prefill) {
  const std::int64_t tokens = q.extents[1], shared = 300;
  const rapt::Problem problem = problem_of(q, k, v, rapt::Mask::causal());
  rapt::PagedKvCache::Shape shape;
  shape.kv_heads = k.extents[2];
  shape.head_dim = k.extents[3];
  shape.page_size = 64;
  shape.pages = 20;
  rapt::PagedKvCache pages(shape);
  const auto used = [&] { return shape.pages - pages.free_pages(); };
  const std::int64_t first = add(pages, k, v, tokens);
  proof(same_bits(from_pages(pages, first, problem, q), prefill),
        "from pages of 64 tokens: bits of prefill");

  std::printf("pages: %lld for %lld tokens", static_cast<long long>(used()),
              static_cast<long long>(tokens));
  const std::int64_t second = pages.fork(first, shared);
  std::printf(", %lld with a fork that shares %lld", static_cast<long long>(used()),
              static_cast<long long>(shared));
  pages.extend(second, tokens - shared);
  std::printf(", %lld when it has gone on to as many\n", static_cast<long long>(used()));
  pages.store(0, second, shared, tokens_of(k, shared, tokens), tokens_of(v, shared, tokens));
  proof(same_bits(from_pages(pages, second, problem, q), prefill),
        "a fork continued with the same tokens: the same bits");
  pages.free(first);
  proof(same_bits(from_pages(pages, second, problem, q), prefill),
        "and they stay when the first ends");

  const std::size_t in_f32 = rapt::PagedKvCache::page_bytes(shape) / shape.page_size;
  shape.dtype = rapt::DType::kInt8;
  rapt::PagedKvCache quantised(shape);
  const std::int64_t small = add(quantised, k, v, tokens);
  std::printf("int8: %zu bytes a token instead of %zu, o off by %.2g\n",
              rapt::PagedKvCache::page_bytes(shape) / shape.page_size, in_f32,
              max_difference(from_pages(quantised, small, problem, q), prefill));
}

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
  show_pages(proof, q, k, v, prefill);
  return proof.exit_code();
}
