// Topic 5.4, positions: what tells a query how far away a key is. ALiBi and relative bias change
// scores, learned positions tokens, rotary ones q and k (5_4_rotary); without any, order is unseen.

#include <rapt/positions.h>
#include <rapt/rotary.h>

#include "example.h"

using namespace example;
using rapt::Mask;

namespace {

void biases(Proof& proof) {
  const Tensor zero({1, 8, 2, 16});  // q.k = 0: what is left is the bias
  rapt::Problem p = problem_of(zero, zero, zero, Mask::causal());
  p.modifiers.alibi_slopes = rapt::alibi_slopes(2);
  const Tensor a = weights(p, {zero, zero, zero});
  const float* last = &a.data[7 * 8];  // of head 0: the weights of the last query
  proof(std::abs(last[6] / last[7] - std::exp(-p.modifiers.alibi_slopes[0])) < 1e-6f,
        "ALiBi: each step back multiplies a weight by exp(-slope)");

  const rapt::RelativeBias t5{4, 8, false, {0, 0, -1, 0, -2, 0, -3, 0}};  // table [buckets, Hq]
  p.modifiers = {};
  p.modifiers.relative_bias = t5;
  const Tensor s = weights(p, {zero, zero, zero}, rapt::RowKind::kScores);
  bool same = true;
  for (int j = 0; j < 8; ++j) same = same && std::abs(s.data[7 * 8 + j] + t5.bucket(j - 7)) < 1e-6f;
  proof(same, "T5: the bias of a key is the table's at the bucket of its distance");
}

/// Tokens [4, 12) of a row of a batch, then alone: positions and masks begin at the first of them.
void left_padding(Proof& proof) {
  Tensor q = random({1, 12, 2, 16}, 7), k = random(q.extents, 8), v = random(q.extents, 9);
  print_shape("q, k, v", q.extents);
  for (std::int64_t t = 0; t < 4; ++t) poison(q, 0, t), poison(k, 0, t), poison(v, 0, t);
  const rapt::Rotary rotary(16);
  const auto run = [&](rapt::Problem p, std::int64_t first, const std::vector<std::int64_t>& at) {
    const rapt::Dims extents = {1, 12 - first, 2, 16};
    const std::int64_t skip = first * 32;
    Tensor x(extents), y(extents);
    rapt::apply_rotary(rapt::Threads(1), rotary.table(at), {&q.data[skip], extents}, x);
    rapt::apply_rotary(rapt::Threads(1), rotary.table(at), {&k.data[skip], extents}, y);
    p.q_tokens = p.kv_tokens = 12 - first;
    p.modifiers.alibi_slopes = rapt::alibi_slopes(2);
    return attention(p, {x, y, {&v.data[skip], extents}});
  };
  rapt::Problem padded = problem_of(q, k, v, Mask::causal());
  const Tensor alone = run(padded, 4, {0, 1, 2, 3, 4, 5, 6, 7});
  padded.q_ranges = padded.kv_ranges = {{4, 12}};
  const Tensor o = run(padded, 0, {0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7});
  proof(std::memcmp(&o.data[4 * 32], alone.data.data(), alone.size_bytes()) == 0,
        "rotary and ALiBi behind 4 tokens of padding, NaN in them: bits of the sequence alone");
}

void learned_and_none(Proof& proof) {
  const Tensor table = random({1, 1, 16, 8}, 3);
  Tensor x({1, 1, 2, 8});
  rapt::add_positions(rapt::Threads(1), table, {3, 5}, x);
  proof(std::equal(x.data.begin(), x.data.begin() + 8, &table.data[3 * 8]),
        "learned: a token at position 3 gets row 3 of the table [1, 1, 16, 8]");
  const Tensor q = random({1, 1, 1, 32}, 4), k = random({1, 9, 1, 32}, 5),
               v = random({1, 9, 1, 32}, 6), o = attention(problem_of(q, k, v), {q, k, v});
  const rapt::Dims backward = {9 * 32, -32, 32, 1};  // the same tokens, the last one first
  const rapt::ConstTensor from_k(&k.data[8 * 32], k.extents, backward),
      from_v(&v.data[8 * 32], v.extents, backward);
  proof(max_difference(attention(problem_of(q, k, v), {q, from_k, from_v}), o) < 1e-6f,
        "none: keys in reverse order give the same output, but for rounding");
}

}  // namespace

int main() {
  Proof proof;
  left_padding(proof);
  biases(proof);
  learned_and_none(proof);
  return proof.exit_code();
}
