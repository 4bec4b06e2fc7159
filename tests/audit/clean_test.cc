// rapt's own attention is not accused, whatever the mask, the padding and the modifiers.
#include <cmath>

#include "cases.h"
#include "rapt/audit.h"

namespace rapt::test {
namespace {

AttentionCase small_case(const NamedMask& mask) {
  AttentionCase c;
  c.batch = 3;
  c.q_tokens = 24;
  c.kv_tokens = 90;
  c.q_heads = 2;
  c.head_dim = 4;
  c.v_head_dim = 18;
  c.mask = &mask;
  return c;
}

/// What the reference's own description of the mask shows, and the bias does not hide.
VisiblePredicate truth_of(const AttentionCase& c, const Problem& problem, const CaseInputs& in) {
  const bool biased = problem.modifiers.additive_bias;
  return [&, biased](auto b, auto h, auto i, auto j) {
    const ConstTensor& bias = in.bias.view;
    const auto at = [&](int axis, std::int64_t n) { return bias.extents[axis] == 1 ? 0 : n; };
    return reference_visible(problem, c.mask->reference, b, h, i, j) &&
           !(biased && std::isinf(bias.at(at(0, b), at(1, h), at(2, i), at(3, j))));
  };
}

void expect_clean(const AttentionCase& c, std::int64_t queries) {
  SCOPED_TRACE(c.name());
  const Problem problem = c.problem();
  const CaseInputs in(c);
  AuditOptions options;
  options.sinks = problem.modifiers.sinks;
  if (c.storage == Storage{}) options.row_sum_tolerance = 1e-5;
  options.queries = queries;
  const Plan plan = make_plan(problem, Threads(c.threads), c.source);
  const AuditReport report = audit_attention(truth_of(c, problem, in), in.inputs(),
                                             attention_of(plan, in.bias.view), options);
  for (const AuditFinding& f : report.findings)
    ADD_FAILURE() << name(f.check) << " [" << f.sequence << ", " << f.head << ", " << f.query
                  << ", " << f.key << "]: " << f.expected << ", " << f.found;
  for (const AuditRow& row : report.rows) ASSERT_EQ(row.found_keys, row.expected_keys);
}

TEST(AuditClean, EveryMaskPaddingAndModifier) {
  for (const NamedMask& mask : masks())
    for (const auto padding : {Padding::kNone, Padding::kLeft, Padding::kRight, Padding::kMixed})
      for (int modifiers = 0; modifiers < kModifierSets; ++modifiers) {
        AttentionCase c = small_case(mask);
        c.padding = padding;
        c.modifiers = static_cast<Modifiers>(modifiers);
        if (modifiers % 3 == 1) c.positions = Positions::kGiven;
        expect_clean(c, 12);
      }
}

// Over two chunks, grouped heads, through a cache of every type.
TEST(AuditClean, EveryMaskOverChunks) {
  int n = 0;
  for (const NamedMask& mask : masks()) {
    AttentionCase c = small_case(mask);
    c.batch = 1;
    c.q_tokens = c.kv_tokens = 540;
    c.q_heads = 4;
    c.kv_heads = 2;
    c.v_head_dim = 128;
    c.source = KvSource::kCache;
    c.storage = Storage::all(kAllDTypes[n++ % 3]);
    expect_clean(c, 5);
  }
}

}  // namespace
}  // namespace rapt::test
