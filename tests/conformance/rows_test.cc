// The attention matrix on request: rows sum to one over the visible keys, hidden keys weigh exactly
// +0, A v is the output, and lse agrees. Bounds are of standard rounding analysis, u = 2^-24.

#include <gtest/gtest.h>

#include <cmath>

#include "cases.h"
#include "oracle.h"

namespace rapt::test {
namespace {

constexpr double kU = 0x1p-24;

/// Roundings between p and l: 32 additions of a lane in a chunk, 4 of the lanes' tree, one a merge.
double sum_roundings(std::int64_t keys) { return 32 + 4 + std::ceil(std::log2(keys / 512.0 + 1)); }

void check(const AttentionCase& c) {
  SCOPED_TRACE(c.name());
  const Problem p = c.problem();
  const CaseInputs in(c);
  const auto rows = sample_rows(c.q_tokens, 9);
  const auto count = static_cast<std::int64_t>(rows.size());
  const Inputs given = in.inputs();
  const ReferenceInputs tensors{given.q, given.k, given.v, given.bias};
  const auto exact = reference_attention<double>(p, c.mask->reference, tensors, rows);
  const auto loop = reference_attention<float>(p, c.mask->reference, tensors, rows);
  double e = 0;
  for (std::size_t n = 0; n < exact.a.size(); ++n)
    e = std::max(e, std::abs(loop.a[n] - exact.a[n]));

  const Outputs out = run_case(c, in);
  const Plan plan = make_plan(p, Threads(c.threads));
  Scratch scratch;
  Tensor a({p.batch, p.q_heads, count, p.kv_tokens});
  fill(a.view, -1.0f);
  attention_rows(plan, in.inputs(), scratch, rows, a.view);
  for (const Isa isa : supported_isas()) {
    const ForcedIsa forced(isa);
    Tensor same(a.view.extents);
    attention_rows(make_plan(p, Threads(1)), in.inputs(), scratch, rows, same.view);
    EXPECT_TRUE(same_bits(same.view, a.view)) << name(isa);
  }

  const double sum_bound = (sum_roundings(p.kv_tokens) + 1) * kU + p.kv_tokens * 0x1p-125;
  std::size_t n = 0;
  for_each_index({p.batch, p.q_heads, count, 1}, [&](auto b, auto h, auto r, auto) {
    double sum = 0;
    std::int64_t visible = 0;
    std::vector<double> o(p.value_dim(), 0.0), magnitude(p.value_dim(), 0.0);
    for (std::int64_t j = 0; j < p.kv_tokens; ++j) {
      const float weight = a.view.at(b, h, r, j);
      EXPECT_LE(std::abs(weight - exact.a[n * p.kv_tokens + j]), 2 * e + 0x1p-23);
      if (!reference_visible(p, c.mask->reference, b, h, rows[r], j)) {
        EXPECT_EQ(bits(weight), 0u) << "hidden key " << j;
        continue;
      }
      ++visible;
      sum += weight;
      for (std::int64_t f = 0; f < p.value_dim(); ++f) {
        const double term = weight * static_cast<double>(in.v.view.at(b, j, h / p.group(), f));
        o[f] += term;
        magnitude[f] += std::abs(term);
      }
    }
    EXPECT_LE(std::abs(sum - (visible > 0 ? 1 : 0)), sum_bound);
    for (std::int64_t f = 0; f < p.value_dim(); ++f)
      EXPECT_LE(std::abs(o[f] - out.o.view.at(b, rows[r], h, f)),
                (512 + sum_roundings(p.kv_tokens)) * kU * magnitude[f] + 0x1p-120);
    ++n;
  });
}

TEST(AttentionRows, SumToOneAndGiveTheOutput) {
  for (const NamedMask& mask : masks())
    for (const auto padding : {Padding::kNone, Padding::kLeft, Padding::kMixed})
      for (const auto values : {Values::kNormal, Values::kPeaked}) {
        AttentionCase c;
        c.batch = 3;
        c.q_tokens = 70;
        c.kv_tokens = 1100;
        c.q_heads = 4;
        c.kv_heads = 2;
        c.head_dim = 16;
        c.v_head_dim = 7;
        c.mask = &mask;
        c.padding = padding;
        c.values = values;
        check(c);
      }
}

TEST(AttentionRows, KeepTheirOrderAndMayRepeat) {
  AttentionCase c;
  c.q_tokens = c.kv_tokens = 40;
  c.head_dim = 8;
  c.mask = &mask_named("causal");
  const CaseInputs in(c);
  const Plan plan = make_plan(c.problem(), Threads(1));
  Scratch scratch;
  Tensor some({1, 1, 3, 40}), all({1, 1, 40, 40});
  std::vector<std::int64_t> every(40);
  for (int i = 0; i < 40; ++i) every[i] = i;
  attention_rows(plan, in.inputs(), scratch, every, all.view);
  attention_rows(plan, in.inputs(), scratch, {31, 2, 31}, some.view);
  const std::int64_t expected[] = {31, 2, 31};
  for (int r = 0; r < 3; ++r)
    for (int j = 0; j < 40; ++j)
      EXPECT_EQ(bits(some.view.at(0, 0, r, j)), bits(all.view.at(0, 0, expected[r], j)));
}

TEST(AttentionRows, OfACacheAreThoseOfTensors) {
  AttentionCase c;
  c.q_tokens = 3;
  c.kv_tokens = 1100;
  c.q_heads = 2;
  c.head_dim = 8;
  c.mask = &mask_named("causal");
  const CaseInputs in(c);
  DenseKvCache cache({1, 1, 8, 8, 1200});
  cache.append(in.k.view, in.v.view);
  Scratch scratch;
  Tensor a({1, 2, 3, 1100}), b({1, 2, 3, 1100});
  attention_rows(make_plan(c.problem(), Threads(1)), in.inputs(), scratch, {0, 1, 2}, a.view);
  attention_rows(make_plan(c.problem(), Threads(1), KvSource::kCache),
                 {.q = in.q.view, .k = {}, .v = {}, .cache = &cache}, scratch, {0, 1, 2}, b.view);
  EXPECT_TRUE(same_bits(a.view, b.view));
}

}  // namespace
}  // namespace rapt::test
