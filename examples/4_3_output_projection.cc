// Topic 4.3, concatenation and output projection: the layer joins the heads and maps them by W_O,
// which is a sum of one contribution a head.

#include <rapt/layer.h>

#include "example.h"

using namespace example;

int main() {
  Proof proof;
  const std::int64_t batch = 2, tokens = 40, dim = 64, heads = 4, d = dim / heads;
  const float scale = 1 / std::sqrt(static_cast<float>(dim));
  const Tensor x = random({1, batch, tokens, dim}, 1);
  const Tensor w_qkv = random({1, 1, 3 * dim, dim}, 2, scale),
               b_qkv = random({1, 1, 1, 3 * dim}, 3);
  const Tensor w_o = random({1, 1, dim, dim}, 4, scale), b_o = random({1, 1, 1, dim}, 5);

  rapt::MultiHeadAttention::Config config;
  config.model_dim = dim;
  config.q_heads = heads;
  config.mask = rapt::Mask::causal();

  // The rows of a fused projection are W_Q, W_K and W_V below each other.
  auto weights = rapt::MultiHeadAttention::split_fused(config, w_qkv, b_qkv);
  weights.o = w_o;
  weights.o_bias = b_o;
  const rapt::MultiHeadAttention layer(config, weights);

  Tensor y({1, batch, tokens, dim}), o({batch, tokens, heads, d});
  Tensor parts({batch, tokens, heads, dim});
  rapt::MultiHeadAttention::Workspace workspace;
  const rapt::Threads threads(2);
  layer(threads, {.x = x, .memory = {}, .cache = nullptr, .x_ranges = {}, .memory_ranges = {}},
        workspace, {.y = y, .heads = o, .contributions = parts, .lse = {}});
  print_shape("x", x.extents);
  print_shape("W_QKV", w_qkv.extents);
  print_shape("heads o_h", o.extents);
  print_shape("contributions", parts.extents);
  print_shape("y", y.extents);

  // y = concat(o_1 .. o_h) W_O^T + b_O: the heads lie side by side, so the concatenation is a view.
  Tensor joined({1, batch, tokens, dim});
  rapt::Scratch scratch;
  rapt::Linear(w_o, b_o)(threads, rapt::merge_heads(rapt::ConstTensor(o)), joined, scratch);
  proof(same_bits(joined, y), "y is W_O applied to the concatenated heads, in every bit");

  // The same sum, head by head.
  Tensor sum({1, batch, tokens, dim});
  std::vector<double> size(heads);
  for (std::int64_t t = 0; t < batch * tokens; ++t)
    for (std::int64_t e = 0; e < dim; ++e) {
      float& total = sum.data[t * dim + e] = b_o.data[e];
      for (std::int64_t h = 0; h < heads; ++h) {
        const float part = parts.data[(t * heads + h) * dim + e];
        total += part;
        size[h] += part * part / static_cast<double>(batch * tokens);
      }
    }
  proof(max_difference(sum, y) < 1e-5f, "y is b_O plus one contribution o_h W_O[:, h]^T a head");
  for (std::int64_t h = 0; h < heads; ++h)
    std::printf("  head %d contributes %.3f to y (mean norm)\n", static_cast<int>(h),
                std::sqrt(size[h]));
  return proof.exit_code();
}
