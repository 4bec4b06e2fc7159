#include "rapt/problem.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "attention/modifiers.h"
#include "attention/tiles.h"
#include "base/check.h"

namespace rapt {
namespace {

/// Bounds a product of extents, so that no size computed from them overflows. An extent of 0 counts
/// as 1: sizes of the other axes are computed all the same.
void check_product(const Dims& extents, int log2_limit, const char* where) {
  double product = 1.0;
  for (const std::int64_t extent : extents)
    product *= static_cast<double>(std::max<std::int64_t>(extent, 1));
  require(product <= std::ldexp(1.0, log2_limit), ErrorCode::kBadArgument, where,
          "at most 2^" + std::to_string(log2_limit), product);
}

void check_ranges(const std::vector<Range>& ranges, std::int64_t batch, std::int64_t tokens,
                  const std::string& where) {
  if (ranges.empty()) return;
  require(static_cast<std::int64_t>(ranges.size()) == batch, ErrorCode::kBadArgument, where,
          "one range a sequence (" + std::to_string(batch) + ") or none", ranges.size());
  for (std::size_t b = 0; b < ranges.size(); ++b) {
    const Range& range = ranges[b];
    require(0 <= range.begin && range.begin <= range.end && range.end <= tokens,
            ErrorCode::kBadArgument, where + "[" + std::to_string(b) + "]",
            "0 <= begin <= end <= " + std::to_string(tokens),
            "[" + std::to_string(range.begin) + ", " + std::to_string(range.end) + ")");
  }
}

void check_positions(const std::vector<std::int64_t>& positions, std::int64_t batch,
                     std::int64_t tokens, const char* where) {
  if (positions.empty()) return;
  const std::int64_t count = std::ssize(positions);
  require(count == tokens || count == batch * tokens, ErrorCode::kBadArgument, where,
          std::to_string(tokens) + " or " + std::to_string(batch * tokens) + " positions, or none",
          count);
  constexpr std::int64_t kFarthest = std::int64_t{1} << 40;
  for (const std::int64_t position : positions)
    require(-kFarthest <= position && position <= kFarthest, ErrorCode::kBadArgument, where,
            "positions of magnitude at most 2^40", position);
}

/// Native bf16 multiplies what is stored.
void check_native(const Storage& storage) {
  const std::pair<const char*, DType> types[] = {{"Problem.storage.q", storage.q},
                                                 {"Problem.storage.k", storage.k},
                                                 {"Problem.storage.v", storage.v}};
  for (const auto& [field, dtype] : types)
    require(dtype == DType::kBF16, ErrorCode::kBadArgument, field,
            "bf16, as Problem.arithmetic is native bf16", name(dtype));
}

/// ALiBi's distances are differences of f32 positions: up to 2^23 both are exact.
void check_near(const Problem& problem) {
  std::int64_t farthest = std::max(problem.q_tokens, problem.kv_tokens);
  for (const auto* positions : {&problem.q_positions, &problem.kv_positions})
    for (const std::int64_t position : *positions)
      farthest = std::max(farthest, std::abs(position));
  require(farthest <= 1 << 23, ErrorCode::kBadArgument, "ScoreModifiers.alibi_slopes",
          "positions of magnitude at most 2^23", farthest);
}

}  // namespace

std::int64_t Problem::q_position(std::int64_t b, std::int64_t i) const {
  return MaskSequence(*this, b).q_position(i);
}

std::int64_t Problem::kv_position(std::int64_t b, std::int64_t j) const {
  return MaskSequence(*this, b).kv_position(j - kv_range(b).begin);
}

bool Problem::visible(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
  const MaskSequence sequence(*this, b);
  if (j < sequence.keys.begin || j >= sequence.keys.end) return false;
  const std::int64_t slot = j - sequence.keys.begin;
  const KeyBits bits = visible_keys(mask.node(), {sequence, h, i}, slot / kChunkKeys);
  return (bits.words[slot % kChunkKeys / 64] >> (slot % 64) & 1) != 0;
}

std::int64_t Problem::visible_pairs() const {
  const TileList tiles(*this);
  const RowOrder order(*this);
  std::int64_t pairs = 0;
  for (std::int64_t b = 0; b < batch; ++b) {
    const MaskSequence sequence(*this, b);
    for (std::int64_t kv_head = 0; kv_head < kv_heads; ++kv_head)
      for (std::int64_t row = 0; row < order.rows(); ++row)
        for (const TileRun& run : tiles.runs(b, kv_head, row)) {
          if (run.coverage == Coverage::kFull) {
            pairs += std::min(run.end * kChunkKeys, sequence.slots()) - run.begin * kChunkKeys;
            continue;
          }
          const std::int64_t head = kv_head * group() + order.head_of_group(row);
          for (std::int64_t chunk = run.begin; chunk < run.end; ++chunk)
            for (const std::uint64_t word :
                 visible_keys(mask.node(), {sequence, head, order.query(row)}, chunk).words)
              pairs += std::popcount(word);
        }
  }
  return pairs;
}

void Problem::validate() const {
  require_extent(batch, 0, "Problem.batch");
  require_extent(q_tokens, 0, "Problem.q_tokens");
  require_extent(kv_tokens, 0, "Problem.kv_tokens");
  require_extent(kv_heads, 1, "Problem.kv_heads");
  require_extent(q_heads, 1, "Problem.q_heads");
  require(q_heads % kv_heads == 0, ErrorCode::kBadArgument, "Problem.q_heads",
          "a multiple of kv_heads (" + std::to_string(kv_heads) + ")", q_heads);
  require_extent(head_dim, 1, "Problem.head_dim");
  require_extent(v_head_dim, 0, "Problem.v_head_dim");
  check_product({batch, q_tokens, q_heads, head_dim}, 40, "Problem elements of q");
  check_product({batch, q_tokens, q_heads, value_dim()}, 40, "Problem elements of o");
  check_product({batch, kv_tokens, kv_heads, head_dim}, 40, "Problem elements of k");
  check_product({batch, kv_tokens, kv_heads, value_dim()}, 40, "Problem elements of v");
  check_product({batch, q_tokens, kv_tokens, 1}, 60, "Problem pairs of tokens");
  require(!is_quantised(storage.q), ErrorCode::kBadArgument, "Problem.storage.q",
          "f32, bf16 or f16", name(storage.q));
  require(!is_quantised(storage.o), ErrorCode::kBadArgument, "Problem.storage.o",
          "f32, bf16 or f16", name(storage.o));
  if (arithmetic == Arithmetic::kNativeBF16) check_native(storage);
  // Beyond, scale log2(e) would be infinite in f32.
  require(!scale || std::abs(*scale) <= 0x1p127f, ErrorCode::kBadArgument, "Problem.scale",
          "a factor of magnitude at most 2^127", scale.value_or(0.0f));
  check_ranges(q_ranges, batch, q_tokens, "Problem.q_ranges");
  check_ranges(kv_ranges, batch, kv_tokens, "Problem.kv_ranges");
  check_positions(q_positions, batch, q_tokens, "Problem.q_positions");
  check_positions(kv_positions, batch, kv_tokens, "Problem.kv_positions");
  check_modifiers(modifiers, q_heads);
  if (!modifiers.alibi_slopes.empty()) check_near(*this);
  mask.node().validate(*this);
}

}  // namespace rapt
