// Promise 3, hermetic: what is live does reach the output, as NaN or infinity, and nothing else.

#include <gtest/gtest.h>

#include "hermetic/poison.h"

namespace rapt::test {
namespace {

// o beyond f16's largest number is infinite there; its lse stays.
TEST(Hermetic, OutputsThatOverflow) {
  AttentionCase c;
  c.q_tokens = 3;
  c.kv_tokens = 20;
  c.head_dim = 4;
  c.mask = &mask_named("none");
  c.storage.o = DType::kF16;
  CaseInputs in(c);
  const Outputs clean = run_case(c, in);
  for (std::int64_t j = 0; j < c.kv_tokens; ++j) {
    in.v.view.at(0, j, 0, 1) = -65520.0f;
    in.v.view.at(0, j, 0, 2) = 65504.0f;
  }
  const Outputs out = run_case(c, in);
  EXPECT_LE(out.o.view.at(0, 0, 0, 1), -65504.0f);
  EXPECT_EQ(out.o.view.at(0, 0, 0, 2), 65504.0f);
  for (std::int64_t j = 0; j < c.kv_tokens; ++j) in.v.view.at(0, j, 0, 1) = -1e5f;
  EXPECT_EQ(run_case(c, in).o.view.at(0, 0, 0, 1), -kInfinity);
  EXPECT_TRUE(same_bits(run_case(c, in).lse.view, clean.lse.view));
}

// A poisoned query is its own row's affair.
TEST(Hermetic, PoisonedQuery) {
  for (const DType dtype : kAllDTypes) {
    AttentionCase c = long_case("causal");
    c.q_tokens = 100;
    c.storage = Storage::all(dtype);
    SCOPED_TRACE(c.name());
    CaseInputs in(c);
    const Outputs clean = run_case(c, in);
    for (const float poison : {kNan, kInfinity}) {
      poison_token(in.q.view, 50, poison);
      const Outputs out = run_case(c, in);
      for_each_index(out.o.view.extents, [&](auto, auto i, auto h, auto e) {
        const float got = out.o.view.at(0, i, h, e);
        ASSERT_EQ(bits(got), i == 50 ? kNanBits : bits(clean.o.view.at(0, i, h, e))) << i;
        if (i == 50) {
          ASSERT_EQ(bits(out.lse.view.at(0, 0, h, i)), kNanBits);
        }
      });
    }
  }
}

// Signalling NaN and those of any payload, hidden and live, of tensors and of caches.
TEST(Hermetic, NanOfAnyBits) {
  for (const auto& [dtype, nan] : {std::pair{DType::kF32, 0x7F800001u},
                                   {DType::kF32, 0xFFFFFFFFu},
                                   {DType::kBF16, 0x7F81u},
                                   {DType::kBF16, 0xFFFFu},
                                   {DType::kF16, 0x7C01u},
                                   {DType::kF16, 0xFFFFu}})
    for (const std::int64_t queries : {3, 90})
      for (const auto source : {KvSource::kTensors, KvSource::kCache}) {
        AttentionCase c = long_case("causal");
        c.q_tokens = queries;
        c.kv_tokens = 90;
        c.source = source;
        c.storage = Storage::all(dtype);
        SCOPED_TRACE(c.name());
        const CaseInputs in(c);
        const Outputs clean = run_case(c, in);
        const Stored q(in.q.view, dtype), k(in.k.view, dtype), v(in.v.view, dtype);
        std::memcpy(v.view.address(0, 88, 0, 2), &nan, static_cast<std::size_t>(size_of(dtype)));
        DenseKvCache cache({1, 1, c.head_dim, c.v_head_dim, 90, dtype});
        cache.append(k.view, v.view);
        const Outputs out = run_attention(make_plan(c.problem(), Threads(1), source),
                                          {.q = q.view, .k = k.view, .v = v.view, .cache = &cache});
        expect_others_clean(c, clean, out, {88});
        for (const std::int64_t i : {queries - 2, queries - 1})
          for (std::int64_t e = 0; e < c.v_head_dim; ++e)
            EXPECT_EQ(bits(out.o.view.at(0, i, 1, e)),
                      e == 2 ? kNanBits : bits(clean.o.view.at(0, i, 1, e)));
      }
}

// A live NaN score makes o and lse NaN; a live NaN value only its feature; every NaN is 0x7FC00000.
TEST(Hermetic, LiveNanPropagates) {
  const float other_nan = -kNan;
  for (const auto& [isa, dtype] : isas_and_dtypes()) {
    const ForcedIsa forced(isa);
    AttentionCase c = long_case("causal");
    c.storage = Storage::all(dtype);
    SCOPED_TRACE(c.name());
    CaseInputs in(c);
    const std::int64_t poisoned = 600;
    in.k.view.at(0, poisoned, 0, 0) = other_nan;
    Outputs out = run_case(c, in);
    for (std::int64_t i = 0; i < c.q_tokens; ++i)
      for (std::int64_t h = 0; h < c.q_heads; ++h) {
        EXPECT_EQ(bits(out.lse.view.at(0, 0, h, i)) == kNanBits, i >= poisoned) << i;
        for (std::int64_t e = 0; e < c.v_head_dim; ++e)
          EXPECT_EQ(bits(out.o.view.at(0, i, h, e)) == kNanBits, i >= poisoned) << i;
      }

    in = CaseInputs(c);
    in.v.view.at(0, poisoned, 0, 18) = other_nan;
    out = run_case(c, in);
    for (std::int64_t i = 0; i < c.q_tokens; ++i)
      for (std::int64_t h = 0; h < c.q_heads; ++h) {
        EXPECT_NE(bits(out.lse.view.at(0, 0, h, i)), kNanBits) << i;
        for (std::int64_t e = 0; e < c.v_head_dim; ++e)
          EXPECT_EQ(bits(out.o.view.at(0, i, h, e)) == kNanBits, i >= poisoned && e == 18) << i;
      }
  }
}

// A live weight that underflows to 0 still meets its value: 0 times infinity is NaN. The same key
// hidden is nothing.
TEST(Hermetic, ZeroWeightOfALiveInfiniteValueIsNan) {
  AttentionCase c;
  c.q_tokens = 2;
  c.kv_tokens = 2;
  c.head_dim = 1;
  c.mask = &mask_named("causal");
  CaseInputs in(c);
  for (const int i : {0, 1}) in.q.view.at(0, i, 0, 0) = 1.0f;
  in.k.view.at(0, 0, 0, 0) = 1000.0f;
  in.k.view.at(0, 1, 0, 0) = -1000.0f;
  in.v.view.at(0, 0, 0, 0) = 3.0f;
  in.v.view.at(0, 1, 0, 0) = kInfinity;
  const Outputs out = run_case(c, in);
  EXPECT_FLOAT_EQ(out.o.view.at(0, 0, 0, 0), 3.0f);
  EXPECT_EQ(bits(out.o.view.at(0, 1, 0, 0)), kNanBits);
}

}  // namespace
}  // namespace rapt::test
