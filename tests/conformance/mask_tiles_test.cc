// What a mask says of tiles: nothing that is false, and enough that hidden ones are skipped.

#include <gtest/gtest.h>

#include "attention/tiles.h"
#include "base/round.h"
#include "cases.h"

namespace rapt::test {
namespace {

/// Pairs that the reference shows, of all and of every tile.
class PairCounts {
 public:
  PairCounts(const Problem& p, const ReferenceMask& mask)
      : tiles_(ceil_div(p.q_tokens * p.group(), kTileQueries)),
        chunks_(chunks_of(p.kv_tokens)),
        kv_heads_(p.kv_heads) {
    counts_.resize(static_cast<std::size_t>(p.batch * kv_heads_ * tiles_ * chunks_));
    const RowOrder order(p);
    for_each_index(
        {p.batch, p.q_heads, p.q_tokens, p.kv_tokens}, [&](auto b, auto h, auto i, auto j) {
          if (!reference_visible(p, mask, b, h, i, j)) return;
          ++total_;
          const std::int64_t row = order.row(i, h % p.group()), slot = j - p.kv_range(b).begin;
          ++counts_[index(b, h / p.group(), row, slot / kChunkKeys)];
        });
  }

  std::int64_t total() const { return total_; }
  std::int64_t of_tile(std::int64_t b, std::int64_t kv_head, std::int64_t row,
                       std::int64_t chunk) const {
    return counts_[index(b, kv_head, row, chunk)];
  }

 private:
  std::size_t index(std::int64_t b, std::int64_t kv_head, std::int64_t row,
                    std::int64_t chunk) const {
    const std::int64_t tile = (b * kv_heads_ + kv_head) * tiles_ + row / kTileQueries;
    return static_cast<std::size_t>(tile * chunks_ + chunk);
  }

