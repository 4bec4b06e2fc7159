// Topic 5.1, structured masks: each says which keys a query sees, before the softmax. Rows sum to one
// over the keys they see, and whatever a hidden key or value holds, NaN included, reaches no bit.

#include "example.h"

using namespace example;
using rapt::Mask;

namespace {

void check_weights(Proof& proof, const rapt::Problem& p, const rapt::Inputs& inputs) {
  const Tensor a = weights(p, inputs);
  double worst = 0, hidden = 0;
  for (std::int64_t i = 0; i < p.q_tokens; ++i) {
    double sum = 0;
    bool sees = false;
    for (std::int64_t j = 0; j < 12; ++j) {
      const bool visible = p.visible(0, 0, i, j);
      sees = sees || visible;
      (visible ? sum : hidden) += a.data[i * 12 + j];
    }
    worst = std::max(worst, std::abs(sum - (sees ? 1 : 0)));
  }
  proof(worst < 1e-6 && hidden == 0, "rows sum to one over visible keys; hidden keys weigh 0");
}

/// Twelve tokens of one head; the last `queries` of them ask, and those outside `real` are padding.
void show(Proof& proof, const char* title, const Mask& mask, std::int64_t queries = 12,
          const rapt::Range& real = {0, 12}) {
  const Tensor q = random({1, queries, 1, 16}, 1), k = random({1, 12, 1, 16}, 2),
               v = random({1, 12, 1, 16}, 3);
  rapt::Problem p = problem_of(q, k, v, mask);
  p.kv_ranges = {real};
  if (queries == 12) p.q_ranges = {real};
  print_mask(title, p);
  check_weights(proof, p, {q, k, v});
  const Tensor o = attention(p, {q, k, v});
  bool same = true;
  for (std::int64_t i = 0; i < queries; ++i) {
    Tensor poisoned_k = k, poisoned_v = v;
    for (std::int64_t j = 0; j < 12; ++j)
      if (!p.visible(0, 0, i, j)) poison(poisoned_k, 0, j), poison(poisoned_v, 0, j);
    same = same && same_token(attention(p, {q, poisoned_k, poisoned_v}), o, 0, i);
  }
  proof(same, "NaN in every key and value that a query does not see changes no bit of its row");
}

}  // namespace

int main() {
  Proof proof;
  const Mask causal = Mask::causal();
  const Mask documents = Mask::documents({{1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3}});
  // What the system says (0), the user (1), a tool (2) and the assistant (3): a row for who sees.
  const Mask prompt = Mask::structure({{0, 0, 0, 1, 1, 2, 2, 2, 1, 3, 3, 3}},
                                      {{1, 0, 0, 0}, {1, 1, 0, 0}, {1, 0, 1, 0}, {1, 1, 1, 1}});
  std::puts("q, k, v, o [1, 12, 1, 16]: a line of a picture is a query, a column a key");
  show(proof, "causal", causal);
  show(proof, "causal, the last four", causal, 4);
  show(proof, "top left, the last four", Mask::causal_top_left(), 4);
  show(proof, "padding on the left", causal, 12, {4, 12});
  show(proof, "padding on the right", causal, 12, {0, 8});
  show(proof, "prefix", causal | Mask::prefix({5}));
  show(proof, "documents", documents & causal);
  show(proof, "window", Mask::sliding_window(4));
  show(proof, "two-sided window", Mask::window(2, 1));
  show(proof, "prompt structure", prompt & causal);
  show(proof, "tree", Mask::tree({{-1, 0, 0, 1, 1, 2}}));
  show(proof, "documents under a window", documents & Mask::sliding_window(3));
  return proof.exit_code();
}
