// Shared prefixes in a batch: they are attended to once, and every entry has the bits that it has
// alone.

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "paged_tokens.h"
#include "rapt/batch.h"
#include "rapt/block_tables.h"
#include "rejects.h"

namespace rapt::test {
namespace {

Problem shared_problem(DType cache = DType::kF32) {
  Problem p;
  p.q_heads = 4;
  p.kv_heads = 2;
  p.head_dim = 12;
  p.v_head_dim = 20;
  p.storage.k = p.storage.v = cache;
  return p;
}

/// Sequences of one cache that begin alike, in its second layer.
struct Forest {
  PagedKvCache cache;

  Forest(std::int64_t page_size, DType dtype)
      : cache({2, 2, 12, 20, page_size, 40000 / page_size, dtype}) {}

  const KvTiles& tiles() const { return cache.layer(1); }

  void grow(std::int64_t sequence, std::int64_t count) {
    const std::int64_t first = cache.length(sequence);
    const Tokens more(count, cache.shape(), static_cast<std::uint64_t>(100 * sequence + first));
    cache.extend(sequence, count);
    cache.store(1, sequence, first, more.k.view, more.v.view);
  }
  std::int64_t root(std::int64_t tokens) {
    const std::int64_t id = cache.create();
    grow(id, tokens);
    return id;
  }
  std::int64_t fork(std::int64_t of, std::int64_t shared, std::int64_t own) {
    const std::int64_t id = cache.fork(of, shared);
    grow(id, own);
    return id;
  }
};

BatchPlan plan_of(const Problem& shared, const Forest& forest,
                  const std::vector<BatchEntry>& entries, int threads = 2) {
  return make_batch_plan(shared, Threads(threads), forest.tiles(), entries);
}

std::int64_t tokens_of(const std::vector<BatchEntry>& entries) {
  std::int64_t tokens = 0;
  for (const BatchEntry& entry : entries) tokens += entry.q_tokens;
  return tokens;
}

Tensor queries_of(const std::vector<BatchEntry>& entries) {
  return normal({1, tokens_of(entries), 4, 12}, 7);
}

/// Runs the batch, and each entry as a problem of its own on the same tiles.
testing::AssertionResult each_as_alone(const Problem& shared, const KvTiles& tiles,
                                       const std::vector<BatchEntry>& entries,
                                       const BatchPlan& plan) {
  const Tensor all = queries_of(entries);
  const Stored q(all.view, shared.storage.q, Layout::kHeadMajor);
  Problem whole = shared;
  whole.q_tokens = plan.q_tokens();
  Outputs out(whole);
  Scratch scratch;
  run(plan, q.view, tiles, scratch, out.result());
  std::int64_t first = 0;
  for (std::size_t n = 0; n < entries.size(); ++n) {
    const BatchEntry& entry = entries[n];
    Problem p = shared;
    p.q_tokens = entry.q_tokens;
    p.kv_tokens = entry.kv_tokens;
    p.mask = entry.mask;
    Outputs alone(p);
    const Stored own(tokens(all.view, first, entry.q_tokens), shared.storage.q);
    run(make_plan(p, Threads(1), tiles),
        {.q = own.view, .cache = &tiles, .sequences = {&entry.sequence, 1}}, scratch,
        alone.result());
    const auto rows = [&](const Tensor& t) {
      return ConstTensor(t.view.data + first, {1, 1, 4, entry.q_tokens}, t.view.strides);
    };
    if (!same_bits(tokens(out.o.view, first, entry.q_tokens), alone.o.view) ||
        !same_bits(rows(out.lse), alone.lse.view) || !same_bits(rows(out.m), alone.m.view) ||
        !same_bits(rows(out.l), alone.l.view))
      return testing::AssertionFailure() << "entry " << n << " has other bits than alone";
    first += entry.q_tokens;
  }
  return testing::AssertionSuccess();
}

/// Steps of some sequences: tokens alone beside pieces of prompts, in the order of no tree; two
/// prefixes, of 3 chunks and of 5, a sequence that shares nothing, one that shares too little.
std::vector<BatchEntry> mixed_entries(Forest& forest, const Mask& mask) {
  const std::int64_t a = forest.root(3 * kChunk + 400), b = forest.root(5 * kChunk + 100);
  std::vector<BatchEntry> entries;
  const auto add = [&](std::int64_t sequence, std::int64_t q_tokens) {
    entries.push_back({sequence, q_tokens, forest.cache.length(sequence), mask});
  };
  add(a, 1);
  add(forest.fork(b, 5 * kChunk + 16, 1300), 1);
  add(forest.fork(a, 3 * kChunk, 1), 1);
  add(forest.fork(a, 3 * kChunk, 2 * kChunk + 5), 1);
  add(forest.root(700), 1);
  add(forest.fork(b, 5 * kChunk, 60), 60);
  add(b, 9);
  add(forest.fork(a, 3 * kChunk + 300, 200), 9);
  add(forest.fork(a, 100, 800), 2);
  return entries;
}

struct Change {
  const char* name;
  std::function<void(Problem&)> make;
};

std::vector<Change> changes() {
  const auto alibi = [](Problem& p) { p.modifiers.alibi_slopes = {0.1f, 0.01f, 0.3f, 0.001f}; };
  const auto capped = [](Problem& p) { p.modifiers.softcap = 3.0f; };
  const auto sinks = [](Problem& p) {
    p.modifiers.sinks = {-1, 6, 1, -std::numeric_limits<float>::infinity()};
  };
  const auto relative = [](Problem& p) {
    RelativeBias bias{32, 4000, false, {}};
    Rng rng(4);
    for (int n = 0; n < 32 * 4; ++n) bias.table.push_back(rng.normal());
    p.modifiers.relative_bias = bias;
  };
  return {{"plain", [](Problem&) {}},
          {"ALiBi", alibi},
          {"softcap", capped},
          {"sinks", sinks},
          {"relative bias", relative},
          {"all", [=](Problem& p) {
             for (const auto& change : {std::function<void(Problem&)>(alibi), {capped}, {sinks}})
               change(p);
             relative(p);
           }}};
}

TEST(Cascade, EveryEntryHasTheBitsThatItHasAlone) {
  for (const std::int64_t page_size : {16, 512}) {
    Forest forest(page_size, DType::kF32);
    const std::vector<BatchEntry> entries = mixed_entries(forest, Mask::causal());
    for (const Change& change : changes())
      for (const int threads : {1, 3}) {
        SCOPED_TRACE(testing::Message()
                     << change.name << ", pages of " << page_size << ", threads " << threads);
        Problem p = shared_problem();
        change.make(p);
        const BatchPlan plan = plan_of(p, forest, entries, threads);
        ASSERT_EQ(plan.prefixes().size(), 2u);
        EXPECT_TRUE(each_as_alone(p, forest.tiles(), entries, plan));
      }
  }
}

TEST(Cascade, OfEveryTypeOfCache) {
  for (const DType dtype : kCacheDTypes) {
    SCOPED_TRACE(name(dtype));
    Forest forest(48, dtype);
    const std::vector<BatchEntry> entries = mixed_entries(forest, Mask::causal());
    Problem p = shared_problem(dtype);
    p.storage.q = DType::kBF16;
    const BatchPlan plan = plan_of(p, forest, entries);
    ASSERT_EQ(plan.prefixes().size(), 2u);
    EXPECT_TRUE(each_as_alone(p, forest.tiles(), entries, plan));
    if (dtype != DType::kBF16) continue;
    p.arithmetic = Arithmetic::kNativeBF16;
    EXPECT_TRUE(each_as_alone(p, forest.tiles(), entries, plan_of(p, forest, entries)));
  }
}

TEST(Cascade, SaysWhatItShares) {
  Forest forest(16, DType::kF32);
  const std::vector<BatchEntry> entries = mixed_entries(forest, Mask::causal());
  const BatchPlan plan = plan_of(shared_problem(), forest, entries);
  const auto& prefixes = plan.prefixes();
  ASSERT_EQ(prefixes.size(), 2u);
  EXPECT_EQ(prefixes[0].kv_tokens, 3 * kChunk);
  EXPECT_EQ(prefixes[0].entries, (std::vector<std::int64_t>{0, 2, 3, 7}));
  EXPECT_EQ(prefixes[0].plan.problem().q_tokens, 1 + 1 + 1 + 9);
  EXPECT_EQ(prefixes[0].plan.explain("cascade"),
            "chunks below 3, for the rows of all who share them");
  EXPECT_EQ(prefixes[1].kv_tokens, 5 * kChunk);
  EXPECT_EQ(prefixes[1].entries, (std::vector<std::int64_t>{1, 5, 6}));
  std::vector<std::int64_t> prefix_of_parts;
  for (const auto& part : plan.parts()) prefix_of_parts.push_back(part.prefix);
  EXPECT_EQ(prefix_of_parts, (std::vector<std::int64_t>{0, 1, 0, -1, 1, 1, 0, -1}));
  EXPECT_EQ(plan.parts()[2].plan.explain("cascade"),
            "chunks from 3 on, after those that are shared");
  EXPECT_EQ(plan.parts()[3].plan.explain("cascade"), "");
}

// Of a tree of prefixes the level is shared that saves the most reads.
TEST(Cascade, TakesTheLevelThatSavesMost) {
  Forest forest(64, DType::kF32);
  const std::int64_t root = forest.root(6 * kChunk);
  const auto entries_of = [&](const std::vector<std::int64_t>& shared) {
    std::vector<BatchEntry> entries;
    for (const std::int64_t chunks : shared) {
      const std::int64_t id = forest.fork(root, chunks * kChunk, 10);
      entries.push_back({id, 1, forest.cache.length(id), Mask::causal()});
    }
    return entries;
  };
  const auto check = [&](const std::vector<std::int64_t>& shared, std::int64_t chunks,
                         const std::vector<std::int64_t>& members) {
    const auto entries = entries_of(shared);
    const BatchPlan plan = plan_of(shared_problem(), forest, entries);
    ASSERT_EQ(plan.prefixes().size(), 1u);
    EXPECT_EQ(plan.prefixes()[0].kv_tokens, chunks * kChunk);
    EXPECT_EQ(plan.prefixes()[0].entries, members);
    EXPECT_TRUE(each_as_alone(shared_problem(), forest.tiles(), entries, plan));
  };
  check({1, 6, 6}, 6, {1, 2});
  check({1, 6, 5, 5}, 5, {1, 2, 3});
  check({2, 6, 2, 2}, 2, {0, 1, 2, 3});
}

// What some row does not see in full is not shared; chunks between the prefix and the rest may be
// hidden.
TEST(Cascade, CoversWhatEveryRowSeesInFull) {
  Forest forest(16, DType::kF32);
  const std::int64_t root = forest.root(7 * kChunk);
  const std::int64_t ids[] = {forest.fork(root, 7 * kChunk, 3), forest.fork(root, 7 * kChunk, 90),
                              forest.fork(root, 7 * kChunk, 700)};
  const Mask causal = Mask::causal(), window = Mask::sliding_window(600);
  const std::pair<Mask, std::int64_t> masks[] = {
      {Mask::none(), 7},
      {causal, 7},
      {window, 0},
      {window | Mask::prefix({kChunk - 1}), 0},
      {window | Mask::prefix({kChunk}), 1},
      {window | Mask::prefix({3 * kChunk + 77}), 3},
      {causal & Mask::prefix({3 * kChunk}), 3},  // nothing after the prefix
      {causal & ~Mask::window(1200, 0), 4},
      {causal & Mask::strided(2), 0}};
  for (const auto& [mask, chunks] : masks)
    for (const int threads : {1, 3}) {
      SCOPED_TRACE(mask.describe());
      std::vector<BatchEntry> entries;
      for (const std::int64_t id : ids)
        entries.push_back({id, id == ids[1] ? 90 : 3, forest.cache.length(id), mask});
      const BatchPlan plan = plan_of(shared_problem(), forest, entries, threads);
      EXPECT_EQ(plan.prefixes().empty() ? 0 : plan.prefixes()[0].kv_tokens / kChunk, chunks);
      EXPECT_TRUE(each_as_alone(shared_problem(), forest.tiles(), entries, plan));
    }
}

// Splits over chunks on both sides, of every number of chunks: the subtrees of the prefix and of what
// follows meet as in one run.
TEST(Cascade, AnyNumberOfChunksSplitOverWorkers) {
  Forest forest(64, DType::kF32);
  Problem p = shared_problem();
  p.modifiers.sinks = {0, 1, 2, 3};
  const std::int64_t root = forest.root(9 * kChunk);
  for (std::int64_t shared = 1; shared <= 9; ++shared)
    for (const std::int64_t own : {0, 1, 5}) {
      SCOPED_TRACE(testing::Message() << shared << " chunks shared, " << own << " own");
      std::vector<BatchEntry> entries;
      for (int n = 0; n < 2; ++n) {
        const std::int64_t id = forest.fork(root, shared * kChunk, own * kChunk);
        entries.push_back({id, 9, forest.cache.length(id), Mask::none()});
      }
      const BatchPlan plan = plan_of(p, forest, entries, 4);
      ASSERT_EQ(plan.prefixes().size(), 1u);
      EXPECT_NE(plan.prefixes()[0].plan.explain("split"), "none");
      EXPECT_EQ(plan.parts()[0].plan.explain("split") == "none", own == 0);
      EXPECT_TRUE(each_as_alone(p, forest.tiles(), entries, plan));
      for (const BatchEntry& entry : entries) forest.cache.free(entry.sequence);
    }
}

// More rows than a block: the prefix is packed once a head.
TEST(Cascade, ManyRows) {
  Forest forest(16, DType::kF32);
  const std::int64_t root = forest.root(2 * kChunk);
  std::vector<BatchEntry> entries;
  for (const std::int64_t tokens : {300, 1, 40}) {
    const std::int64_t id = forest.fork(root, 2 * kChunk, tokens);
    entries.push_back({id, tokens, forest.cache.length(id), Mask::causal()});
  }
  const BatchPlan plan = plan_of(shared_problem(), forest, entries);
  ASSERT_EQ(plan.prefixes().size(), 1u);
  EXPECT_EQ(plan.prefixes()[0].plan.explain("kv"), "pages, gathered once a kv head");
  EXPECT_TRUE(each_as_alone(shared_problem(), forest.tiles(), entries, plan));
}

// Beams that attend to one memory: it is the whole of what they read.
TEST(Cascade, OneSequenceManyTimes) {
  const Problem p = shared_problem();
  for (const std::int64_t tokens : {2 * kChunk, 2 * kChunk + 70}) {
    DenseKvCache cache({2, 2, 12, 20, tokens});
    cache.append(normal({2, tokens, 2, 12}, 1).view, normal({2, tokens, 2, 20}, 2).view);
    std::vector<BatchEntry> entries;
    for (const std::int64_t sequence : {1, 0, 1, 1}) entries.push_back({sequence, 1, tokens});
    const BatchPlan plan = make_batch_plan(p, Threads(2), cache, entries);
    ASSERT_EQ(plan.prefixes().size(), 1u);
    EXPECT_EQ(plan.prefixes()[0].entries, (std::vector<std::int64_t>{0, 2, 3}));
    EXPECT_TRUE(each_as_alone(p, cache, entries, plan));
  }
}

// Rows that wait for arithmetic have nothing to save: those of a stream, beyond the first few.
TEST(Cascade, NotOfRowsThatWaitForArithmetic) {
  const auto shares = [](DType dtype, std::int64_t group, std::int64_t q_tokens) {
    Forest forest(16, dtype);
    const std::int64_t root = forest.root(2 * kChunk);
    const std::vector<BatchEntry> entries(2, {root, q_tokens, 2 * kChunk});
    Problem p = shared_problem(dtype);
    p.q_heads = 2 * group;
    return !plan_of(p, forest, entries).prefixes().empty();
  };
  for (const DType dtype : kCacheDTypes) {
    SCOPED_TRACE(name(dtype));
    const bool is_half = size_of(dtype) == 2;
    EXPECT_TRUE(shares(dtype, 1, 3));
    EXPECT_EQ(shares(dtype, 4, 1), !is_half);
    EXPECT_EQ(shares(dtype, 1, 7), !is_half);
    EXPECT_FALSE(shares(dtype, 8, 1));
    EXPECT_FALSE(shares(dtype, 4, 4));
    EXPECT_TRUE(shares(dtype, 1, 17));
  }
}

/// Block tables over pages of random numbers.
struct Tables {
  Tensor k, v;
  std::vector<std::int32_t> pages;
  BlockTables blocks;

