// Topic 5.1, causal attention: a hidden key is out of the softmax, so rows sum to one over the keys
// they see, and whatever a hidden key or value holds, NaN included, reaches no bit of the output.

#include <limits>

#include "example.h"

using namespace example;

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Fills tokens [begin, end) of a tensor [1, T, H, D].
void poison(Tensor& t, std::int64_t begin, std::int64_t end) {
  const std::int64_t token = t.extents[2] * t.extents[3];
  std::fill(t.data.begin() + begin * token, t.data.begin() + end * token, kNaN);
}

/// Equality in bits of tokens [begin, end).
bool same_rows(const Tensor& a, const Tensor& b, std::int64_t begin, std::int64_t end) {
  const std::int64_t token = a.extents[2] * a.extents[3];
  return std::memcmp(&a.data[begin * token], &b.data[begin * token],
                     (end - begin) * token * sizeof(float)) == 0;
}

}  // namespace

int main() {
  Proof proof;
  const std::int64_t tokens = 600, heads = 2, d = 32;
  const Tensor q = random({1, tokens, heads, d}, 1), k = random({1, tokens, heads, d}, 2),
               v = random({1, tokens, heads, d}, 3);
  rapt::Problem problem = problem_of(q, k, v, rapt::Mask::causal());
  print_shape("q, k, v", q.extents);

  const std::vector<std::int64_t> rows = {0, 1, 299, 511, 512, tokens - 1};
  Tensor a({1, heads, static_cast<std::int64_t>(rows.size()), tokens});
  rapt::Scratch scratch;
  rapt::attention_rows(rapt::make_plan(problem, rapt::Threads(1)), {q, k, v}, scratch, rows, a);
  print_shape("rows of A", a.extents);
  double worst = 0, hidden = 0;
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const float* row = &a.data[(h * rows.size() + r) * tokens];
      double sum = 0;
      for (std::int64_t j = 0; j < tokens; ++j) (j <= rows[r] ? sum : hidden) += row[j];
      worst = std::max(worst, std::abs(sum - 1));
    }
  proof(worst < 1e-5, "a row sums to one over the keys it sees");
  proof(hidden == 0, "and has weight 0 on every key after it");

  const Tensor o = attention(problem, {q, k, v});
  Tensor k_poisoned = k, v_poisoned = v;
  poison(k_poisoned, 400, tokens);
  poison(v_poisoned, 400, tokens);
  const Tensor future = attention(problem, {q, k_poisoned, v_poisoned});
  proof(same_rows(future, o, 0, 400), "NaN in keys and values 400.. changes no bit of rows 0..399");
  proof(std::isnan(future.data.back()),
        "while rows that do see them are NaN: nothing is hushed up");

  // Padding on the left: 100 tokens that are no tokens.
  problem.q_ranges = problem.kv_ranges = {{100, tokens}};
  const Tensor padded = attention(problem, {q, k, v});
  Tensor k_padding = k, v_padding = v;
  poison(k_padding, 0, 100);
  poison(v_padding, 0, 100);
  proof(same_bits(attention(problem, {q, k_padding, v_padding}), padded),
        "NaN in the padding changes no bit");
  return proof.exit_code();
}
