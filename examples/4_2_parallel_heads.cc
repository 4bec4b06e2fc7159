// Topic 4.2, parallel heads: one call computes every head of every sequence; heads are independent,
// so threads over them change the time and no bit.

#include "example.h"

using namespace example;

namespace {

/// Head `h` of a tensor [B, T, H, D], as a view.
rapt::ConstTensor head(const Tensor& t, std::int64_t h) {
  const rapt::ConstTensor all = t;
  rapt::Dims extents = all.extents;
  extents[2] = 1;
  return {&all.at(0, 0, h, 0), extents, all.strides};
}

}  // namespace

int main() {
  Proof proof;
  const std::int64_t batch = 2, tokens = 300, heads = 8, d = 64;
  const Tensor q = random({batch, tokens, heads, d}, 1), k = random({batch, tokens, heads, d}, 2),
               v = random({batch, tokens, heads, d}, 3);
  const rapt::Problem problem = problem_of(q, k, v, rapt::Mask::causal());
  const Tensor o = attention(problem, {q, k, v});
  print_shape("q, k, v", q.extents);
  print_shape("o", o.extents);

  for (const int threads : {2, 3, 8})
    proof(same_bits(attention(problem, {q, k, v}, threads), o),
          std::to_string(threads) + " threads give the bits of one");

  // Every head's output is a slice of o, and is what that head gives alone.
  rapt::Problem single = problem;
  single.q_heads = single.kv_heads = 1;
  bool equal = true;
  for (std::int64_t h = 0; h < heads; ++h) {
    const Tensor alone = attention(single, {head(q, h), head(k, h), head(v, h)});
    const rapt::ConstTensor slice = head(o, h), view = alone;
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t i = 0; i < tokens; ++i)
        equal = equal && std::memcmp(&slice.at(b, i, 0, 0), &view.at(b, i, 0, 0), d * 4) == 0;
  }
  proof(equal, "each of the 8 heads alone gives the bits of its slice");

  // Heads that share the inputs but not the queries look at different keys.
  const rapt::Plan plan = rapt::make_plan(problem, rapt::Threads(1));
  rapt::Scratch scratch;
  Tensor rows({batch, heads, 1, tokens});
  rapt::attention_rows(plan, {q, k, v}, scratch, {tokens - 1}, rows);
  print_shape("rows of A", rows.extents);
  for (std::int64_t h = 0; h < 3; ++h) {
    const float* row = &rows.data[h * tokens];
    const float* top = std::max_element(row, row + tokens);
    std::printf("  head %d looks most at key %d, with weight %.3f\n", static_cast<int>(h),
                static_cast<int>(top - row), *top);
  }
  return proof.exit_code();
}
