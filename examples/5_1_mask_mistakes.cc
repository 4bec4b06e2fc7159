// Topic 5.1, what masks prevent: mistakes that run without an error, and what each does to the
// weights A. A row of A should sum to one over the keys that its query may see.

#include "example.h"

using namespace example;
using rapt::Mask;

namespace {

/// One head of dimension 32 over random tokens, of which the last ones ask.
struct Case {
  std::int64_t queries, tokens;
  Tensor q = random({1, queries, 1, 32}, 1), k = random({1, tokens, 1, 32}, 2),
         v = random({1, tokens, 1, 32}, 3);

  rapt::Problem problem(const Mask& mask) const { return problem_of(q, k, v, mask); }
  std::int64_t pairs(const Mask& mask) const { return problem(mask).visible_pairs(); }

  /// The share of all weight that goes to keys which `right` hides, where `wrong` is the mask.
  double leak(const Mask& wrong, const Mask& right) const {
    const Tensor a = weights(problem(wrong), {q, k, v});
    const rapt::Problem p = problem(right);
    double sum = 0;
    for (std::int64_t n = 0; n < queries * tokens; ++n)
      if (!p.visible(0, 0, n / tokens, n % tokens)) sum += a.data[n];
    return sum / static_cast<double>(queries);
  }
};

/// The weight of query 0 on its future where a cap follows the mask: tanh makes -cap of -inf.
double leak_of_cap_after_mask(double cap) {
  const Case c{512, 512};
  const Tensor s = weights(c.problem(Mask::causal()), {c.q, c.k, c.v}, rapt::RowKind::kScores);
  double sum = 0;
  for (int j = 0; j < 512; ++j) sum += std::exp(cap * std::tanh(s.data[j] / cap));
  return 1 - std::exp(cap * std::tanh(s.data[0] / cap)) / sum;
}

/// The mean of 384 values of 1, and of the 128 zeros of padding beside them if they are seen.
float average_of_ones(const std::vector<rapt::Range>& kv_ranges) {
  const Tensor q({1, 1, 1, 32}), k({1, 512, 1, 32});  // scores of 0: all keys weigh the same
  Tensor v(k.extents);
  std::fill_n(v.data.begin(), 384 * 32, 1.0f);
  rapt::Problem p = problem_of(q, k, v);
  p.kv_ranges = kv_ranges;
  return attention(p, {q, k, v}).data[0];
}

}  // namespace

int main() {
  Proof proof;
  const Case prompt{512, 512}, token{1, 512}, draft{6, 12};
  const Mask causal = Mask::causal(), none = Mask::none(), tree = Mask::tree({{-1, 0, 0, 1, 1, 2}});
  const Mask packed = Mask::documents_from_offsets({{0, 256, 512}}) & causal;
  std::puts("q, k, v [1, 512, 1, 32]");
  proof(token.pairs(Mask::causal_top_left()) == 1 && token.pairs(causal) == 512,
        "decode under a top-left causal mask: the newest of 512 tokens sees key 0 and no other");
  proof(token.pairs(Mask::sliding_window(4)) == 4 && token.pairs(Mask::window(4, 0)) == 5,
        "a window of 4 tokens is 4 keys; 4 tokens before the own one are 5 keys");
  const double future = prompt.leak(none, causal), across = prompt.leak(causal, packed);
  proof(future > 0.4, "no causal mask: the future gets " + percent(future) + " of all weight");
  proof(across > 0.2, "two documents, causal mask: " + percent(across) + " of all weight crosses");
  const double siblings = draft.leak(causal, tree);
  proof(siblings > 0.05, "drafts under a causal mask give other branches " + percent(siblings));
  proof(average_of_ones({}) == 0.75f && average_of_ones({{0, 384}}) == 1,
        "128 of 512 keys are padding, and seen: an average of ones is 0.75");
  const double capped = leak_of_cap_after_mask(5);
  proof(capped > 0.5, "softcap 5 after the mask: query 0 gives its future " + percent(capped));
  rapt::Problem p = prompt.problem(none);
  p.modifiers.additive_bias = true;
  const float large = -1e9f;
  const Tensor a = weights(p, {prompt.q, prompt.k, prompt.v, nullptr, {&large, {1, 1, 1, 1}}});
  proof(*std::max_element(a.data.begin(), a.data.end()) == 1.0f / 512 &&
            prompt.leak(~none, ~none) == 0,
        "512 keys hidden by a bias of -1e9 weigh 1/512 each; hidden by a mask they weigh 0");
  return proof.exit_code();
}
