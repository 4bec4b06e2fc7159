#include "rapt/head_copying.h"

#include <algorithm>
#include <string>

#include "base/check.h"
#include "base/float_env.h"
#include "base/memory.h"
#include "model/families.h"
#include "model/mapped_file.h"
#include "model/weights.h"
#include "rapt/copying.h"
#include "rapt/model.h"

namespace rapt {
namespace {

/// Rows and columns of a matrix from (row, column) on, in f32.
std::vector<float> part_of(const AnyConstTensor& matrix, std::int64_t row, std::int64_t rows,
                           std::int64_t column, std::int64_t columns) {
  std::vector<float> part;
  for (std::int64_t r = row; r < row + rows; ++r)
    for (std::int64_t c = column; c < column + columns; ++c) part.push_back(matrix.at(0, 0, r, c));
  return part;
}

/// W_E^T W_U [d, d].
std::vector<float> embedding_to_head(const EndWeights& ends, std::int64_t width) {
  std::vector<double> sums(width * width);
  for (std::int64_t token = 0; token < ends.embedding.view.extents[2]; ++token) {
    const std::vector<float> from = part_of(ends.embedding.view, token, 1, 0, width),
                             to = part_of(ends.head.view, token, 1, 0, width);
    for (std::int64_t r = 0; r < width; ++r)
      for (std::int64_t c = 0; c < width; ++c)
        sums[r * width + c] += static_cast<double>(from[r]) * static_cast<double>(to[c]);
  }
  return {sums.begin(), sums.end()};
}

}  // namespace

std::vector<double> copying_scores(const std::filesystem::path& directory) {
  return with_memory("copying_scores", [&] {
    const CanonicalFloatEnv environment;
    const std::filesystem::path file = directory / "config.json";
    const ModelConfig config = ModelConfig::parse(read_text(file), file.string());
    const FileWeights weights{Checkpoint(directory)};
    const Family& family = *find_family(config.architecture);
    const EndWeights ends = family.ends(config, weights);
    const std::int64_t width = config.hidden_size, heads = config.num_attention_heads,
                       group = heads / config.num_key_value_heads;
    for (const WeightMatrix* matrix : {&ends.embedding, &ends.head})
      require(matrix->view.extents[3] == width, ErrorCode::kUnsupported,
              directory.string() + " embedding", std::to_string(width) + " columns",
              matrix->view.extents[3]);
    const std::vector<float> between = embedding_to_head(ends, width);
    std::vector<double> scores;
    for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      const BlockWeights block = family.block(config, weights, layer);
      const std::int64_t dim = block.v.weight.view.extents[2] / config.num_key_value_heads;
      for (std::int64_t head = 0; head < heads; ++head) {
        const std::vector<float> v = part_of(block.v.weight.view, head / group * dim, dim, 0,
                                             width),
                                 o = part_of(block.o.weight.view, 0, width, head * dim, dim);
        scores.push_back(copying_score({v.data(), {1, 1, dim, width}},
                                       {o.data(), {1, 1, width, dim}},
                                       {between.data(), {1, 1, width, width}}));
      }
    }
    return scores;
  });
}

}  // namespace rapt
