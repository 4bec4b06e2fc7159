#include "rapt/positions.h"

#include <string>

#include "base/check.h"
#include "base/rows.h"

namespace rapt {
namespace {

constexpr std::int64_t kTokensAtATime = 16;

}  // namespace

void add_positions(const Threads& threads, const ConstTensor& table,
                   const std::vector<std::int64_t>& positions, const MutableTensor& x) {
  const std::int64_t width = x.extents[3], rows = table.extents[2];
  const std::int64_t tokens = row_count(x.extents), count = std::ssize(positions);
  const Dims expected = {1, 1, rows, width};
  require(x.extents[0] == 1, ErrorCode::kBadShape, "add_positions.x", "a first extent of 1",
          x.extents);
  require(table.extents == expected, ErrorCode::kBadShape, "add_positions.table", expected,
          table.extents);
  require(count == tokens || count == x.extents[2], ErrorCode::kBadShape, "add_positions.positions",
          std::to_string(tokens) + " or " + std::to_string(x.extents[2]) + " positions", count);
  for (const std::int64_t position : positions)
    require(position >= 0 && position < rows, ErrorCode::kBadArgument, "add_positions.positions",
            "0 to " + std::to_string(rows - 1), position);
  for_rows(threads, tokens, kTokensAtATime, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t t = first; t < end; ++t) {
      float* to = row_of(x, t);
      const float* from = row_of(table, positions[t % count]);
      for (std::int64_t e = 0; e < width; ++e) to[e * x.strides[3]] += from[e * table.strides[3]];
    }
  });
}

}  // namespace rapt
