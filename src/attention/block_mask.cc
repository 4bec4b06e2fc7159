#include "rapt/block_mask.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/memory.h"
#include "base/round.h"

namespace rapt {
namespace {

void require_data(const ConstTensor& view, const char* where) {
  const bool empty = std::count(view.extents.begin(), view.extents.end(), 0) > 0;
  require(empty || view.data != nullptr, ErrorCode::kBadArgument, where, "a view with data",
          "a null pointer");
}

/// q . k over rows of `dim` floats, in f64.
double dot(const double* q, const double* k, std::int64_t dim) {
  double sum = 0;
  for (std::int64_t e = 0; e < dim; ++e) sum += q[e] * k[e];
  return sum;
}

/// Means of x over blocks of tokens. @shape x [B, T, H, D], result [B, H, blocks, D]
std::vector<double> block_means(const ConstTensor& x, std::int64_t block) {
  const std::int64_t tokens = x.extents[1], blocks = ceil_div(tokens, block), dim = x.extents[3];
  std::vector<double> means(static_cast<std::size_t>(x.extents[0] * x.extents[2] * blocks * dim));
  for (std::int64_t b = 0; b < x.extents[0]; ++b)
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t h = 0; h < x.extents[2]; ++h) {
        const std::int64_t first = t / block * block;
        const auto count = static_cast<double>(std::min(block, tokens - first));
        double* mean = means.data() + ((b * x.extents[2] + h) * blocks + t / block) * dim;
        for (std::int64_t e = 0; e < dim; ++e) mean[e] += x.at(b, t, h, e) / count;
      }
  return means;
}

}  // namespace

BlockMask::BlockMask(const Shape& shape) : shape_(shape) {
  require_extent(shape.batch, 1, "BlockMask.batch");
  require_extent(shape.heads, 1, "BlockMask.heads");
  require_extent(shape.q_blocks, 0, "BlockMask.q_blocks");
  require_extent(shape.kv_blocks, 0, "BlockMask.kv_blocks");
  require_extent(shape.q_block, 1, "BlockMask.q_block");
  require_extent(shape.kv_block, 1, "BlockMask.kv_block");
  const double blocks = static_cast<double>(shape.batch) * static_cast<double>(shape.heads) *
                        static_cast<double>(shape.q_blocks) * static_cast<double>(shape.kv_blocks);
  require(blocks <= 0x1p40, ErrorCode::kBadArgument, "BlockMask blocks", "at most 2^40", blocks);
  with_memory("BlockMask", [&] { visible_.resize(static_cast<std::size_t>(blocks)); });
}

BlockMask BlockMask::from_predicate(
    const Shape& shape,
    const std::function<bool(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>& visible) {
  BlockMask mask(shape);
  for (std::int64_t b = 0; b < shape.batch; ++b)
    for (std::int64_t h = 0; h < shape.heads; ++h)
      for (std::int64_t x = 0; x < shape.q_blocks; ++x)
        for (std::int64_t y = 0; y < shape.kv_blocks; ++y)
          if (visible(b, h, x, y)) mask.set(b, h, x, y);
  return mask;
}

BlockMask BlockMask::from_indices(const Shape& shape,
                                  const std::vector<std::vector<std::int64_t>>& kv_blocks) {
  BlockMask mask(shape);
  const std::int64_t lists = shape.batch * shape.heads * shape.q_blocks;
  require(std::ssize(kv_blocks) == lists, ErrorCode::kBadArgument,
          "BlockMask::from_indices kv_blocks", std::to_string(lists) + " lists", kv_blocks.size());
  for (std::int64_t n = 0; n < lists; ++n)
    for (const std::int64_t y : kv_blocks[static_cast<std::size_t>(n)]) {
      require(y >= 0 && y < shape.kv_blocks, ErrorCode::kBadArgument,
              "BlockMask::from_indices kv_blocks[" + std::to_string(n) + "]",
              "0 to " + std::to_string(shape.kv_blocks - 1), y);
      mask.visible_[static_cast<std::size_t>(n * shape.kv_blocks + y)] = true;
    }
  return mask;
}

BlockMask BlockMask::from_top(const Shape& shape, const ConstTensor& scores, std::int64_t keep) {
  BlockMask mask(shape);
  const Dims expected = {shape.batch, shape.heads, shape.q_blocks, shape.kv_blocks};
  require(scores.extents == expected, ErrorCode::kBadShape, "BlockMask::from_top scores", expected,
          scores.extents);
  require_data(scores, "BlockMask::from_top scores");
  require(keep >= 0, ErrorCode::kBadArgument, "BlockMask::from_top keep", "at least 0", keep);
  std::vector<std::int64_t> order(static_cast<std::size_t>(shape.kv_blocks));
  for (std::int64_t b = 0; b < shape.batch; ++b)
    for (std::int64_t h = 0; h < shape.heads; ++h)
      for (std::int64_t x = 0; x < shape.q_blocks; ++x) {
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](std::int64_t y, std::int64_t other) {
          const float left = scores.at(b, h, x, y), right = scores.at(b, h, x, other);
          return left > right || (std::isnan(right) && !std::isnan(left));
        });
        for (std::int64_t n = 0; n < std::min(keep, shape.kv_blocks); ++n)
          mask.set(b, h, x, order[static_cast<std::size_t>(n)]);
      }
  return mask;
}

