// Promises 2 and 3 over an engine's own pages: the bits of plain tensors, whatever the pages are;
// and what is refused before anything is written.

#include <gtest/gtest.h>

#include <cmath>

#include "cases.h"
#include "engine_pages.h"
#include "invariance/grouped_case.h"
#include "rapt/batch.h"
#include "rapt/kept_mass.h"
#include "rejects.h"

namespace rapt::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Outputs from_tables(const Problem& p, const AnyConstTensor& q, const EnginePages& pages,
                    int threads = 1) {
  return run_attention(make_plan(p, Threads(threads), pages.blocks()), pages.inputs(q));
}

// Streams, one block and several; in place, gathered and packed; two sequences of unequal length.
TEST(Invariance, BlockTablesOfAnySize) {
  constexpr std::int64_t kSizes[] = {1, 7, 16, 100, 256, 1024};
  constexpr EngineLayout kEngines[] = {{Layout::kContiguous, false},   {Layout::kHeadMajor, false},
                                       {Layout::kContiguous, true},    {Layout::kHeadMajor, true},
                                       {Layout::kFeatureMajor, false}, {Layout::kUnaligned, true}};
  std::size_t n = 0;
  for (const DType dtype : kAllDTypes)
    for (const char* mask : {"causal", "window600"})
      for (const std::int64_t queries : {1, 2, 5, 70, 600})
        for (const std::int64_t v_dim : {40, 48}) {
          AttentionCase c = grouped_case(mask, queries, 1100);
          c.batch = 2;
          c.v_head_dim = v_dim;
          c.storage = Storage::all(dtype);
          SCOPED_TRACE(c.name());
          const CaseInputs in(c);
          for (const Tensor* x : {&in.q, &in.k, &in.v}) round_to(x->view, dtype);
          Problem p = c.problem();
          p.kv_ranges = {{0, 1100}, {0, 777}};
          const Stored q(in.q.view, dtype), k(in.k.view, dtype), v(in.v.view, dtype);
          const Outputs expected =
              run_attention(make_plan(p, Threads(1)), {q.view, k.view, v.view});
          for (int tried = 0; tried < 3; ++tried, ++n) {
            const std::int64_t size = kSizes[n % 6];
            const EnginePages pages(p, in.k.view, in.v.view, size, kEngines[n / 6 % 6]);
            EXPECT_TRUE(same_bits(from_tables(p, q.view, pages, tried + 1), expected)) << size;
          }
        }
}

TEST(Invariance, BlockTablesOnEveryIsa) {
  for (const std::int64_t queries : {1, 4, 30})
    for (const std::int64_t size : {7, 16}) {
      AttentionCase c = grouped_case("causal", queries, 600);
      c.v_head_dim = 48;
      c.modifiers = Modifiers::kAll;
      const CaseInputs in(c);
      const Problem p = c.problem();
      const EnginePages pages(p, in.k.view, in.v.view, size, {Layout::kHeadMajor, true});
      const Outputs expected = run_case(c, in);
      for (const Isa isa : supported_isas()) {
        const ForcedIsa forced(isa);
        EXPECT_TRUE(same_bits(run_attention(make_plan(p, Threads(2), pages.blocks()),
                                            pages.inputs(in.q.view, in.inputs().bias)),
                              expected))
            << name(isa) << " " << c.name() << size;
      }
    }
}

TEST(Invariance, BlockTablesInNativeBf16) {
  for (const std::int64_t queries : {1, 8, 70})
    for (const std::int64_t size : {7, 48}) {
      const AttentionCase c = in_native(grouped_case("causal", queries, 700));
      const CaseInputs in(c);
      const Outputs expected = run_case(c, in);
      const Problem p = c.problem();
      const EnginePages pages(p, in.k.view, in.v.view, size);
      const Stored q(in.q.view, p.storage.q);
      EXPECT_TRUE(same_bits(from_tables(p, q.view, pages), expected)) << c.name() << size;
    }
}

TEST(Invariance, PlansSayHowBlockTablesAreRead) {
  const auto said = [](std::int64_t queries, std::int64_t size) {
    const AttentionCase c = grouped_case("causal", queries, 600);
    const CaseInputs in(c);
    const EnginePages pages(c.problem(), in.k.view, in.v.view, size);
    return make_plan(c.problem(), Threads(1), pages.blocks()).explain("kv");
  };
  EXPECT_EQ(said(1, 32), "rows in pages, read in place, keys packed as they are streamed");
  EXPECT_EQ(said(1, 700), "rows in pages, read in place, keys packed as they are streamed");
  EXPECT_EQ(said(1, 20),
            "rows in pages, packed once a chunk: a group of 16 keys may lie in two pages");
  EXPECT_EQ(said(70, 20), "rows in pages, packed once a chunk");
  EXPECT_EQ(said(600, 32), "rows in pages, packed once a kv head");
}

