// Partial states: any split at chunk boundaries, merged in any order of association, has the bits
// of one run; the nodes are those of the canonical tree.

#include <gtest/gtest.h>

#include "cases.h"
#include "invariance/canonical_order.h"
#include "oracle.h"

namespace rapt::test {
namespace {

/// Seven chunks of keys, the last one short.
AttentionCase seven_chunks(const std::string& mask, std::int64_t queries) {
  AttentionCase c;
  if (mask == "blocks_of_heads") c.modifiers = Modifiers::kAll;
  c.q_tokens = queries;
  c.kv_tokens = 6 * kChunk + 100;
  c.q_heads = 4;
  c.kv_heads = 2;
  c.head_dim = 9;
  c.v_head_dim = 20;
  c.mask = &mask_named(mask);
  return c;
}

struct Split {
  Plan plan;
  CaseInputs in;
  Outputs whole;
  Scratch scratch;

  explicit Split(const AttentionCase& c)
      : plan(make_plan(c.problem(), Threads(c.threads))), in(c), whole(run_case(c, in)) {}

  State part(std::int64_t begin, std::int64_t end) {
    return run_partial(plan, in.inputs(), scratch, {begin, end});
  }

  testing::AssertionResult finishes_as_run(const State& state) {
    Outputs out(plan.problem());
    finish(state, out.result());
    return same_bits(out, whole);
  }
};

/// Merges parts [a, b) of `parts` by a random binary tree.
State merge_randomly(const std::vector<State>& parts, std::size_t a, std::size_t b, Rng& rng) {
  if (b - a == 1) return parts[a];
  const std::size_t middle = a + 1 + rng.below(static_cast<std::int64_t>(b - a) - 1);
  return merge(merge_randomly(parts, a, middle, rng), merge_randomly(parts, middle, b, rng));
}

TEST(Merge, EverySetOfBoundariesInAnyAssociation) {
  for (const char* mask : {"none", "causal", "window600", "blocks_of_heads"})
    for (const std::int64_t queries : {1, 60}) {
      Split split(seven_chunks(mask, queries));
      Rng rng(5);
      for (int cuts = 0; cuts < 1 << 6; ++cuts) {
        SCOPED_TRACE(testing::Message() << mask << ", " << queries << " queries, cuts " << cuts);
        std::vector<State> parts;
        std::int64_t begin = 0;
        for (std::int64_t chunk = 1; chunk <= 7; ++chunk)
          if (chunk == 7 || (cuts >> (chunk - 1) & 1)) {
            parts.push_back(split.part(begin, chunk));
            begin = chunk;
          }
        for (int tree = 0; tree < 4; ++tree) {
          const State state = merge_randomly(parts, 0, parts.size(), rng);
          EXPECT_EQ(state.chunks, (ChunkRange{0, 7}));
          EXPECT_EQ(state.nodes.size(), 3u);  // of 4, 2 and 1 chunks
          ASSERT_TRUE(split.finishes_as_run(state));
        }
      }
    }
}

TEST(Merge, EmptyRangesAndRangesBeyondTheKeysAreNeutral) {
  Split split(seven_chunks("causal", 10));
  const State empty = split.part(3, 3);
  EXPECT_TRUE(empty.nodes.empty());
  const State low = merge(split.part(0, 3), empty);
  const State beyond = split.part(7, 16);
  EXPECT_TRUE(split.finishes_as_run(merge(low, merge(split.part(3, 7), beyond))));
  EXPECT_TRUE(split.finishes_as_run(split.part(0, 16)));
}

TEST(Merge, NodesAreTheCanonicalSubtrees) {
  for (const char* mask : {"none", "causal", "window600", "window_40_700"}) {
    const AttentionCase c = seven_chunks(mask, 30);
    Split split(c);
    const Problem p = c.problem();
    const Inputs inputs = split.in.inputs();
    const std::int64_t stride = (p.value_dim() + 15) / 16 * 16;
    for (const auto& [begin, end] : {std::pair{0, 7}, {1, 7}, {3, 6}, {5, 6}, {1, 2}}) {
      const State state = split.part(begin, end);
      SCOPED_TRACE(testing::Message() << mask << ", chunks " << begin << " to " << end);
      std::int64_t next = begin;
      for (const State::Node& node : state.nodes) {
        EXPECT_EQ(node.index << node.level, next);
        next = (node.index + 1) << node.level;
        for (const std::int64_t i : {0, 17, 29})
          for (std::int64_t h = 0; h < p.q_heads; ++h) {
            const CanonicalNode expected =
                CanonicalRow{p, c.mask->reference, inputs, 0, h, i}.node(node.level, node.index);
            const std::int64_t row = i * p.q_heads + h;
            ASSERT_EQ(bits(node.m[row]), bits(expected.m));
            ASSERT_EQ(bits(node.l[row]), bits(expected.l));
            for (std::int64_t e = 0; e < p.value_dim(); ++e)
              ASSERT_EQ(bits(node.acc[row * stride + e]), bits(expected.acc[e]));
          }
      }
      EXPECT_EQ(next, end);
    }
  }
}

// Keys of one half are far larger than those of the other: the small side's weight underflows to 0.
TEST(Merge, SidesOfVeryDifferentMagnitude) {
  const AttentionCase c = seven_chunks("none", 5);
  for (const float factor : {30.0f, 1e4f, 1e30f}) {
    Split split(c);
    for (std::int64_t j = 1500; j < c.kv_tokens; ++j)
      for (std::int64_t e = 0; e < c.head_dim; ++e)
        for (std::int64_t h = 0; h < c.kv_heads; ++h) split.in.k.view.at(0, j, h, e) *= factor;
    split.whole = run_case(c, split.in);
    EXPECT_TRUE(
        canonical_bits(c.problem(), c.mask->reference, split.in.inputs(), split.whole, {0, 4}));
    EXPECT_TRUE(split.finishes_as_run(merge(split.part(0, 3), split.part(3, 7))));
    EXPECT_TRUE(split.finishes_as_run(merge(split.part(0, 1), split.part(1, 7))));
  }
}

TEST(Merge, ThreadsGiveTheSameStates) {
  AttentionCase c = seven_chunks("causal", 30);
  Split one(c);
  c.threads = 3;
  Split three(c);
  const State a = one.part(1, 6), b = three.part(1, 6);
  ASSERT_EQ(a.nodes.size(), b.nodes.size());
  for (std::size_t n = 0; n < a.nodes.size(); ++n) {
    EXPECT_EQ(a.nodes[n].m, b.nodes[n].m);
    EXPECT_EQ(a.nodes[n].l, b.nodes[n].l);
    EXPECT_EQ(a.nodes[n].acc, b.nodes[n].acc);
  }
}

TEST(Merge, StatesOfACacheAndOfTensorsJoin) {
  const AttentionCase c = seven_chunks("causal", 30);
  Split split(c);
  DenseKvCache cache({1, c.kv_heads, c.head_dim, c.v_head_dim, c.kv_tokens});
  cache.append(split.in.k.view, split.in.v.view);
  const Plan plan = make_plan(c.problem(), Threads(2), KvSource::kCache);
  const Inputs in{.q = split.in.q.view, .k = {}, .v = {}, .cache = &cache};
  EXPECT_TRUE(
      split.finishes_as_run(merge(split.part(0, 3), run_partial(plan, in, split.scratch, {3, 7}))));
}

}  // namespace
}  // namespace rapt::test