std::int64_t BlockMask::index(std::int64_t b, std::int64_t h, std::int64_t x,
                              std::int64_t y) const {
  return ((b * shape_.heads + h) * shape_.q_blocks + x) * shape_.kv_blocks + y;
}

bool BlockMask::at(std::int64_t b, std::int64_t h, std::int64_t x, std::int64_t y) const {
  return b >= 0 && b < shape_.batch && h >= 0 && h < shape_.heads && x >= 0 &&
         x < shape_.q_blocks && y >= 0 && y < shape_.kv_blocks &&
         visible_[static_cast<std::size_t>(index(b, h, x, y))];
}

void BlockMask::set(std::int64_t b, std::int64_t h, std::int64_t x, std::int64_t y, bool visible) {
  const auto check = [](std::int64_t value, std::int64_t extent, const char* where) {
    require(value >= 0 && value < extent, ErrorCode::kBadArgument, where,
            "0 to " + std::to_string(extent - 1), value);
  };
  check(b, shape_.batch, "BlockMask::set b");
  check(h, shape_.heads, "BlockMask::set h");
  check(x, shape_.q_blocks, "BlockMask::set x");
  check(y, shape_.kv_blocks, "BlockMask::set y");
  visible_[static_cast<std::size_t>(index(b, h, x, y))] = visible;
}

std::int64_t BlockMask::count() const { return std::count(visible_.begin(), visible_.end(), true); }

void mean_block_scores(const ConstTensor& q, const ConstTensor& k, std::int64_t q_block,
                       std::int64_t kv_block, const MutableTensor& scores) {
  require_extent(q_block, 1, "mean_block_scores q_block");
  require_extent(kv_block, 1, "mean_block_scores kv_block");
  const std::int64_t heads = q.extents[2], kv_heads = k.extents[2], dim = q.extents[3];
  require(
      k.extents[0] == q.extents[0] && k.extents[3] == dim && kv_heads > 0 && heads % kv_heads == 0,
      ErrorCode::kBadShape, "mean_block_scores k",
      "the batch and head dimension of q " + to_string(q.extents) + ", heads that divide its",
      k.extents);
  const Dims expected = {q.extents[0], heads, ceil_div(q.extents[1], q_block),
                         ceil_div(k.extents[1], kv_block)};
  require(scores.extents == expected, ErrorCode::kBadShape, "mean_block_scores scores", expected,
          scores.extents);
  require_data(q, "mean_block_scores q");
  require_data(k, "mean_block_scores k");
  require_data(scores, "mean_block_scores scores");
  const std::vector<double> q_means = block_means(q, q_block), k_means = block_means(k, kv_block);
  const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
  for (std::int64_t b = 0; b < expected[0]; ++b)
    for (std::int64_t h = 0; h < heads; ++h)
      for (std::int64_t x = 0; x < expected[2]; ++x)
        for (std::int64_t y = 0; y < expected[3]; ++y) {
          const double* of_q = q_means.data() + ((b * heads + h) * expected[2] + x) * dim;
          const std::int64_t kv_head = b * kv_heads + h / (heads / kv_heads);
          const double* of_k = k_means.data() + (kv_head * expected[3] + y) * dim;
          scores.at(b, h, x, y) = static_cast<float>(scale * dot(of_q, of_k, dim));
        }
}

}  // namespace rapt