TEST(Invariance, RaggedBatchesOverBlockTables) {
  AttentionCase c = grouped_case("none", 1, 700);
  c.batch = 3;
  const CaseInputs in(c);
  const Problem p = c.problem();
  const std::vector<BatchEntry> entries = {{2, 1, 700, Mask::causal()},
                                           {0, 1, 33, Mask::causal()},
                                           {1, 40, 530, Mask::causal()},
                                           {2, 3, 100, Mask::sliding_window(40)},
                                           {2, 2, 690, Mask::causal()}};  // shares the first's
  const Tensor q = normal({1, 47, p.q_heads, p.head_dim}, 9);
  for (const std::int64_t size : {9, 32}) {
    EnginePages pages(p, in.k.view, in.v.view, size);
    const BatchPlan plan = make_batch_plan(p, Threads(2), pages.blocks(), entries);
    Problem all = p;
    all.batch = 1;
    all.q_tokens = 47;
    Outputs out(all);
    Scratch scratch;
    run(plan, q.view, pages.blocks(), scratch, out.result());
    std::int64_t first = 0;
    for (const BatchEntry& entry : entries) {
      Problem one = p;
      one.batch = 1;
      one.q_tokens = entry.q_tokens;
      one.kv_tokens = entry.kv_tokens;
      one.mask = entry.mask;
      const auto of_entry = [&](const Tensor& x) {
        return tokens(sequence(x.view, entry.sequence), 0, entry.kv_tokens);
      };
      const Outputs alone =
          run_attention(one, tokens(q.view, first, entry.q_tokens), of_entry(in.k), of_entry(in.v));
      EXPECT_TRUE(same_bits(tokens(out.o.view, first, entry.q_tokens), alone.o.view)) << first;
      first += entry.q_tokens;
    }
    EXPECT_EQ(plan.prefixes().size(), 1u);
    pages.entry(2, 1) = -1;  // within what two entries share
    EXPECT_TRUE(rejects("Inputs.cache sequence 2, entry 1 of its block table", kArgument,
                        [&] { run(plan, q.view, pages.blocks(), scratch, out.result()); }));
  }
}

TEST(Invariance, PartsRowsAndMassOfBlockTables) {
  for (const std::int64_t queries : {2, 40})
    for (const std::int64_t size : {7, 16}) {
      const AttentionCase c = grouped_case("causal", queries, 1300);
      const CaseInputs in(c);
      const Problem p = c.problem();
      const EnginePages pages(p, in.k.view, in.v.view, size);
      const Plan plan = make_plan(p, Threads(1), pages.blocks()), plain = make_plan(p, Threads(1));
      const Inputs inputs = pages.inputs(in.q.view);
      Scratch scratch;
      Outputs out(p);
      finish(merge(run_partial(plan, inputs, scratch, {0, 1}),
                   run_partial(plan, inputs, scratch, {1, 3})),
             out.result());
      EXPECT_TRUE(same_bits(out, run_case(c, in)));
      Tensor rows({1, 4, 1, 1300}), plain_rows({1, 4, 1, 1300});
      attention_rows(plan, inputs, scratch, {queries - 1}, rows.view);
      attention_rows(plain, in.inputs(), scratch, {queries - 1}, plain_rows.view);
      EXPECT_TRUE(same_bits(rows.view, plain_rows.view));
      const Mask sparse = Mask::sliding_window(100);
      EXPECT_EQ(kept_mass(p, sparse, inputs, Threads(1), scratch)[0].mean,
                kept_mass(p, sparse, in.inputs(), Threads(1), scratch)[0].mean);
    }
}

