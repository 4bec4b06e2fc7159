// Native bf16: its order in exact bits, however it is run; what is hidden; its error.

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "cases.h"
#include "invariance/canonical_order.h"
#include "invariance/grouped_case.h"
#include "oracle.h"

namespace rapt::test {
namespace {

AttentionCase native_case(const std::string& mask, std::int64_t queries, std::int64_t keys) {
  AttentionCase c = in_native(grouped_case(mask, queries, keys));
  c.head_dim = 23;  // half of the last pair is missing
  return c;
}

/// q, k and v in bf16.
struct Halves {
  Stored q, k, v;

  explicit Halves(const Inputs& in)
      : q(in.q, DType::kBF16), k(in.k, DType::kBF16), v(in.v, DType::kBF16) {}
};

std::vector<std::int64_t> rows_of(const AttentionCase& c, double cost, std::int64_t least) {
  const double of_one_row = c.cost() / static_cast<double>(c.q_tokens);
  return sample_rows(c.q_tokens, std::clamp<std::int64_t>(
                                     static_cast<std::int64_t>(cost / of_one_row), least, 64));
}

// --- The order

constexpr int kShards = 2;
class NativeBf16Cases : public testing::TestWithParam<int> {};

TEST_P(NativeBf16Cases, OrderIsTheDocumentsExhaustive) {
  const auto cases = pairwise_cases();
  for (std::size_t n = GetParam(); n < cases.size(); n += kShards) {
    const AttentionCase c = in_native(cases[n]);
    if (c.cost() > 1 << 28) continue;
    SCOPED_TRACE(c.name());
    const CaseInputs in(c);
    ASSERT_TRUE(canonical_bits(c.problem(), c.mask->reference, in.inputs(), run_case(c, in),
                               rows_of(c, 1 << 18, 2)));
  }
}

// Every instruction set, on the cases that are small enough for scalar code.
TEST_P(NativeBf16Cases, InstructionSetsExhaustive) {
  const auto cases = pairwise_cases();
  for (std::size_t n = GetParam(); n < cases.size(); n += kShards) {
    const AttentionCase c = in_native(cases[n]);
    if (c.cost() > 1 << 21) continue;
    SCOPED_TRACE(c.name());
    const CaseInputs in(c);
    const Outputs expected = run_case(c, in);
    for (const Isa isa : supported_isas()) {
      const ForcedIsa forced(isa);
      EXPECT_EQ(explained(c, "isa"), name(isa));
      EXPECT_TRUE(same_bits(run_case(c, in), expected)) << name(isa);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shards, NativeBf16Cases, testing::Range(0, kShards));

TEST(NativeBf16, OrderOfEveryMask) {
  for (const NamedMask& mask : masks())
    for (const auto values : {Values::kNormal, Values::kPeaked, Values::kLarge, Values::kTiny})
      for (const auto source : {KvSource::kTensors, KvSource::kCache}) {
        AttentionCase c = native_case(mask.name, values == Values::kPeaked ? 3 : 40, 1301);
        c.values = values;
        c.source = source;
        SCOPED_TRACE(c.name());
        const CaseInputs in(c);
        EXPECT_TRUE(canonical_bits(c.problem(), c.mask->reference, in.inputs(), run_case(c, in),
                                   sample_rows(c.q_tokens, 6)));
      }
}

TEST(NativeBf16, OrderOfAnyScale) {
  for (const float scale : {1.0f, 0.9f, -2.0f, 1e-38f, 0.0f}) {
    const AttentionCase c = native_case("causal", 20, 700);
    const CaseInputs in(c);
    const Inputs inputs = in.inputs();
    Problem p = c.problem();
    p.scale = scale;
    EXPECT_TRUE(canonical_bits(p, c.mask->reference, inputs, run_from(c.source, p, inputs, 1),
                               sample_rows(20, 20)))
        << scale;
  }
}

// It is another order than that of f32, on the same numbers.
TEST(NativeBf16, IsAnotherOrder) {
  AttentionCase c = native_case("causal", 20, 700);
  const CaseInputs in(c);
  const Outputs native = run_case(c, in);
  EXPECT_EQ(explained(c, "arithmetic").rfind("native bf16", 0), 0u);
  c.arithmetic = Arithmetic::kF32;
  EXPECT_EQ(explained(c, "arithmetic"), "f32");
  EXPECT_FALSE(same_bits(run_case(c, in), native));
}

// --- However it is run

TEST(NativeBf16, ThreadsAndSources) {
  for (const char* mask : {"none", "causal", "window600"})
    for (const auto& [queries, keys] : {std::pair{600, 1500}, {1, 20001}, {5, 9000}}) {
      AttentionCase c = native_case(mask, queries, keys);
      const CaseInputs in(c);
      const Outputs expected = run_case(c, in);
      for (const auto source : {KvSource::kTensors, KvSource::kCache})
        for (const int threads : {1, 2, 8}) {
          c.source = source;
          c.threads = threads;
          SCOPED_TRACE(c.name());
          EXPECT_TRUE(same_bits(run_case(c, in), expected));
          if (queries == 5) {
            EXPECT_EQ(explained(c, "workers"), std::to_string(threads));
          }
        }
      EXPECT_EQ(explained(c, "path"), queries == 600 ? "prefill" : "decode");
    }
}

// A prompt in pieces of any size, from the cache, and token by token.
TEST(NativeBf16, ChunkedPrefill) {
  constexpr std::int64_t kTokens = 1100;
  for (const char* mask : {"causal", "window600", "window5"}) {
    const AttentionCase whole = native_case(mask, kTokens, kTokens);
    const CaseInputs in(whole);
    const Outputs expected = run_case(whole, in);
    const auto [q, k, v] = Halves(in.inputs());
    for (const std::int64_t size : {1, 2, 7, 16, 17, 100, 513}) {
      DenseKvCache cache(
          {1, whole.kv_heads, whole.head_dim, whole.v_head_dim, kTokens, DType::kBF16});
      for (std::int64_t begin = 0; begin < kTokens; begin += size) {
        const std::int64_t end = std::min(begin + size, kTokens);
        cache.append(tokens(k.view, begin, end - begin), tokens(v.view, begin, end - begin));
        AttentionCase piece = whole;
        piece.q_tokens = end - begin;
        piece.kv_tokens = end;
        const Plan plan = make_plan(piece.problem(), Threads(1), KvSource::kCache);
        const Outputs out = run_attention(
            plan, {.q = tokens(q.view, begin, end - begin), .k = {}, .v = {}, .cache = &cache});
        ASSERT_TRUE(same_bits(ConstTensor(out.o.view),
                              tokens(ConstTensor(expected.o.view), begin, end - begin)))
            << mask << ", pieces of " << size << ", from " << begin;
      }
    }
  }
}

// States of chunk ranges merge to the same bits, and the rows of A sum to one.
TEST(NativeBf16, StatesAndRows) {
  const AttentionCase c = native_case("causal", 40, 2600);
  const CaseInputs in(c);
  const auto [q, k, v] = Halves(in.inputs());
  const Inputs inputs{.q = q.view, .k = k.view, .v = v.view};
  const Plan plan = make_plan(c.problem(), Threads(1));
  Scratch scratch;
  const Outputs expected = run_case(c, in);
  Outputs merged(c.problem());
  finish(
      merge(run_partial(plan, inputs, scratch, {0, 3}), run_partial(plan, inputs, scratch, {3, 6})),
      merged.result());
  EXPECT_TRUE(same_bits(merged.o.view, expected.o.view));
  EXPECT_TRUE(same_bits(merged.lse.view, expected.lse.view));

  Tensor a({1, c.q_heads, 2, c.kv_tokens});
  attention_rows(plan, inputs, scratch, {0, 39}, a.view);
  for (std::int64_t h = 0; h < c.q_heads; ++h)
    for (std::int64_t n = 0; n < 2; ++n) {
      double sum = 0;
      for (std::int64_t j = 0; j < c.kv_tokens; ++j) sum += a.view.at(0, h, n, j);
      EXPECT_NEAR(sum, 1, 1e-5);
    }
}

// --- What is hidden

// One key or value is poisoned: every row has the order's bits, which never touches a hidden key, and
// rows that do not see it keep theirs. Keys of a pair hide and show in turn.
TEST(NativeBf16, HidesPoison) {
  const float poisons[] = {std::numeric_limits<float>::quiet_NaN(),
                           -std::numeric_limits<float>::infinity(), 3e38f, 1e-40f};
  std::size_t turn = 0;
  for (const Isa isa : supported_isas())
    for (const char* mask : {"causal", "window5", "strided_7", "documents"})
      for (const auto& [queries, source] :
           {std::pair{40, KvSource::kTensors}, {40, KvSource::kCache}, {7, KvSource::kCache}}) {
        const ForcedIsa forced(isa);
        AttentionCase c = in_native(grouped_case(mask, queries, 530));
        c.source = source;
        c.head_dim = 6;
        c.v_head_dim = 19;
        CaseInputs in(c);
        for (const std::int64_t j : {0, 1, 17, 496, 511, 512, 526, 528, 529}) {
          ++turn;
          for (const bool keys : {true, false}) {
            const float poison = poisons[(turn + (keys ? 1 : 0)) % std::size(poisons)];
            SCOPED_TRACE(testing::Message() << name(isa) << ", " << c.name() << ", token " << j
                                            << ", " << poison << (keys ? " in k" : " in v"));
            float& target = (keys ? in.k : in.v).view.at(0, j, 0, keys ? 3 : 17);
            const float before = target;
            target = poison;
            std::vector<std::int64_t> rows = sample_rows(queries, 4);
            rows.push_back(std::clamp<std::int64_t>(j - 530 + queries + 1, 0, queries - 1));
            ASSERT_TRUE(
                canonical_bits(c.problem(), c.mask->reference, in.inputs(), run_case(c, in), rows));
            target = before;
          }
        }
      }
}

// What a cache holds beyond its tokens is not read, of the last pair neither: by a stream and where
// it is put in pairs.
TEST(NativeBf16, UnusedCapacityIsNotRead) {
  for (const std::int64_t queries : {3, 20})
    for (const std::int64_t length : {1, 15, 33, 513}) {
      const AttentionCase c = native_case("none", queries, length);
      const CaseInputs in(c);
      const Outputs expected = run_case(c, in);
      const auto [q, k, v] = Halves(in.inputs());
      DenseKvCache cache({1, c.kv_heads, c.head_dim, c.v_head_dim, 600, DType::kBF16});
      Tensor nan_k({1, 600, c.kv_heads, c.head_dim}), nan_v({1, 600, c.kv_heads, c.v_head_dim});
      fill(nan_k.view, std::numeric_limits<float>::quiet_NaN());
      fill(nan_v.view, std::numeric_limits<float>::quiet_NaN());
      cache.append(nan_k.view, nan_v.view);
      cache.truncate(0, 0);
      cache.append(k.view, v.view);
      const Plan plan = make_plan(c.problem(), Threads(1), KvSource::kCache);
      EXPECT_EQ(plan.explain("path"), queries == 3 ? "decode" : "prefill");
      const Inputs inputs{.q = q.view, .k = {}, .v = {}, .cache = &cache};
      EXPECT_TRUE(same_bits(run_attention(plan, inputs), expected)) << queries << ", " << length;
    }
}

// --- Error and bad input

TEST_P(NativeBf16Cases, IsWithinTheBoundExhaustive) {
  const auto cases = pairwise_cases();
  for (std::size_t n = GetParam(); n < cases.size(); n += kShards) {
    const AttentionCase c = in_native(cases[n]);
    if (c.cost() > 1 << 27) continue;
    SCOPED_TRACE(c.name());
    const CaseInputs in(c);
    Oracle oracle(c.problem(), c.mask->reference, in.inputs(), rows_of(c, 1 << 19, 2));
    oracle.learn_scaled(c.problem(), c.mask->reference, in.inputs(), 4);
    const Outputs out = run_case(c, in);
    EXPECT_TRUE(within_bound(oracle, out.o.view, out.lse.view, out.o_dtype));
  }
}

TEST(NativeBf16, NeedsStoredBf16) {
  for (int field = 0; field < 3; ++field)
    for (const DType dtype : {DType::kF32, DType::kF16}) {
      Problem p = native_case("causal", 4, 4).problem();
      (field == 0 ? p.storage.q : field == 1 ? p.storage.k : p.storage.v) = dtype;
      const std::string message = error_of([&] { make_plan(p, Threads(1)); });
      EXPECT_EQ(message, std::string("Problem.storage.") + "qkv"[field] +
                             ": expected bf16, as Problem.arithmetic is native bf16, got " +
                             name(dtype));
    }
}

}  // namespace
}  // namespace rapt::test
