#include "rapt/pooled_map.h"

#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "base/check.h"
#include "base/memory.h"
#include "observe/fixed_sum.h"
#include "observe/pass.h"

namespace rapt {
namespace {

/// floor(token blocks / tokens), and the first token of a block.
struct Blocks {
  std::int64_t tokens, count;
  std::int64_t of(std::int64_t token) const { return token * count / tokens; }
  std::int64_t begin(std::int64_t block) const { return ceil_div(block * tokens, count); }
};

/// Sums of every (sequence, head, query block), a cell for each key block.
struct Cells {
  Cells(const Problem& problem, Blocks queries, Blocks keys)
      : queries(queries),
        keys(keys),
        heads(problem.q_heads),
        sums(static_cast<std::size_t>(problem.batch * heads * queries.count * keys.count)),
        rows(static_cast<std::size_t>(problem.batch * heads * queries.count)),
        is_nan(rows.size()) {}

  std::size_t line(std::int64_t b, std::int64_t h, std::int64_t block) const {
    return static_cast<std::size_t>((b * heads + h) * queries.count + block);
  }

  Blocks queries, keys;
  std::int64_t heads;
  std::vector<FixedSum> sums;
  std::vector<std::atomic<std::int64_t>> rows;
  std::vector<std::atomic<bool>> is_nan;  // of a line, all of it
};

/// A column for each key block: within a chunk their keys are ranges.
class Pooling final : public RowObserver {
 public:
  Pooling(const Problem& problem, Cells& cells) : problem_(problem), cells_(cells) {}

  int columns() const override { return static_cast<int>(cells_.keys.count); }
  int outputs() const override { return 0; }

  void add(const WeightStrip& strip, float* sums, std::int64_t stride) const noexcept override {
    const Range keys = problem_.kv_range(strip.sequence);
    const std::int64_t first = keys.begin + strip.chunk * kChunkKeys;
    const std::int64_t end = std::min<std::int64_t>(first + kChunkKeys, keys.end);
    for (std::int64_t key = first; key < end;) {
      const std::int64_t block = cells_.keys.of(key);
      const std::int64_t next = std::min(cells_.keys.begin(block + 1), end);
      // What ends with the sequence may as well end with the chunk.
      const std::int64_t until = next == end ? kChunkKeys : next - first;
      for (int r = 0; r < strip.tile.rows; ++r)
        sums[r * stride + block] = strip.mass(r, key - first, until);
      key = next;
    }
  }

  void values(const RowSums& row, const float* sums, double*) const noexcept override {
    const std::size_t line = cells_.line(row.sequence, row.head, cells_.queries.of(row.query));
    cells_.rows[line].fetch_add(1, std::memory_order_relaxed);
    if (std::isnan(row.l)) {
      cells_.is_nan[line].store(true, std::memory_order_relaxed);
      return;
    }
    FixedSum* to = cells_.sums.data() + line * static_cast<std::size_t>(cells_.keys.count);
    for (std::int64_t block = 0; block < cells_.keys.count; ++block)
      to[block].add(row.mass(sums[block]));
  }

 private:
  const Problem& problem_;
  Cells& cells_;
};

void require_blocks(std::int64_t blocks, const char* where) {
  require(blocks >= 1 && blocks <= 8192, ErrorCode::kBadArgument, where, "1 to 8192", blocks);
}

PooledMap map_of(const Cells& cells, std::int64_t b, std::int64_t h) {
  PooledMap map{cells.queries.count, cells.keys.count, {}, {}};
  for (std::int64_t block = 0; block < map.query_blocks; ++block) {
    const std::size_t line = cells.line(b, h, block);
    map.rows.push_back(cells.rows[line].load());
    const auto rows = static_cast<double>(std::max<std::int64_t>(map.rows.back(), 1));
    const FixedSum* sums = cells.sums.data() + line * static_cast<std::size_t>(map.key_blocks);
    for (std::int64_t key_block = 0; key_block < map.key_blocks; ++key_block)
      map.mass.push_back(cells.is_nan[line].load() ? std::numeric_limits<double>::quiet_NaN()
                                                   : sums[key_block].value() / rows);
  }
  return map;
}

}  // namespace

std::vector<PooledMap> pooled_map(const Problem& problem, const Inputs& inputs,
                                  std::int64_t query_blocks, std::int64_t key_blocks,
                                  const Threads& threads, Scratch& scratch) {
  problem.validate();
  require_blocks(query_blocks, "pooled_map query_blocks");
  require_blocks(key_blocks, "pooled_map key_blocks");
  require(problem.q_tokens <= std::int64_t{1} << 22, ErrorCode::kBadArgument, "Problem.q_tokens",
          "at most 2^22 for a map", problem.q_tokens);
  return with_memory("pooled_map", [&] {
    Cells cells(problem, {problem.q_tokens, query_blocks}, {problem.kv_tokens, key_blocks});
    std::vector<std::unique_ptr<RowObserver>> observers;
    observers.push_back(std::make_unique<Pooling>(problem, cells));
    run_statistics(problem, inputs, std::move(observers), threads, scratch);
    std::vector<PooledMap> maps;
    for (std::int64_t b = 0; b < problem.batch; ++b)
      for (std::int64_t h = 0; h < problem.q_heads; ++h) maps.push_back(map_of(cells, b, h));
    return maps;
  });
}

}  // namespace rapt