// An engine gives back the pages that a window has left, and those between it and its first tokens.
TEST(Hermetic, EntriesThatNoVisibleSlotNeeds) {
  constexpr std::int64_t kWindow = 100, kKeys = 1700;
  for (const std::int64_t queries : {1, 40})
    for (const std::int64_t size : {7, 16, 100}) {
      const AttentionCase c = grouped_case("none", queries, kKeys);
      const CaseInputs in(c);
      Problem p = c.problem();
      p.mask = Mask::sliding_window(kWindow) | Mask::global({{0, 1, 2, 3}});
      EnginePages pages(p, in.k.view, in.v.view, size);
      const Outputs expected = from_tables(p, in.q.view, pages);
      EXPECT_TRUE(same_bits(expected, run_attention(p, in.q.view, in.k.view, in.v.view)));
      const std::int64_t first_seen = kKeys - queries + 1 - kWindow;
      for (std::int64_t n = 4 / size + 1; (n + 1) * size <= first_seen; ++n)
        pages.entry(0, n) = n % 2 == 0 ? -1 : 1 << 30;
      EXPECT_TRUE(same_bits(from_tables(p, in.q.view, pages), expected)) << queries << " " << size;
      std::int32_t& needed = pages.entry(0, first_seen / size);
      needed = -1;
      EXPECT_TRUE(rejects("Inputs.cache sequence 0, entry " + std::to_string(first_seen / size) +
                              " of its block table",
                          kArgument, [&] { from_tables(p, in.q.view, pages); }));
    }
}

// Keys and values that some rows see and others do not, on every path.
TEST(Hermetic, PoisonInBlockTables) {
  for (const Isa isa : supported_isas())
    for (const std::int64_t queries : {2, 8, 90})
      for (const std::int64_t size : {7, 32})
        for (const bool keys : {true, false}) {
          const ForcedIsa forced(isa);
          AttentionCase c = grouped_case("causal", queries, 90);
          c.q_heads = 2;
          c.v_head_dim = 48;
          CaseInputs in(c);
          const Problem p = c.problem();
          const auto run_now = [&] {
            const EnginePages pages(p, in.k.view, in.v.view, size, {Layout::kHeadMajor, false});
            return from_tables(p, in.q.view, pages);
          };
          const Outputs clean = run_now();
          (keys ? in.k : in.v).view.at(0, 89, 0, 1) = kNan;  // the last query alone sees it
          const Outputs out = run_now();
          EXPECT_TRUE(
              same_bits(tokens(out.o.view, 0, queries - 1), tokens(clean.o.view, 0, queries - 1)));
          EXPECT_TRUE(std::isnan(out.o.view.at(0, queries - 1, 0, 1)));
        }
}

TEST(BadInput, RunsOnBlockTables) {
  const AttentionCase c = grouped_case("causal", 2, 40);
  const CaseInputs in(c);
  Problem p = c.problem();
  EnginePages pages(p, in.k.view, in.v.view, 9);
  Scratch scratch;
  const Outputs out(p), untouched(p);
  const auto run_with = [&](KvSource source) {
    run(make_plan(p, Threads(1), source), pages.inputs(in.q.view), scratch, out.result());
  };
  for (const KvSource source : {KvSource::kCache, KvSource::kPages, KvSource::kRows})
    EXPECT_TRUE(rejects("Inputs.cache sequence 0", kArgument, [&] { run_with(source); }));
  for (const std::int32_t page : {-1, 7, std::numeric_limits<std::int32_t>::min()}) {
    const std::int32_t before = std::exchange(pages.entry(0, 3), page);
    EXPECT_TRUE(rejects("Inputs.cache sequence 0, entry 3 of its block table", kArgument,
                        [&] { run_with(KvSource::kAnyRows); }));
    EXPECT_TRUE(same_bits(out, untouched));
    pages.entry(0, 3) = before;
  }
  EXPECT_NO_THROW(run_with(KvSource::kAnyRows));
  p.kv_tokens = 100;  // 6 entries of 9 slots
  EXPECT_TRUE(rejects("Inputs.cache sequence 0", kShape, [&] { run_with(KvSource::kAnyRows); }));
  p.kv_tokens = 40;
  p.batch = 2;
  const Tensor q = normal({2, 2, 4, 24}, 3);
  const Outputs two(p);
  EXPECT_TRUE(rejects("Inputs.cache sequence 1", kShape, [&] {
    run(make_plan(p, Threads(1), pages.blocks()), pages.inputs(q.view), scratch, two.result());
  }));
  p.storage.k = p.storage.v = DType::kInt8;
  EXPECT_TRUE(
      rejects("Problem.storage.k", kArgument, [&] { make_plan(p, Threads(1), pages.blocks()); }));
}

}  // namespace
}  // namespace rapt::test
