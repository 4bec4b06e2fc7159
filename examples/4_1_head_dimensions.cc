// Topic 4.1, head dimensions: D is d_model / h by default but may be anything, Dv may differ from
// D, and splitting or merging heads moves no number.

#include <rapt/error.h>
#include <rapt/layer.h>

#include "example.h"

using namespace example;

namespace {

/// The formula of attention for one query and head, in double: what the result is held against.
std::vector<double> plain(const Tensor& q, const Tensor& k, const Tensor& v, int i, int h) {
  const auto at = [](const Tensor& t, int token, int head, int e) {
    return double{rapt::ConstTensor(t).at(0, token, head, e)};
  };
  const int keys = static_cast<int>(k.extents[1]), d = static_cast<int>(k.extents[3]);
  std::vector<double> o(v.extents[3]);
  double sum = 0;
  for (int j = 0; j < keys; ++j) {
    double score = 0;
    for (int e = 0; e < d; ++e) score += at(q, i, h, e) * at(k, j, h, e);
    const double p = std::exp(score / std::sqrt(d));
    sum += p;
    for (std::size_t e = 0; e < o.size(); ++e) o[e] += p * at(v, j, h, static_cast<int>(e));
  }
  for (double& x : o) x /= sum;
  return o;
}

}  // namespace

int main() {
  Proof proof;
  const std::int64_t tokens = 50, heads = 6, model_dim = 96;

  // [1, B, T, H D] and [B, T, H, D] are two views of one memory.
  Tensor x = random({1, 2, tokens, model_dim}, 1);
  const rapt::ConstTensor split = rapt::split_heads(rapt::ConstTensor(x), heads);
  print_shape("x", x.extents);
  print_shape("heads of x", split.extents);
  proof(split.extents[3] == model_dim / heads, "a head has d_model / h features by default");
  proof(split.data == x.data.data() && &split.at(1, 3, 2, 5) == &x.data[(tokens + 3) * 96 + 37],
        "splitting heads is a view: it copies nothing");
  proof(rapt::merge_heads(split).extents == x.extents, "merging the heads gives x back");

  // Any D, and another Dv.
  for (const auto& [d, dv] : {std::pair{1, 1}, {31, 31}, {64, 128}, {80, 33}, {256, 7}}) {
    const Tensor q = random({1, tokens, heads, d}, 2), k = random({1, tokens, heads, d}, 3),
                 v = random({1, tokens, heads, dv}, 4);
    const Tensor o = attention(problem_of(q, k, v), {q, k, v});
    print_shape("o", o.extents);
    const std::vector<double> expected = plain(q, k, v, 17, 5);
    double difference = 0;
    for (int e = 0; e < dv; ++e)
      difference =
          std::max(difference, std::abs(expected[e] - rapt::ConstTensor(o).at(0, 17, 5, e)));
    proof(difference < 1e-5, "D " + std::to_string(d) + ", Dv " + std::to_string(dv) +
                                 ": o = softmax(q k^T / sqrt(D)) v");
  }

  try {
    rapt::split_heads(rapt::ConstTensor(x), 7);
    proof(false, "96 features do not divide into 7 heads");
  } catch (const rapt::Error& error) {
    proof(true, std::string("a shape error says what is wrong: ") + error.what());
  }
  return proof.exit_code();
}
