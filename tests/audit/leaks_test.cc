// Planted leaks: each is accused at its first place, and the same attention without it is not.
#include <algorithm>

#include "loop_attention.h"

namespace rapt::test {
namespace {

struct Extents {
  std::int64_t batch = 1, q_tokens = 20, kv_tokens = 20, q_heads = 2, kv_heads = 2, v_head_dim = 3;
  float q_deviation = 1;
};

AuditReport audit(const VisiblePredicate& truth, const LoopAttention& attention,
                  const Extents& x = {}, AuditOptions options = {}) {
  const Tensor q = normal({x.batch, x.q_tokens, x.q_heads, 5}, 1, x.q_deviation);
  const Tensor k = normal({x.batch, x.kv_tokens, x.kv_heads, 5}, 2);
  const Tensor v = normal({x.batch, x.kv_tokens, x.kv_heads, x.v_head_dim}, 3);
  options.sinks = attention.sinks;
  Inputs in;
  in.q = q.view;
  in.k = k.view;
  in.v = v.view;
  return audit_attention(truth, in, attention, options);
}

std::optional<AuditFinding> of(const AuditReport& report, AuditCheck check) {
  for (const AuditFinding& finding : report.findings)
    if (finding.check == check) return finding;
  return {};
}

std::string text(const AuditReport& report) {
  std::string all;
  for (const AuditFinding& f : report.findings)
    all += std::string(name(f.check)) + " [" + std::to_string(f.sequence) + ", " +
           std::to_string(f.head) + ", " + std::to_string(f.query) + ", " + std::to_string(f.key) +
           "]\n";
  return all;
}

struct Place {
  std::int64_t sequence, head, query, key;
};

/// The check has failed, and there is its first place.
testing::AssertionResult accused(const AuditReport& report, AuditCheck check, const Place& place) {
  const auto found = of(report, check);
  if (found && found->sequence == place.sequence && found->head == place.head &&
      found->query == place.query && found->key == place.key)
    return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << "expected " << name(check) << " [" << place.sequence << ", " << place.head << ", "
         << place.query << ", " << place.key << "], got\n"
         << text(report);
}

testing::AssertionResult first_at(const AuditReport& report, const Place& place) {
  if (const auto first = report.first()) return accused(report, first->check, place);
  return testing::AssertionFailure() << "nothing was found";
}

/// The correct loop, its sums in another order, and rounded to bf16, are not accused.
void expect_clean(const VisiblePredicate& truth, LoopAttention attention, const Extents& x = {}) {
  attention.fault = Fault::kNone;
  attention.sees = truth;
  for (const bool backward : {false, true})
    for (const bool bf16 : {false, true}) {
      attention.backward = backward;
      attention.bf16 = bf16;
      const AuditReport report = audit(truth, attention, x);
      EXPECT_TRUE(report.passed()) << backward << bf16 << "\n" << text(report);
      EXPECT_FALSE(report.first());
      for (const AuditRow& row : report.rows) {
        EXPECT_EQ(row.found_keys, row.expected_keys);
        EXPECT_EQ(row.hidden_mass, 0);
      }
    }
}

bool causal(std::int64_t, std::int64_t, std::int64_t i, std::int64_t j) { return j <= i; }

VisiblePredicate window(std::int64_t tokens) {
  return [tokens](auto, auto, auto i, auto j) { return j <= i && i - j < tokens; };
}

TEST(AuditLeaks, WindowOffByOne) {
  const AuditReport wide = audit(window(5), {window(6)});
  EXPECT_TRUE(first_at(wide, {0, 0, 5, 0})) << text(wide);
  EXPECT_TRUE(accused(wide, AuditCheck::kHiddenMass, {0, 0, 5, 0}));
  for (const auto check : {AuditCheck::kPoisonRandom, AuditCheck::kPoisonHuge,
                           AuditCheck::kPoisonInfinity, AuditCheck::kPoisonNan})
    EXPECT_TRUE(accused(wide, check, {0, 0, 5, 0}));
  EXPECT_FALSE(of(wide, AuditCheck::kRowSum) || of(wide, AuditCheck::kMissingKey));
  EXPECT_EQ(wide.rows[4].found_keys, 5);
  EXPECT_EQ(wide.rows[5].expected_keys, 5);
  EXPECT_EQ(wide.rows[5].found_keys, 6);
  EXPECT_GT(wide.rows[5].hidden_mass, 0);

  const AuditReport narrow = audit(window(5), {window(4)});
  ASSERT_EQ(narrow.findings.size(), 1u) << text(narrow);
  EXPECT_TRUE(accused(narrow, AuditCheck::kMissingKey, {0, 0, 4, 0}));
  EXPECT_EQ(narrow.findings[0].expected, 5);
  EXPECT_EQ(narrow.findings[0].found, 4);
  expect_clean(window(5), {});
}

TEST(AuditLeaks, TopLeftForBottomRight) {
  const auto bottom_right = [](std::int64_t offset) -> VisiblePredicate {
    return [offset](auto, auto, auto i, auto j) { return j <= i + offset; };
  };
  const Extents chunk{.q_tokens = 6, .kv_tokens = 10};
  const AuditReport few = audit(bottom_right(4), {causal}, chunk);
  EXPECT_TRUE(first_at(few, {0, 0, 0, 1})) << text(few);
  EXPECT_TRUE(accused(few, AuditCheck::kMissingKey, {0, 0, 0, 1}));
  expect_clean(bottom_right(4), {}, chunk);

  const Extents more_queries{.q_tokens = 10, .kv_tokens = 6};
  const AuditReport many = audit(bottom_right(-4), {causal}, more_queries);
  EXPECT_TRUE(first_at(many, {0, 0, 0, 0})) << text(many);
  EXPECT_TRUE(accused(many, AuditCheck::kHiddenMass, {0, 0, 0, 0}));
  EXPECT_TRUE(accused(many, AuditCheck::kEmptyRow, {0, 0, 0, -1}));
  expect_clean(bottom_right(-4), {}, more_queries);
}

TEST(AuditLeaks, PaddingSeen) {
  const VisiblePredicate left_padded = [](auto b, auto, auto i, auto j) {
    const std::int64_t padding = 3 * b;
    return i >= padding && j >= padding && j <= i;
  };
  const VisiblePredicate queries_only = [](auto b, auto, auto i, auto j) {
    return i >= 3 * b && j <= i;
  };
  const Extents x{.batch = 2};
  const AuditReport report = audit(left_padded, {queries_only}, x);
  EXPECT_TRUE(first_at(report, {1, 0, 3, 0})) << text(report);
  EXPECT_TRUE(accused(report, AuditCheck::kHiddenMass, {1, 0, 3, 0}));
  EXPECT_TRUE(accused(report, AuditCheck::kPoisonNan, {1, 0, 3, 0}));
  expect_clean(left_padded, {}, x);
}

TEST(AuditLeaks, SoftmaxBeforeMask) {
  const AuditReport report = audit(causal, {causal, Fault::kSoftmaxBeforeMask});
  EXPECT_TRUE(first_at(report, {0, 0, 0, 1})) << text(report);
  EXPECT_TRUE(accused(report, AuditCheck::kRowSum, {0, 0, 0, -1}));
  EXPECT_TRUE(accused(report, AuditCheck::kPoisonRandom, {0, 0, 0, 1}));
  EXPECT_FALSE(of(report, AuditCheck::kHiddenMass));  // the hidden weights themselves are 0
  expect_clean(causal, {});
}

TEST(AuditLeaks, SoftcapAfterMask) {
  const LoopAttention capped{causal, Fault::kSoftcapAfterMask, 20.0f};
  const AuditReport report = audit(causal, capped);
  EXPECT_TRUE(first_at(report, {0, 0, 0, 1})) << text(report);
  EXPECT_TRUE(accused(report, AuditCheck::kHiddenMass, {0, 0, 0, 1}));
  EXPECT_FALSE(of(report, AuditCheck::kRowSum));  // they are in the sum
  expect_clean(causal, capped);
}

TEST(AuditLeaks, CrossDocument) {
  const auto documents = [](std::int64_t early) -> VisiblePredicate {
    return [early](auto, auto, auto i, auto j) {
      const std::int64_t begin = i < 7 ? 0 : 7;
      return j <= i && j >= begin - early;
    };
  };
  const AuditReport report = audit(documents(0), {documents(1)});
  EXPECT_TRUE(first_at(report, {0, 0, 7, 6})) << text(report);
  EXPECT_TRUE(accused(report, AuditCheck::kHiddenMass, {0, 0, 7, 6}));
  expect_clean(documents(0), {});
}

TEST(AuditLeaks, SinkCountedAsAKey) {
  LoopAttention sunk{causal, Fault::kSinkIsKeyZero};
  sunk.sinks = {-std::numeric_limits<float>::infinity(), 1.0f};  // the first head has none
  const AuditReport visible = audit(causal, sunk);
  EXPECT_TRUE(first_at(visible, {0, 1, 0, -1})) << text(visible);
  EXPECT_TRUE(accused(visible, AuditCheck::kRowSum, {0, 1, 0, -1}));
  expect_clean(causal, sunk);

  sunk.sees = window(5);
  const AuditReport hidden = audit(window(5), sunk);
  EXPECT_TRUE(accused(hidden, AuditCheck::kHiddenMass, {0, 1, 5, 0})) << text(hidden);
  EXPECT_TRUE(accused(hidden, AuditCheck::kRowSum, {0, 1, 0, -1}));
  expect_clean(window(5), sunk);
}

TEST(AuditLeaks, ZeroTimesAHiddenNan) {
  const AuditReport report = audit(causal, {causal, Fault::kZeroTimesHidden});
  EXPECT_TRUE(accused(report, AuditCheck::kPoisonNan, {0, 0, 0, 1}));
  EXPECT_TRUE(accused(report, AuditCheck::kPoisonInfinity, {0, 0, 0, 1}));
  EXPECT_EQ(report.findings.size(), 2u) << text(report);  // finite ones are hidden
}

TEST(AuditLeaks, EmptyRowsThatAreNot) {
  const VisiblePredicate some = [](auto, auto, auto i, auto j) { return i % 4 != 2 && j <= i; };
  const AuditReport report = audit(some, {some, Fault::kMaskedRowIsUniform});
  EXPECT_TRUE(accused(report, AuditCheck::kHiddenMass, {0, 0, 2, 0}));
  EXPECT_TRUE(accused(report, AuditCheck::kEmptyRow, {0, 0, 2, -1})) << text(report);
  const AuditReport of_lse = audit(some, {some, Fault::kEmptyLseIsZero});
  ASSERT_EQ(of_lse.findings.size(), 1u) << text(of_lse);
  EXPECT_TRUE(accused(of_lse, AuditCheck::kEmptyRow, {0, 0, 2, -1}));
  expect_clean(some, {});
}

TEST(AuditLeaks, OneHeadOfAGroup) {
  const VisiblePredicate leaks = [](auto, auto h, auto i, auto j) {
    return j <= i || (h == 3 && i == 9 && j == 12);
  };
  const Extents x{.q_heads = 4};
  const AuditReport report = audit(causal, {leaks}, x);
  EXPECT_TRUE(accused(report, AuditCheck::kHiddenMass, {0, 3, 9, 12}));
  EXPECT_TRUE(accused(report, AuditCheck::kPoisonRandom, {0, 3, 9, 12})) << text(report);

  // Heads of a group with masks of their own: what one hides the other may see.
  const VisiblePredicate of_heads = [](auto, auto h, auto i, auto j) {
    return j <= i && i - j < 3 + h;
  };
  for (const std::int64_t wide : {2, 3}) {
    const VisiblePredicate one_wider = [&](auto b, auto h, auto i, auto j) {
      return of_heads(b, h == wide ? h + 1 : h, i, j);
    };
    const AuditReport of_group = audit(of_heads, {one_wider}, x);
    const Place place{0, wide, 3 + wide, 0};
    EXPECT_TRUE(accused(of_group, AuditCheck::kHiddenMass, place));
    EXPECT_TRUE(accused(of_group, AuditCheck::kPoisonRandom, place)) << text(of_group);
  }
  expect_clean(of_heads, {}, x);
}

TEST(AuditLeaks, HeadsAndSequencesThatMix) {
  const Extents x{.batch = 2, .q_heads = 4};
  const AuditReport heads = audit(causal, {causal, Fault::kHeadsInterleaved}, x);
  EXPECT_TRUE(first_at(heads, {0, 1, 0, 0})) << text(heads);
  EXPECT_EQ(heads.first()->kv_head, 1);
  EXPECT_EQ(heads.first()->key_sequence, 0);

  const AuditReport sequences = audit(causal, {causal, Fault::kFirstSequenceOnly}, x);
  EXPECT_TRUE(accused(sequences, AuditCheck::kPoisonNan, {1, 0, 0, 0})) << text(sequences);
  EXPECT_EQ(of(sequences, AuditCheck::kPoisonNan)->key_sequence, 0);
  EXPECT_EQ(of(sequences, AuditCheck::kPoisonNan)->kv_head, 0);
  expect_clean(causal, {}, x);
}

TEST(AuditLeaks, ResultsThatDoNotRepeat) {
  const AuditReport report = audit(causal, {causal, Fault::kNoise});
  EXPECT_TRUE(accused(report, AuditCheck::kRepeat, {0, 0, 0, -1}));
  EXPECT_FALSE(of(report, AuditCheck::kPoisonRandom));
}

// With ALiBi far keys weigh nothing in f32. They are visible all the same, until they are not.
TEST(AuditLeaks, FarKeysAreNoMissingOnes) {
  LoopAttention alibi{causal};
  alibi.alibi_slope = 8;
  const Extents x{.q_tokens = 40, .kv_tokens = 40};
  expect_clean(causal, alibi, x);
  alibi.sees = window(30);
  const AuditReport report = audit(causal, alibi, x);
  EXPECT_TRUE(accused(report, AuditCheck::kMissingKey, {0, 0, 30, 0}));
  EXPECT_EQ(report.findings.size(), 1u) << text(report);
}

// Where one key takes all, a leak weighs nothing. With q = 0 it does.
TEST(AuditLeaks, ALeakWithoutWeight) {
  const VisiblePredicate leaks = [](auto, auto, auto i, auto j) {
    return j <= i || (i == 5 && j == 7);
  };
  const AuditReport report = audit(causal, {leaks}, {.q_deviation = 1e4f});
  EXPECT_TRUE(first_at(report, {0, 0, 5, 7})) << text(report);
  EXPECT_TRUE(accused(report, AuditCheck::kHiddenMass, {0, 0, 5, 7}));
  EXPECT_EQ(report.rows[5].hidden_mass, 0);
  EXPECT_EQ(report.rows[5].found_keys, 7);
}

TEST(AuditLeaks, RowsAreSampledAtEdges) {
  const VisiblePredicate leaks = [](auto, auto, auto i, auto j) {
    return j <= i || (i == 512 && j == 599);
  };
  const Extents x{.q_tokens = 600, .kv_tokens = 600, .q_heads = 1, .kv_heads = 1, .v_head_dim = 24};
  AuditOptions options;
  options.queries = 12;
  const AuditReport report = audit(causal, {leaks}, x, options);
  EXPECT_EQ(report.queries.size(), 12u);
  EXPECT_TRUE(std::is_sorted(report.queries.begin(), report.queries.end()));
  for (const std::int64_t i : {0, 1, 48, 511, 512, 513, 598, 599})
    EXPECT_TRUE(std::binary_search(report.queries.begin(), report.queries.end(), i)) << i;
  EXPECT_TRUE(first_at(report, {0, 0, 512, 599})) << text(report);
  EXPECT_TRUE(accused(report, AuditCheck::kPoisonRandom, {0, 0, 512, 599}));
}

TEST(AuditLeaks, WithoutLse) {
  LoopAttention silent{causal};
  silent.has_lse = false;
  EXPECT_TRUE(audit(causal, silent).passed());
  silent.sinks = {0, 0};
  EXPECT_EQ(error_of([&] { audit(causal, silent); }),
            "audit_attention sinks: expected attention that writes lse, got NaN");
}

TEST(AuditLeaks, BadInput) {
  const Tensor q = normal({1, 4, 3, 5}, 1), k = normal({1, 4, 1, 5}, 2),
               v = normal({1, 4, 1, 2}, 3);
  Inputs in;
  in.q = q.view;
  in.k = k.view;
  in.v = v.view;
  const auto message = [&](const AuditOptions& options = {}) {
    return error_of([&] { audit_attention(causal, in, LoopAttention{causal}, options); });
  };
  EXPECT_EQ(message(), "no error");
  EXPECT_EQ(message({.queries = 0}), "audit_attention queries: expected a positive number, got 0");
  EXPECT_EQ(message({.sinks = {1.0f}}), "audit_attention sinks: expected none or 3, got 1");
  q.view.at(0, 3, 2, 1) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(message(), "audit_attention q: expected finite numbers, got infinity or NaN");
  in.v = q.view;
  EXPECT_EQ(message(), "audit_attention v: expected [1, 4, 1, 5], got [1, 4, 3, 5]");
  in.q.extents[3] = 4;
  EXPECT_EQ(message(), "audit_attention k: expected [1, 4, 1, 4], got [1, 4, 1, 5]");
}

}  // namespace
}  // namespace rapt::test
