#include <algorithm>

#include "attention/tiles.h"
#include "base/check.h"
#include "base/round.h"
#include "rapt/mask.h"

namespace rapt {
namespace {

constexpr std::int64_t kCells = 64;  // of a picture, along each axis

}  // namespace

std::string Mask::draw(const Problem& problem, std::int64_t sequence, std::int64_t head) {
  problem.validate();
  require(sequence >= 0 && sequence < problem.batch, ErrorCode::kBadArgument, "Mask::draw sequence",
          "0 to " + std::to_string(problem.batch - 1), sequence);
  require(head >= 0 && head < problem.q_heads, ErrorCode::kBadArgument, "Mask::draw head",
          "0 to " + std::to_string(problem.q_heads - 1), head);
  // Cells are square in tokens, so that a diagonal is a diagonal.
  const std::int64_t cell =
      std::max<std::int64_t>(1, ceil_div(std::max(problem.q_tokens, problem.kv_tokens), kCells));
  const std::int64_t columns = ceil_div(problem.kv_tokens, cell);
  const MaskSequence tokens(problem, sequence);
  std::string picture;
  for (std::int64_t top = 0; top < problem.q_tokens; top += cell) {
    const std::int64_t bottom = std::min(top + cell, problem.q_tokens);
    std::vector<std::int64_t> seen(static_cast<std::size_t>(columns), 0);
    for (std::int64_t i = top; i < bottom; ++i)
      for (std::int64_t chunk = 0; chunk < chunks_of(tokens.slots()); ++chunk) {
        const KeyBits bits = visible_keys(problem.mask.node(), {tokens, head, i}, chunk);
        for (std::int64_t key = 0; key < kChunkKeys; ++key)
          if ((bits.words[key / 64] >> (key % 64) & 1) != 0)
            ++seen[static_cast<std::size_t>((tokens.keys.begin + chunk * kChunkKeys + key) / cell)];
      }
    for (std::int64_t column = 0; column < columns; ++column) {
      const std::int64_t keys = std::min(cell, problem.kv_tokens - column * cell);
      const std::int64_t pairs = seen[static_cast<std::size_t>(column)];
      if (column > 0) picture += ' ';
      picture += pairs == 0 ? '.' : pairs == keys * (bottom - top) ? '#' : '+';
    }
    picture += '\n';
  }
  return picture;
}

}  // namespace rapt