  Tables(std::int64_t count, std::int64_t page_size, std::vector<std::int32_t> rows,
         std::int64_t sequences)
      : k(normal({count, page_size, 2, 12}, 1)),
        v(normal({count, page_size, 2, 20}, 2)),
        pages(std::move(rows)),
        blocks(k.view, v.view, {pages.data(), sequences, entries(sequences), entries(sequences)}) {}

  std::int64_t entries(std::int64_t sequences) const { return std::ssize(pages) / sequences; }
};

// An engine's tables that name the same pages: of a size that divides chunks, and of one that does not.
TEST(Cascade, BlockTablesThatNameTheSamePages) {
  for (const std::int64_t page_size : {64, 100}) {
    const std::int64_t shared = 1300 / page_size, entries = shared + 3;
    std::vector<std::int32_t> rows;
    for (std::int32_t sequence = 0; sequence < 3; ++sequence)
      for (std::int32_t n = 0; n < entries; ++n)
        rows.push_back(n < shared ? 2 * n + 1
                                  : 2 * (n - static_cast<std::int32_t>(shared) + 3 * sequence));
    const Tables tables(2 * entries + 30, page_size, rows, 3);
    std::vector<BatchEntry> batch;
    for (const std::int64_t q_tokens : {1, 2, 20})
      batch.push_back(
          {std::ssize(batch), q_tokens, entries * page_size - 5 * q_tokens, Mask::causal()});
    const Problem p = shared_problem();
    const BatchPlan plan = make_batch_plan(p, Threads(2), tables.blocks, batch);
    ASSERT_EQ(plan.prefixes().size(), 1u);
    EXPECT_EQ(plan.prefixes()[0].kv_tokens, 2 * kChunk);
    EXPECT_EQ(plan.prefixes()[0].entries.size(), 3u);
    EXPECT_TRUE(each_as_alone(p, tables.blocks, batch, plan));
  }
}

// Two tables share four chunks; between them in the batch is one that shares the first and has no page
// for the second, in whose place page 0 is read.
TEST(Cascade, BlockTablesWithEntriesOfNoPage) {
  const Tables tables(16, kChunk,
                      {7, 0, 5, 6, 9, 8,       //
                       7, -1, -1, -1, 10, 11,  //
                       7, 0, 5, 6, 2, 3},
                      3);
  const Mask ends = Mask::prefix({kChunk}) | Mask::sliding_window(700);
  const std::vector<BatchEntry> batch = {{0, 1, 6 * kChunk, Mask::causal()},
                                         {1, 1, 6 * kChunk - 3, ends},
                                         {2, 1, 6 * kChunk - 9, Mask::causal()}};
  const Problem p = shared_problem();
  const BatchPlan plan = make_batch_plan(p, Threads(2), tables.blocks, batch);
  ASSERT_EQ(plan.prefixes().size(), 1u);
  EXPECT_EQ(plan.prefixes()[0].kv_tokens, 4 * kChunk);
  EXPECT_EQ(plan.prefixes()[0].entries, (std::vector<std::int64_t>{0, 2}));
  EXPECT_TRUE(each_as_alone(p, tables.blocks, batch, plan));
}

TEST(Cascade, NotWithPositionsOrHeadsThatDiffer) {
  Forest forest(16, DType::kF32);
  const std::int64_t root = forest.root(2 * kChunk);
  std::vector<BatchEntry> entries(2, {root, 1, 2 * kChunk, Mask::causal()});
  EXPECT_EQ(plan_of(shared_problem(), forest, entries).prefixes().size(), 1u);
  entries[1].q_positions = {2 * kChunk - 1};
  EXPECT_TRUE(plan_of(shared_problem(), forest, entries).prefixes().empty());
  entries[1].q_positions.clear();
  const BlockMask all = BlockMask::from_predicate({1, 4, 1, 1, 2 * kChunk, 2 * kChunk},
                                                  [](auto, auto, auto, auto) { return true; });
  entries[0].mask = entries[1].mask = Mask::blocks(all);
  EXPECT_TRUE(plan_of(shared_problem(), forest, entries).prefixes().empty());
}

TEST(Cascade, RefusesWhatIsNotSharedAnyMore) {
  Forest forest(16, DType::kF32);
  const std::int64_t root = forest.root(kChunk), fork = forest.fork(root, kChunk, 1);
  const std::vector<BatchEntry> entries = {{root, 1, kChunk, Mask::causal()},
                                           {fork, 1, kChunk + 1, Mask::causal()}};
  const Problem p = shared_problem();
  const BatchPlan plan = plan_of(p, forest, entries);
  ASSERT_EQ(plan.prefixes().size(), 1u);
  const Tensor q = queries_of(entries);
  Problem whole = p;
  whole.q_tokens = 2;
  Outputs out(whole);
  Scratch scratch;
  const auto error = [&] {
    return error_of([&] { run(plan, q.view, forest.tiles(), scratch, out.result()); });
  };
  EXPECT_EQ(error(), "no error");
  forest.cache.truncate(fork, 100);
  forest.grow(fork, kChunk);
  EXPECT_EQ(
      error(),
      "BatchPlan cache sequence 1: expected 512 tokens shared with sequence 0, as when it was "
      "planned, got 96");

  const Plan& part = plan.parts().front().plan;
  Outputs one(part.problem());
  EXPECT_EQ(error_of([&] {
              run(part, {.q = tokens(q.view, 0, 1), .cache = &forest.tiles()}, scratch,
                  one.result());
            }),
            "Plan: expected a plan of make_plan, got a part of a BatchPlan that shares chunks");
}

// A page of the plan's cache holds the whole prefix, one of the other's does not.
TEST(Cascade, RefusesOtherTiles) {
  const Problem p = shared_problem();
  Forest large(2 * kChunk + 16, DType::kF32), small(16, DType::kF32);
  const std::vector<BatchEntry> entries(
      2, {large.root(2 * kChunk + 76), 1, 2 * kChunk + 76, Mask::causal()});
  small.root(2 * kChunk + 76);
  const BatchPlan plan = plan_of(p, large, entries);
  ASSERT_EQ(plan.prefixes().size(), 1u);
  const Tensor q = queries_of(entries);
  Problem whole = p;
  whole.q_tokens = 2;
  Outputs out(whole);
  Scratch scratch;
  EXPECT_EQ(error_of([&] { run(plan, q.view, large.tiles(), scratch, out.result()); }), "no error");
  EXPECT_NE(error_of([&] { run(plan, q.view, small.tiles(), scratch, out.result()); }), "no error");
}

}  // namespace
}  // namespace rapt::test
