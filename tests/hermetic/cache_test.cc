// Promise 3, hermetic: what a cache holds and rows do not see cannot reach the output.

#include <gtest/gtest.h>

#include "hermetic/poison.h"
#include "invariance/canonical_order.h"

namespace rapt::test {
namespace {

// What a cache held before it was truncated, and what other sequences hold, stays there.
TEST(Hermetic, UnusedCapacityOfACache) {
  for (const auto& [isa, dtype] : isas_and_dtypes())
    for (const std::int64_t length : {1, 15, 16, 17, 500, 512, 513, 600}) {
      const ForcedIsa forced(isa);
      SCOPED_TRACE(testing::Message() << name(isa) << " " << name(dtype) << ", length " << length);
      const std::int64_t queries = length % 3 == 0 ? 20 : 1;  // widened; read in place
      const Tensor q = normal({2, queries, 2, 8}, 1);
      const Tensor k = normal({2, length, 1, 8}, 2), v = normal({2, length, 1, 20}, 3);
      round_to(k.view, dtype);
      round_to(v.view, dtype);
      Problem p;
      p.batch = 2;
      p.q_tokens = queries;
      p.kv_tokens = length;
      p.q_heads = 2;
      p.head_dim = 8;
      p.v_head_dim = 20;
      p.mask = Mask::causal();
      p.storage.k = p.storage.v = dtype;
      const Plan plan = make_plan(p, Threads(1), KvSource::kCache);
      const DenseKvCache::Shape shape{2, 1, 8, 20, 1030, dtype};
      DenseKvCache clean(shape), used(shape);
      clean.append(k.view, v.view);

      Tensor poison_k({2, 1030, 1, 8}), poison_v({2, 1030, 1, 20});
      fill(poison_k.view, kNan);
      fill(poison_v.view, kInfinity);
      used.append(poison_k.view, poison_v.view);
      for (const int b : {0, 1}) used.truncate(b, 0);
      used.append(k.view, v.view);

      const Inputs from_clean{.q = q.view, .k = {}, .v = {}, .cache = &clean};
      const Inputs from_used{.q = q.view, .k = {}, .v = {}, .cache = &used};
      const Outputs expected = run_attention(plan, from_clean);
      EXPECT_TRUE(same_bits(run_attention(plan, from_used), expected));
      p.storage = {};
      EXPECT_TRUE(same_bits(run_attention(p, q.view, k.view, v.view), expected));
    }
}

// Keys and values of a cache that some rows see and others do not, in one group of 16.
TEST(Hermetic, PoisonInACache) {
  for (const auto& [isa, dtype] : isas_and_dtypes())
    for (const std::int64_t queries : {3, 90}) {
      const ForcedIsa forced(isa);
      AttentionCase c = long_case("causal");
      c.q_tokens = queries;
      c.kv_tokens = 90;
      c.source = KvSource::kCache;
      c.storage = Storage::all(dtype);
      SCOPED_TRACE(c.name());
      CaseInputs in(c);
      const Outputs clean = run_case(c, in);
      for (const float poison : {kNan, kInfinity})
        for (const std::int64_t j : {5, 31, 70, 88})
          for (const bool keys : {true, false}) {
            float& target = (keys ? in.k : in.v).view.at(0, j, 0, 2);
            const float before = target;
            target = poison;
            const Outputs out = run_case(c, in);
            expect_others_clean(c, clean, out, {j});
            EXPECT_TRUE(canonical_bits(c.problem(), c.mask->reference, in.inputs(), out,
                                       sample_rows(c.q_tokens, 90)));
            target = before;
          }
    }
}

// A value that the cache's type cannot hold becomes infinite there: hidden, it is nothing.
TEST(Hermetic, ValuesThatOverflowInACache) {
  AttentionCase c = long_case("causal");
  c.q_tokens = 2;
  c.kv_tokens = 40;
  c.source = KvSource::kCache;
  c.storage = Storage::all(DType::kF16);
  CaseInputs in(c);
  const Outputs clean = run_case(c, in);
  in.v.view.at(0, 39, 0, 1) = 1e5f;  // of the last token, which the row before does not see
  const Problem p = c.problem();
  DenseKvCache cache({1, 1, c.head_dim, c.v_head_dim, 40, DType::kF16});
  cache.append(in.k.view, in.v.view);
  const Stored q(in.q.view, DType::kF16);
  const Outputs out = run_attention(make_plan(p, Threads(1), KvSource::kCache),
                                    {.q = q.view, .k = {}, .v = {}, .cache = &cache});
  expect_others_clean(c, clean, out, {39});
  EXPECT_EQ(out.o.view.at(0, 1, 0, 1), kInfinity);
}

}  // namespace
}  // namespace rapt::test
