// What an engine's pages and tables are as tiles, and what is refused. The bits of attention over
// them: tests/invariance/block_tables_test.cc.

#include "rapt/block_tables.h"

#include <gtest/gtest.h>

#include <vector>

#include "rejects.h"
#include "util.h"

namespace rapt::test {
namespace {

TEST(BlockTables, ATileLiesInThePageOfItsEntry) {
  const Tensor k = normal({4, 7, 2, 8}, 1, 1.0f, Layout::kHeadMajor), v = normal({4, 7, 2, 5}, 2);
  const std::int32_t tables[] = {3, 0, -1, /* beyond the row */ 9, 2, 1, 0, 9};
  const BlockTables blocks(k.view, v.view, {tables, 2, 3, 4});
  EXPECT_EQ(blocks.length(1), 21);
  EXPECT_TRUE(blocks.has(1));
  EXPECT_FALSE(blocks.has(2));
  EXPECT_FALSE(blocks.has(-1));
  const KvTile tile = blocks.tile(1, 1, 9);
  EXPECT_EQ(tile.k, &k.view.at(1, 2, 1, 0));
  EXPECT_EQ(tile.v, &v.view.at(1, 2, 1, 0));
  const KvRowStrides rows = blocks.extents().rows.value();
  EXPECT_EQ(rows.k_token, 8);  // of one head: heads are outside of tokens
  EXPECT_EQ(rows.v_token, 10);
  EXPECT_EQ(rows.k_feature, 1);
}

TEST(BlockTables, FindsTheFirstSlotOfNoPage) {
  const Tensor k = normal({4, 7, 1, 8}, 1);
  const std::int32_t tables[] = {3, 0, -1, 1, 4, 2};
  const BlockTables blocks(k.view, k.view, {tables, 1, 6, 6});
  EXPECT_EQ(blocks.first_missing(0, 0, 42), 14);
  EXPECT_EQ(blocks.first_missing(0, 3, 14), 14);
  EXPECT_EQ(blocks.first_missing(0, 16, 42), 16);
  EXPECT_EQ(blocks.first_missing(0, 21, 42), 28);
  EXPECT_EQ(blocks.first_missing(0, 35, 40), 40);
}

TEST(BlockTables, ATableMayBeTooShortForItsTokens) {
  const Tensor k = normal({4, 7, 1, 8}, 1);
  const std::int32_t tables[] = {3, 0}, lengths[] = {20};
  const BlockTables blocks(k.view, k.view, {tables, 1, 2, 2, lengths});
  EXPECT_EQ(blocks.length(0), 20);
  EXPECT_EQ(blocks.first_missing(0, 0, 20), 14);
  EXPECT_TRUE(rejects("Inputs.cache sequence 0, entry 2 of its block table", kArgument,
                      [&] { blocks.refuse_missing(0, 14); }));
}

TEST(BlockTables, RowsShareTheirFirstPages) {
  const Tensor k = normal({6, 7, 1, 8}, 1);
  const std::int32_t tables[] = {3, 0,  1, 2,  //
                                 3, 0,  4, 2,  // two pages of row 0
                                 3, 0,  1, 5,  // three of them
                                 3, -1, 1, 2, 3, -1, 1, 2};
  const std::int32_t lengths[] = {28, 28, 17, 28, 28};
  const BlockTables blocks(k.view, k.view, {tables, 5, 4, 4, lengths});
  EXPECT_EQ(blocks.shared_slots(0, 0), 28);
  EXPECT_EQ(blocks.shared_slots(0, 1), 14);
  EXPECT_EQ(blocks.shared_slots(2, 0), 17);  // all that it has
  EXPECT_EQ(blocks.shared_slots(0, 3), 7);
  EXPECT_EQ(blocks.shared_slots(3, 4), 7);  // what is missing lies nowhere
}

TEST(BadInput, BlockTables) {
  const Tensor k = normal({4, 7, 2, 8}, 1), v = normal({4, 7, 2, 5}, 2);
  const std::int32_t tables[] = {3, 0};
  const auto made = [&](const AnyConstTensor& keys, const AnyConstTensor& values,
                        const BlockTables::Tables& given) {
    return [=] { BlockTables(keys, values, given); };
  };
  const BlockTables::Tables good{tables, 1, 2, 2};
  EXPECT_NO_THROW(made(k.view, v.view, good)());
  const Tensor shorter = normal({4, 6, 2, 8}, 1), empty({4, 0, 2, 8});
  EXPECT_TRUE(rejects("BlockTables.v", kShape, made(k.view, shorter.view, good)));
  EXPECT_TRUE(rejects("BlockTables.k page_size", kArgument, made(empty.view, empty.view, good)));
  const Stored half(v.view, DType::kF16);
  EXPECT_TRUE(rejects("BlockTables.v type", kArgument, made(k.view, half.view, good)));
  AnyConstTensor quantised(k.view);
  quantised.dtype = DType::kInt8;
  EXPECT_TRUE(rejects("BlockTables.k type", kArgument, made(quantised, quantised, good)));
  AnyConstTensor null(v.view);
  null.data = nullptr;
  EXPECT_TRUE(rejects("BlockTables", kArgument, made(k.view, null, good)));
  EXPECT_TRUE(
      rejects("BlockTables.tables.pages", kArgument, made(k.view, v.view, {nullptr, 1, 2, 2})));
  EXPECT_TRUE(
      rejects("BlockTables.tables.entries", kArgument, made(k.view, v.view, {tables, 1, -1, 2})));
  EXPECT_TRUE(rejects("BlockTables.tables.entries", kArgument,
                      made(k.view, v.view, {tables, 1, std::int64_t{1} << 40, 2})));
  EXPECT_TRUE(
      rejects("BlockTables.tables.sequences", kArgument, made(k.view, v.view, {tables, -1, 2, 2})));
}

}  // namespace
}  // namespace rapt::test