  std::int64_t tiles_, chunks_, kv_heads_, total_ = 0;
  std::vector<std::int64_t> counts_;
};

Coverage coverage_of(const TileList& tiles, std::int64_t b, std::int64_t kv_head, std::int64_t row,
                     std::int64_t chunk) {
  for (const TileRun& run : tiles.runs(b, kv_head, row))
    if (run.begin <= chunk && chunk < run.end) return run.coverage;
  return Coverage::kHidden;
}

std::string tile_line(std::int64_t skipped, std::int64_t full, std::int64_t partial) {
  return std::to_string(skipped) + " skipped, " + std::to_string(full) + " full, " +
         std::to_string(partial) + " partial";
}

/// No tile is hidden or full that is not so, the plan counts them all, runs hold no hidden ones, and
/// the pairs are right.
void check(const Problem& p, const ReferenceMask& reference) {
  const PairCounts pairs(p, reference);
  EXPECT_EQ(p.visible_pairs(), pairs.total());
  const TileList tiles(p);
  const std::int64_t rows = p.q_tokens * p.group();
  std::int64_t counts[3] = {};
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t kv_head = 0; kv_head < p.kv_heads; ++kv_head)
      for (std::int64_t row = 0; row < rows; row += kTileQueries) {
        for (const TileRun& run : tiles.runs(b, kv_head, row)) {
          EXPECT_LT(run.begin, run.end);
          EXPECT_NE(run.coverage, Coverage::kHidden);
        }
        for (std::int64_t chunk = 0; chunk < chunks_of(p.kv_range(b).size()); ++chunk) {
          const std::int64_t keys =
              std::min<std::int64_t>(kChunkKeys, p.kv_range(b).size() - chunk * kChunkKeys);
          const std::int64_t all = keys * std::min<std::int64_t>(kTileQueries, rows - row);
          const std::int64_t seen = pairs.of_tile(b, kv_head, row, chunk);
          const Coverage coverage = coverage_of(tiles, b, kv_head, row, chunk);
          ++counts[static_cast<std::size_t>(coverage)];
          if (coverage != Coverage::kPartial) {
            EXPECT_EQ(seen, coverage == Coverage::kFull ? all : 0) << row << ", chunk " << chunk;
          }
        }
      }
  EXPECT_EQ(make_plan(p, Threads(1)).explain("tiles"), tile_line(counts[0], counts[1], counts[2]));
}

AttentionCase case_of(std::int64_t q, std::int64_t k, std::int64_t q_heads, Padding padding) {
  AttentionCase c;
  c.batch = padding == Padding::kMixed ? 3 : 1;
  c.q_tokens = q;
  c.kv_tokens = k;
  c.q_heads = q_heads;
  c.head_dim = 8;
  c.padding = padding;
  return c;
}

TEST(MaskTiles, SayNothingFalseOfAnyMask) {
  for (const NamedMask& mask : masks())
    for (const Positions positions : {Positions::kDefault, Positions::kGiven})
      for (AttentionCase c :
           {case_of(1, 1, 1, Padding::kNone), case_of(200, 1, 2, Padding::kNone),
            case_of(150, 40, 1, Padding::kMixed), case_of(130, 1100, 2, Padding::kNone),
            case_of(97, 513, 1, Padding::kLeft), case_of(130, 1040, 1, Padding::kRight),
            case_of(60, 700, 2, Padding::kMixed)}) {
        c.mask = &mask;
        c.positions = positions;
        SCOPED_TRACE(c.name());
        check(c.problem(), mask.reference);
      }
}

// Rows of bits lie across words wherever the padding ends.
TEST(MaskTiles, OfDenseMasksUnderAnyPadding) {
  const NamedMask& mask = mask_named("dense_or_window");
  for (std::int64_t begin = 0; begin < 130; ++begin) {
    AttentionCase c = case_of(3, 200, 1, Padding::kNone);
    c.mask = &mask;
    Problem p = c.problem();
    p.kv_ranges = {{begin, 200 - begin % 7}};
    SCOPED_TRACE(begin);
    check(p, mask.reference);
  }
}

struct Expression {
  Mask mask;
  ReferenceMask reference;
};

/// A random mask of `depth` operations.
Expression draw(const Problem& p, Rng& rng, int depth) {
  if (depth == 0) {
    const NamedMask& named = masks()[rng.below(static_cast<std::int64_t>(masks().size()))];
    const ReferenceMask& reference = named.reference;
    return {named.make(p), [reference](const ReferencePair& pair) {
              return reference == nullptr || reference(pair);
            }};
  }
  const Expression a = draw(p, rng, depth - 1);
  if (rng.below(3) == 0)
    return {~a.mask, [f = a.reference](const ReferencePair& pair) { return !f(pair); }};
  const Expression b = draw(p, rng, static_cast<int>(rng.below(depth)));
  if (rng.below(2) == 0)
    return {a.mask & b.mask, [f = a.reference, g = b.reference](const ReferencePair& pair) {
              return f(pair) && g(pair);
            }};
  return {a.mask | b.mask, [f = a.reference, g = b.reference](const ReferencePair& pair) {
            return f(pair) || g(pair);
          }};
}

TEST(MaskTiles, SayNothingFalseOfCompositions) {
  Rng rng(6);
  static constexpr Padding kPaddings[] = {Padding::kNone, Padding::kLeft, Padding::kRight,
                                          Padding::kMixed};
  for (int n = 0; n < 120; ++n) {
    AttentionCase c =
        case_of(1 + rng.below(120), 1 + rng.below(1100), 1 + rng.below(2), kPaddings[rng.below(4)]);
    c.positions = rng.below(3) == 0 ? Positions::kGiven : Positions::kDefault;
    c.mask = &masks().front();
    Problem p = c.problem();
    const Expression expression = draw(p, rng, 1 + static_cast<int>(rng.below(3)));
    p.mask = expression.mask;
    SCOPED_TRACE(p.mask.describe() + " of " + c.name());
    check(p, expression.reference);
  }
}

Problem square(std::int64_t tokens, const Mask& mask) {
  Problem p;
  p.q_tokens = p.kv_tokens = tokens;
  p.head_dim = 8;
  p.mask = mask;
  return p;
}

std::string tiles_of(const Problem& p) { return make_plan(p, Threads(1)).explain("tiles"); }

// 64 tiles of 48 queries by 6 chunks of 512 keys.
constexpr std::int64_t kTokens = 3072;

TEST(MaskTiles, OutsideOfAWindowAreSkipped) {
  for (const std::int64_t window : {1, 48, 512, 600, 1024, 2048}) {
    std::int64_t full = 0, seen = 0;
    for (std::int64_t row = 0; row < kTokens; row += kTileQueries)
      for (std::int64_t key = 0; key < kTokens; key += kChunkKeys) {
        const std::int64_t last = row + kTileQueries - 1, last_key = key + kChunkKeys - 1;
        seen += key <= last && last_key > row - window;
        full += last_key <= row && key > last - window;
      }
    EXPECT_EQ(tiles_of(square(kTokens, Mask::sliding_window(window))),
              tile_line(64 * 6 - seen, full, seen - full))
        << window;
  }
  EXPECT_EQ(tiles_of(square(kTokens, Mask::sliding_window(1))), "316 skipped, 0 full, 68 partial");
}

TEST(MaskTiles, OfGivenPositionsAreSkippedAsWell) {
  for (const Mask& mask : {Mask::causal(), Mask::sliding_window(600), Mask::window(700, 300)}) {
    Problem p = square(kTokens, mask);
    const std::string expected = tiles_of(p);
    for (std::int64_t t = 0; t < kTokens; ++t) p.kv_positions.push_back(t - 9);
    p.q_positions = p.kv_positions;
    EXPECT_EQ(tiles_of(p), expected);
  }
}

// 72 queries and 48 keys: the first 24 places are negative, in no list and no block.
TEST(MaskTiles, OfQueriesBeforeTheKeysAreNotFull) {
  const PerSequence<std::int64_t> zeros = {std::vector<std::int64_t>(48, 0)};
  for (const Mask& mask : {Mask::documents(zeros), Mask::structure(zeros, {{true}}),
                           Mask::blocks(BlockMask::from_indices({1, 1, 1, 1, 64, 64}, {{0}}))}) {
    Problem p = square(72, mask);
    p.kv_tokens = 48;
    EXPECT_EQ(tiles_of(p), tile_line(0, 1, 1));
    EXPECT_EQ(p.visible_pairs(), 48 * 48);
  }
}

TEST(MaskTiles, OfOtherDocumentsAreSkipped) {
  // Two documents of 3 chunks: a tile lies in one of them.
  const Mask two = Mask::documents_from_offsets({{0, 1536, 3072}});
  EXPECT_EQ(tiles_of(square(kTokens, two)), "192 skipped, 192 full, 0 partial");
  // Of a document's 32 tiles, 10 end before its second chunk and 21 before its third; 21 begin
  // after the first chunk and 10 after the second.
  EXPECT_EQ(tiles_of(square(kTokens, two & Mask::causal())), "254 skipped, 62 full, 68 partial");
  // Two that take turns, a chunk each: a tile sees three chunks, and a part of all six where a turn
  // ends inside of it, which four of the five do.
  std::vector<std::int64_t> turns;
  for (std::int64_t slot = 0; slot < kTokens; ++slot) turns.push_back(slot / 512 % 2);
  EXPECT_EQ(tiles_of(square(kTokens, Mask::documents({turns}))),
            "180 skipped, 180 full, 24 partial");
}

TEST(MaskTiles, OutsideOfBlocksAreSkipped) {
  Rng rng(7);
  BlockMask::Shape shape;
  shape.q_blocks = 64;
  shape.kv_blocks = 6;
  shape.q_block = kTileQueries;
  shape.kv_block = kChunkKeys;
  BlockMask map =
      BlockMask::from_predicate(shape, [&](auto, auto, auto, auto) { return rng.below(4) == 0; });
  EXPECT_GT(map.count(), 40);
  EXPECT_EQ(tiles_of(square(kTokens, Mask::blocks(map))),
            tile_line(64 * 6 - map.count(), map.count(), 0));

  // One block of 16 keys: its chunk is partial, all others are skipped.
  shape = {1, 1, 1, kTokens / 16, kTokens, 16};
  BlockMask one(shape);
  one.set(0, 0, 0, 40);
  EXPECT_EQ(tiles_of(square(kTokens, Mask::blocks(one))), "320 skipped, 0 full, 64 partial");
}

TEST(MaskTiles, OfPlainMasksAreCounted) {
  EXPECT_EQ(tiles_of(square(kTokens, Mask::none())), "0 skipped, 384 full, 0 partial");
  EXPECT_EQ(tiles_of(square(kTokens, ~Mask::none())), "384 skipped, 0 full, 0 partial");
  EXPECT_EQ(tiles_of(square(kTokens, Mask::prefix({1024}))), "256 skipped, 128 full, 0 partial");
  EXPECT_EQ(tiles_of(square(kTokens, Mask::prefix({1023}))), "256 skipped, 64 full, 64 partial");
  EXPECT_EQ(tiles_of(square(kTokens, Mask::global({{600}}))), "315 skipped, 0 full, 69 partial");
}

}  // namespace
}  // namespace rapt::test
