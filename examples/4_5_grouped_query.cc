// Topic 4.5, grouped-query and multi-query attention: several query heads share one key/value head.
// The cache shrinks by Hq / Hkv; the result is that of multi-head attention with repeated heads.

#include "example.h"

using namespace example;

namespace {

/// Every key/value head `group` times in a row: [B, T, Hkv, D] becomes [B, T, Hkv group, D].
Tensor repeat_heads(const Tensor& t, std::int64_t group) {
  const rapt::ConstTensor from = t;
  Tensor repeated({t.extents[0], t.extents[1], t.extents[2] * group, t.extents[3]});
  const rapt::MutableTensor to = repeated;
  for (std::int64_t i = 0; i < to.extents[1]; ++i)
    for (std::int64_t h = 0; h < to.extents[2]; ++h)
      std::copy_n(&from.at(0, i, h / group, 0), to.extents[3], &to.at(0, i, h, 0));
  return repeated;
}

}  // namespace

int main() {
  Proof proof;
  const std::int64_t tokens = 600, q_heads = 16, d = 64;
  const Tensor q = random({1, tokens, q_heads, d}, 1);
  print_shape("q", q.extents);

  std::size_t mha_bytes = 0;
  for (const std::int64_t kv_heads : {16, 4, 1}) {
    const Tensor k = random({1, tokens, kv_heads, d}, 2), v = random({1, tokens, kv_heads, d}, 3);
    const rapt::Problem problem = problem_of(q, k, v, rapt::Mask::causal());
    const Tensor o = attention(problem, {q, k, v});

    rapt::DenseKvCache cache(
        {.batch = 1, .kv_heads = kv_heads, .head_dim = d, .v_head_dim = d, .capacity = tokens});
    if (mha_bytes == 0) mha_bytes = cache.size_bytes();
    std::printf("\nHq %d over Hkv %d (%s): cache %.2f MiB, %.1f%% less than multi-head\n",
                static_cast<int>(q_heads), static_cast<int>(kv_heads),
                kv_heads == q_heads ? "multi-head"
                : kv_heads == 1     ? "multi-query"
                                    : "grouped-query",
                static_cast<double>(cache.size_bytes()) / (1 << 20),
                100.0 - 100.0 * static_cast<double>(cache.size_bytes()) / mha_bytes);
    print_shape("k, v", k.extents);
    print_shape("o", o.extents);
    proof(cache.size_bytes() * (q_heads / kv_heads) == mha_bytes,
          "the cache is Hkv / Hq of the multi-head one");

    const std::int64_t group = q_heads / kv_heads;
    rapt::Problem repeated = problem;
    repeated.kv_heads = q_heads;
    proof(same_bits(attention(repeated, {q, repeat_heads(k, group), repeat_heads(v, group)}), o),
          "multi-head attention with every kv head repeated " + std::to_string(group) +
              " times: the same bits");
    cache.append(k, v);
    proof(same_bits(attention(problem, {q, {}, {}, &cache}), o), "from the cache: the same bits");
  }
  return proof.exit_code();
}
