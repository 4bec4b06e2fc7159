// Topic 5.5, cross-attention: queries of one sequence, keys and values of another, no causal mask.
// First over an encoder's memory, with a cache that is filled once; then over retrieved passages.

#include <rapt/layer.h>

#include "example.h"

using namespace example;

namespace {

void encoder_memory(Proof& proof) {
  const std::int64_t batch = 2, source = 70, target = 5, dim = 48, memory_dim = 80, heads = 4;
  const Tensor memory = random({1, batch, source, memory_dim}, 1);
  const Tensor x = random({1, batch, target, dim}, 2);
  const rapt::Dims square = {1, 1, dim, dim}, wide = {1, 1, dim, memory_dim};
  const Tensor w_q = random(square, 3, 0.1f), w_k = random(wide, 4, 0.1f),
               w_v = random(wide, 5, 0.1f), w_o = random(square, 6, 0.1f);
  rapt::MultiHeadAttention::Config config;
  config.model_dim = dim;
  config.memory_dim = memory_dim;
  config.q_heads = heads;  // the mask is none: every target token sees the whole source
  const rapt::MultiHeadAttention layer(config, {w_q, {}, w_k, {}, w_v, {}, w_o, {}});
  print_shape("x", x.extents);
  print_shape("memory", memory.extents);
  const rapt::Threads threads(1);
  rapt::MultiHeadAttention::Workspace workspace;
  Tensor whole({1, batch, target, dim});
  layer(threads, {x, memory, nullptr, {}, {}}, workspace, {whole, {}, {}, {}});
  rapt::DenseKvCache cache = layer.make_cache(batch, source);
  layer.append(threads, memory, cache, workspace);  // once for all target tokens
  Tensor steps(whole.extents);
  const rapt::Dims token = {1, batch, 1, dim}, strides = rapt::contiguous_strides(x.extents);
  for (std::int64_t t = 0; t < target; ++t)
    layer(threads, {{&x.data[t * dim], token, strides}, {}, &cache, {}, {}}, workspace,
          {{&steps.data[t * dim], token, strides}, {}, {}, {}});
  proof(same_bits(steps, whole), "token by token from the memory's cache: bits of one call");

  // Beams of a search: more rows of x than memories, all of the second one here.
  const std::int64_t beams[] = {1, 1, 1};
  const Tensor next = random({1, 3, 1, dim}, 11);
  Tensor together(next.extents), alone(next.extents);
  rapt::MultiHeadAttention::Inputs in{next, {}, &cache, {}, {}};
  in.sequences = beams;
  layer(threads, in, workspace, {together, {}, {}, {}});
  for (std::int64_t n = 0; n < 3; ++n) {
    const rapt::Dims one = {1, 1, 1, dim};
    rapt::MultiHeadAttention::Inputs beam{{&next.data[n * dim], one}, {}, &cache, {}, {}};
    beam.sequences = {beams, 1};
    layer(threads, beam, workspace, {{&alone.data[n * dim], one}, {}, {}, {}});
  }
  proof(same_bits(together, alone), "three beams on one memory: bits of each alone");
}

void retrieved_passages(Proof& proof) {
  const std::int64_t passages = 3, tokens = 100, heads = 2, d = 32;
  const Tensor q = random({1, 1, heads, d}, 7), k = random({passages, tokens, heads, d}, 8),
               v = random({passages, tokens, heads, d}, 9);
  const rapt::ConstTensor same_q(q.data.data(), {passages, 1, heads, d}, {0, heads * d, d, 1});
  const rapt::Problem apart = problem_of(same_q, k, v);
  print_shape("q", same_q.extents);
  print_shape("passages", k.extents);
  // Each passage on its own, in one batch; their (o, lse) merge into attention over all of them.
  Tensor o({passages, 1, heads, d}), lse({1, passages, heads, 1}), merged({1, 1, heads, d}),
      merged_lse({1, 1, heads, 1});
  rapt::Scratch scratch;
  rapt::run(rapt::make_plan(apart, rapt::Threads(1)), {same_q, k, v}, scratch, {o, lse, {}, {}});
  const auto passage = [&](std::int64_t n) {
    rapt::Result result;
    result.o = {&o.data[n * heads * d], {1, 1, heads, d}};
    result.lse = {&lse.data[n * heads], {1, 1, heads, 1}};
    return result;
  };
  const rapt::Result all = {merged, merged_lse, {}, {}};
  rapt::merge_finished(passage(0), passage(1), all);
  rapt::merge_finished(all, passage(2), all);
  for (std::int64_t n = 0; n < passages; ++n)
    std::printf("  passage %d has weight %.3f in head 0\n", static_cast<int>(n),
                std::exp(lse.data[n * heads] - merged_lse.data[0]));

  const rapt::Dims joined = {1, passages * tokens, heads, d};
  const rapt::ConstTensor all_k(k.data.data(), joined), all_v(v.data.data(), joined);
  const Tensor one = attention(problem_of(q, all_k, all_v), {q, all_k, all_v});
  proof(max_difference(one, merged) < 1e-6f, "passages attended apart merge into the whole");
}

}  // namespace

int main() {
  Proof proof;
  encoder_memory(proof);
  retrieved_passages(proof);
  return proof.exit_code();
}
