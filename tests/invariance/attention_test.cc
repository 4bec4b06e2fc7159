// Promise 2, same bits: o, lse, m and l do not depend on how attention is run. Each test asserts
// through Plan::explain that the ways it compares really differed.

#include "kernels/attention/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/float_control.h"
#include "cases.h"
#include "invariance/canonical_order.h"
#include "invariance/grouped_case.h"
#include "oracle.h"

namespace rapt::test {
namespace {

// --- The canonical order itself
// ----------------------------------------------------------------------

constexpr int kShards = 2;
class Canonical : public testing::TestWithParam<int> {};

// The kernels against plain loops written from the document: exact equality on sampled rows.
TEST_P(Canonical, OrderIsTheDocumentsExhaustive) {
  const auto cases = pairwise_cases();
  for (std::size_t n = GetParam(); n < cases.size(); n += kShards) {
    const AttentionCase& c = cases[n];
    SCOPED_TRACE(c.name());
    const CaseInputs in(c);
    const double of_one_row = c.cost() / c.q_tokens;
    const auto rows =
        sample_rows(c.q_tokens, std::clamp<std::int64_t>((1 << 19) / of_one_row, 2, 64));
    ASSERT_TRUE(canonical_bits(c.problem(), c.mask->reference, in.inputs(), run_case(c, in), rows));
  }
}
INSTANTIATE_TEST_SUITE_P(Shards, Canonical, testing::Range(0, kShards));

TEST(Invariance, CanonicalOrderOfEveryMask) {
  for (const NamedMask& mask : masks()) {
    AttentionCase c = grouped_case(mask.name, 40, 1300);
    for (const auto values : {Values::kNormal, Values::kPeaked, Values::kLarge, Values::kTiny}) {
      c.values = values;
      SCOPED_TRACE(c.name());
      const CaseInputs in(c);
      EXPECT_TRUE(canonical_bits(c.problem(), c.mask->reference, in.inputs(), run_case(c, in),
                                 sample_rows(c.q_tokens, 12)));
    }
  }
}

// At 0.9, c rounded once differs from the product of two rounded factors.
TEST(Invariance, CanonicalOrderOfAnyScale) {
  for (const float scale : {1.0f, 0.9f, -2.0f, 1e-30f, 0.0f}) {
    const AttentionCase c = grouped_case("causal", 20, 700);
    const CaseInputs in(c);
    Problem p = c.problem();
    p.scale = scale;
    const Outputs out = run_attention(p, in.q.view, in.k.view, in.v.view);
    EXPECT_TRUE(canonical_bits(p, c.mask->reference, in.inputs(), out, sample_rows(20, 20)))
        << scale;
  }
}

/// Attention in one pass with a running maximum, as most libraries have it: another order.
Outputs running_maximum(const AttentionCase& c, const CaseInputs& in) {
  const Problem p = c.problem();
  const float factor = 1 / std::sqrt(static_cast<float>(p.head_dim));
  Outputs out(p);
  for_each_index({p.batch, p.q_tokens, p.q_heads, 1}, [&](auto b, auto i, auto h, auto) {
    float m = -std::numeric_limits<float>::infinity(), l = 0;
    std::vector<float> acc(p.value_dim(), 0.0f);
    for (std::int64_t j = 0; j < p.kv_tokens; ++j) {
      if (!reference_visible(p, c.mask->reference, b, h, i, j)) continue;
      float s = 0;
      for (std::int64_t e = 0; e < p.head_dim; ++e)
        s += in.q.view.at(b, i, h, e) * in.k.view.at(b, j, h / p.group(), e);
      const float larger = std::max(m, s * factor);
      const float w = std::exp(m - larger), weight = std::exp(s * factor - larger);
      m = larger;
      l = l * w + weight;
      for (std::int64_t e = 0; e < p.value_dim(); ++e)
        acc[e] = acc[e] * w + weight * in.v.view.at(b, j, h / p.group(), e);
    }
    out.lse.view.at(0, b, h, i) = m + std::log(l);
    for (std::int64_t e = 0; e < p.value_dim(); ++e) out.o.view.at(b, i, h, e) = acc[e] / l;
  });
  return out;
}

// What these tests are worth: they tell an order from another.
TEST(Invariance, RunningMaximumIsAnotherOrder) {
  const AttentionCase c = grouped_case("causal", 8, 700);
  const CaseInputs in(c);
  const Outputs canonical = run_case(c, in), other = running_maximum(c, in);
  const Oracle oracle(c.problem(), c.mask->reference, in.inputs(), sample_rows(8, 8));
  EXPECT_TRUE(within_bound(oracle, other.o.view, other.lse.view));
  EXPECT_FALSE(same_bits(other.o.view, canonical.o.view));
  Outputs mixed = run_case(c, in);
  copy(other.o.view, mixed.o.view);
  EXPECT_TRUE(canonical_bits(c.problem(), c.mask->reference, in.inputs(), canonical, {7}));
  EXPECT_FALSE(canonical_bits(c.problem(), c.mask->reference, in.inputs(), mixed, {7}));
}

// --- Storage types
// ----------------------------------------------------------------------------------------------------

/// What a run in f32 gives of the same numbers, o rounded once.
Outputs widened_run(AttentionCase c, const CaseInputs& in) {
  const Inputs inputs = in.inputs();
  const DType o = c.storage.o;
  c.storage = {};
  Outputs out = run_from(c.source, c.problem(), inputs, c.threads, c.layout);
  round_to(out.o.view, o);
  return out;
}

// q, k, v and o of any types, of tensors and caches, for every mask, modifier, layout and length of
// the case list.
TEST(Invariance, StorageTypesExhaustive) {
  for (const AttentionCase& c : pairwise_cases()) {
    if (c.storage == Storage{} || c.cost() > 1 << 25) continue;
    SCOPED_TRACE(c.name());
    const CaseInputs in(c);
    EXPECT_TRUE(same_bits(run_case(c, in), widened_run(c, in)));
    if (c.cost() > 1 << 19) continue;
    for (const Isa isa : supported_isas()) {
      const ForcedIsa forced(isa);
      EXPECT_TRUE(same_bits(run_case(c, in), widened_run(c, in))) << name(isa);
    }
  }
}

// Rows of a stream and of tiles, threads, and heads that share keys.
TEST(Invariance, StorageTypesOfCaches) {
  for (const DType dtype : kAllDTypes)
    for (const char* mask : {"none", "causal", "window600"})
      for (const std::int64_t queries : {1, 2, 3, 5, 8, 70}) {
        AttentionCase c = grouped_case(mask, queries, 1500);
        c.head_dim = 64;
        c.v_head_dim = 80;
        c.source = KvSource::kCache;
        c.storage = Storage::all(dtype);
        SCOPED_TRACE(c.name());
        const CaseInputs in(c);
        const Outputs expected = widened_run(c, in);
        for (const int threads : {1, 3}) {
          c.threads = threads;
          EXPECT_TRUE(same_bits(run_case(c, in), expected)) << threads;
        }
        c.source = KvSource::kTensors;
        EXPECT_TRUE(same_bits(run_case(c, in), expected));
        const std::string type = name(dtype);
        EXPECT_EQ(explained(c, "types"),
                  "q " + type + ", k " + type + ", v " + type + ", o " + type);
      }
}

// A prefill widens them to f32 once, whether one block of rows uses them or several.
TEST(Invariance, CachesOfHalvesAreWidenedOnce) {
  for (const auto& [queries, batch, kv, waves] :
       {std::tuple{70, 2, "cache tiles, widened once a chunk", "1"},
        {400, 1, "cache tiles, widened once a kv head", "1"},  // its first chunk is hidden
        {400, 40, "cache tiles, widened once a kv head", "2"}}) {
    AttentionCase c = grouped_case("window600", queries, 1500 / batch + 400);
    c.source = KvSource::kCache;
    c.storage = Storage::all(DType::kBF16);
    c.batch = batch;
    SCOPED_TRACE(c.name());
    EXPECT_EQ(explained(c, "kv"), kv);
    EXPECT_EQ(explained(c, "waves"), waves);
    const CaseInputs in(c);
    const Outputs expected = widened_run(c, in);
    for (const int threads : {1, 3}) {
      c.threads = threads;
      EXPECT_TRUE(same_bits(run_case(c, in), expected)) << threads;
    }
  }
}

// --- Threads, instruction sets, memory layouts, float environment
// ------------------------------------

/// Runs `c` with 1, 2, 3 and 8 threads. A decode is split over chunks, a prefill over rows.
void expect_same_for_threads(AttentionCase c, bool splits) {
  const CaseInputs in(c);
  const Outputs one = run_case(c, in);
  EXPECT_EQ(explained(c, "workers"), "1");
  EXPECT_EQ(explained(c, "split"), "none");
  for (const int threads : {2, 3, 8}) {
    c.threads = threads;
    SCOPED_TRACE(c.name());
    EXPECT_EQ(explained(c, "workers"), std::to_string(threads));
    EXPECT_EQ(explained(c, "split") != "none", splits);
    for (int repeat = 0; repeat < 3; ++repeat) EXPECT_TRUE(same_bits(run_case(c, in), one));
  }
}

TEST(Invariance, Threads) {
  for (const char* mask : {"none", "causal", "window600"})
    expect_same_for_threads(grouped_case(mask, 600, 1500), false);
  for (const auto source : {KvSource::kTensors, KvSource::kCache})
    for (const auto& [queries, keys] : {std::pair{1, 70000}, {5, 20000}}) {
      AttentionCase c = grouped_case("causal", queries, keys);
      c.source = source;
      expect_same_for_threads(c, true);
    }
}

// Heads whose packed keys do not fit together are packed one wave after the other.
TEST(Invariance, Waves) {
  AttentionCase c = grouped_case("window_and_global", 600, 40000);
  c.q_heads = c.kv_heads = 3;
  const CaseInputs in(c);
  const Outputs alone = run_case(c, in);
  EXPECT_EQ(explained(c, "waves"), "3");
  c.threads = 8;
  EXPECT_NE(explained(c, "waves"), "3");
  EXPECT_TRUE(same_bits(run_case(c, in), alone));
  c.source = KvSource::kCache;
  c.threads = 1;
  EXPECT_EQ(explained(c, "waves"), "1");  // read in place
  EXPECT_TRUE(same_bits(run_case(c, in), alone));
}

TEST(Invariance, InstructionSetsExhaustive) {
  if (supported_isas().size() == 1)
    GTEST_SKIP() << "only " << name(supported_isas().front()) << " here";
  for (const AttentionCase& c : pairwise_cases()) {
    if (c.cost() > 1 << 22) continue;
    SCOPED_TRACE(c.name());
    const CaseInputs in(c);
    const ForcedIsa best(supported_isas().front());
    const Outputs expected = run_case(c, in);
    const auto isa_of = [](Isa isa) { return name(attention_kernels(isa).isa); };
    EXPECT_EQ(explained(c, "isa"), isa_of(supported_isas().front()));
    for (std::size_t n = 1; n < supported_isas().size(); ++n) {
      const ForcedIsa forced(supported_isas()[n]);
      EXPECT_EQ(explained(c, "isa"), isa_of(supported_isas()[n]));
      EXPECT_TRUE(same_bits(run_case(c, in), expected)) << name(supported_isas()[n]);
    }
  }
}

TEST(Invariance, Layouts) {
  for (const auto source : {KvSource::kTensors, KvSource::kCache})
    for (const auto& [queries, keys] : {std::pair{70, 600}, {1, 1100}}) {
      AttentionCase c = grouped_case("causal", queries, keys);
      c.source = source;
      const Outputs expected = run_case(c, CaseInputs(c));
      for (int n = 1; n < kLayouts; ++n) {
        c.layout = static_cast<Layout>(n);
        if (c.layout == Layout::kBroadcast) continue;  // other values
        EXPECT_TRUE(same_bits(run_case(c, CaseInputs(c)), expected)) << c.name();
      }
    }
}

// A broadcast axis, stride 0, is the same as copies.
TEST(Invariance, BroadcastAxes) {
  AttentionCase c = grouped_case("causal", 70, 600);
  c.batch = 3;
  c.layout = Layout::kBroadcast;
  const CaseInputs in(c);
  Tensor q(in.q.view.extents), k(in.k.view.extents), v(in.v.view.extents);
  copy(in.q.view, q.view);
  copy(in.k.view, k.view);
  copy(in.v.view, v.view);
  EXPECT_TRUE(same_bits(run_attention(c.problem(), q.view, k.view, v.view), run_case(c, in)));
}

// The caller may round upwards and flush denormals: the result is the same, and so is the caller's
// environment afterwards.
TEST(Invariance, FloatEnvironmentOfTheCaller) {
  AttentionCase c = grouped_case("causal", 70, 600);
  c.values = Values::kTiny;
  const CaseInputs in(c);
  const Inputs inputs = in.inputs();
  const Problem problem = c.problem();
  const Outputs expected = run_attention(make_plan(problem, Threads(1)), inputs);
  for (const int threads : {1, 3}) {
    const Plan plan = make_plan(problem, Threads(threads));
    const unsigned long before = float_control();
    const unsigned long odd = before | kRoundUp | kFlushToZero;
    set_float_control(odd);
    const Outputs out = run_attention(plan, inputs);
    const unsigned long after = float_control();
    set_float_control(before);
    EXPECT_EQ(after & ~kFloatFlags, odd & ~kFloatFlags);
    EXPECT_TRUE(same_bits(out, expected));
  }
}

// --- Batches, padding, groups
// -------------------------------------------------------------------------

// Sequences of different lengths: each has the bits it has alone.
TEST(Invariance, OneSequenceAgainstABatch) {
  for (const NamedMask& mask : masks())
    for (const auto padding : {Padding::kNone, Padding::kLeft, Padding::kRight, Padding::kMixed}) {
      if (mask.of_tokens) continue;  // alone it is another mask
      AttentionCase c = grouped_case(mask.name, 90, 1100);
      c.batch = 3;
      c.modifiers = mask.name == std::string("causal") ? Modifiers::kAlibi : Modifiers::kNone;
      c.padding = padding;
      c.threads = 3;
      SCOPED_TRACE(c.name());
      const CaseInputs in(c);
      const Outputs batch = run_case(c, in);
      const Problem whole = c.problem();
      for (std::int64_t b = 0; b < c.batch; ++b) {
        const Range queries = whole.q_range(b), keys = whole.kv_range(b);
        Problem alone = whole;
        alone.batch = 1;
        alone.q_tokens = queries.size();
        alone.kv_tokens = keys.size();
        alone.q_ranges.clear();
        alone.kv_ranges.clear();
        const auto part = [&](const Tensor& t, Range r) {
          return tokens(sequence(ConstTensor(t.view), b), r.begin, r.size());
        };
        const Outputs one =
            run_attention(alone, part(in.q, queries), part(in.k, keys), part(in.v, keys));
        EXPECT_TRUE(same_bits(part(batch.o, queries), one.o.view)) << "sequence " << b;
        for (std::int64_t h = 0; h < c.q_heads; ++h)
          for (std::int64_t i = 0; i < queries.size(); ++i) {
            const std::int64_t row = queries.begin + i;
            ASSERT_EQ(bits(batch.lse.view.at(0, b, h, row)), bits(one.lse.view.at(0, 0, h, i)));
            ASSERT_EQ(bits(batch.m.view.at(0, b, h, row)), bits(one.m.view.at(0, 0, h, i)));
            ASSERT_EQ(bits(batch.l.view.at(0, b, h, row)), bits(one.l.view.at(0, 0, h, i)));
          }
      }
    }
}

// Any amount of padding, left or right, moves tokens in memory and no bit of a result.
TEST(Invariance, AmountOfPadding) {
  const std::int64_t length = 600;
  const AttentionCase c = grouped_case("causal", length, length);
  const CaseInputs in(c);
  const Outputs expected = run_case(c, in);
  for (const std::int64_t left : {0, 1, 5, 16, 100, 512})
    for (const std::int64_t right : {0, 3, 40}) {
      const std::int64_t total = left + length + right;
      Problem p = c.problem();
      p.q_tokens = p.kv_tokens = total;
      p.q_ranges = p.kv_ranges = {{left, left + length}};
      Tensor q({1, total, c.q_heads, c.head_dim}), k({1, total, c.kv_heads, c.head_dim}),
          v({1, total, c.kv_heads, c.v_head_dim});
      copy(in.q.view, tokens(q.view, left, length));
      copy(in.k.view, tokens(k.view, left, length));
      copy(in.v.view, tokens(v.view, left, length));
      const Outputs out = run_attention(p, q.view, k.view, v.view, 2);
      EXPECT_TRUE(same_bits(tokens(out.o.view, left, length), expected.o.view))
          << left << ", " << right;
    }
}

// Grouped heads share keys: the same as a head of keys for each query head.
TEST(Invariance, GroupedHeadsAgainstRepeatedKeys) {
  for (const std::int64_t group : {2, 7, 8, 71})
    for (const std::int64_t queries : {1, 3, 60}) {
      AttentionCase c = grouped_case("causal", queries, 700);
      c.kv_heads = group == 71 ? 1 : 2;
      c.q_heads = group * c.kv_heads;
      SCOPED_TRACE(c.name());
      const CaseInputs in(c);
      AttentionCase full = c;
      full.kv_heads = c.q_heads;
      CaseInputs repeated(full);
      copy(in.q.view, repeated.q.view);
      for_each_index(repeated.k.view.extents, [&](auto b, auto j, auto h, auto e) {
        repeated.k.view.at(b, j, h, e) = in.k.view.at(b, j, h / group, e);
      });
      for_each_index(repeated.v.view.extents, [&](auto b, auto j, auto h, auto e) {
        repeated.v.view.at(b, j, h, e) = in.v.view.at(b, j, h / group, e);
      });
      EXPECT_TRUE(same_bits(run_case(full, repeated), run_case(c, in)));
    }
}

// A row's neighbours: any subset of the queries, through a strided view or alone.
TEST(Invariance, QueriesAlone) {
  const AttentionCase c = grouped_case("none", 67, 900);
  const CaseInputs in(c);
  const Outputs all = run_case(c, in);
  for (const std::int64_t count : {1, 2, 5, 16, 49})
    for (const std::int64_t first : {0, 3, 18}) {
      Problem p = c.problem();
      p.q_tokens = count;
      const Outputs some =
          run_attention(p, tokens(ConstTensor(in.q.view), first, count), in.k.view, in.v.view);
      EXPECT_TRUE(same_bits(some.o.view, tokens(all.o.view, first, count)))
          << first << ", " << count;
    }
}

}  // namespace
}  // namespace rapt::test
