// Promise 1, exact: max |o - o64| <= 2 e + 2^-23 max|v| on every case, by every instruction set.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "cases.h"
#include "oracle.h"

namespace rapt::test {
namespace {

constexpr double kOracleCost = 1 << 21;  // multiplications of a case that the oracle has time for

std::vector<std::int64_t> rows_for(const AttentionCase& c) {
  const double of_one_row = c.cost() / std::max<std::int64_t>(c.q_tokens, 1);
  return sample_rows(c.q_tokens, std::clamp<std::int64_t>(kOracleCost / (of_one_row + 1), 3, 4096));
}

void check(const AttentionCase& c) {
  SCOPED_TRACE(c.name());
  const CaseInputs in(c);
  Oracle oracle(c.problem(), c.mask->reference, in.inputs(), rows_for(c));
  const double learned = c.cost() * static_cast<double>(oracle.rows.size()) /
                         static_cast<double>(std::max<std::int64_t>(c.q_tokens, 1));
  oracle.learn_scaled(c.problem(), c.mask->reference, in.inputs(),
                      std::clamp<int>(static_cast<int>(4 * kOracleCost / (learned + 1)), 4, 12));
  for (const Isa isa : supported_isas()) {
    const double most = isa == supported_isas().front() ? 1e18
                        : isa == Isa::kScalar           ? 1 << 22
                                                        : 1 << 26;
    if (c.cost() > most) continue;  // slower, and their bits are tested to be equal
    const ForcedIsa forced(isa);
    const Outputs out = run_case(c, in);
    EXPECT_TRUE(within_bound(oracle, out.o.view, out.lse.view, out.o_dtype)) << name(isa);
  }
}

constexpr int kShards = 4;
class Conformance : public testing::TestWithParam<int> {};

TEST_P(Conformance, CoveringSetExhaustive) {
  const auto cases = pairwise_cases();
  for (std::size_t n = GetParam(); n < cases.size(); n += kShards) check(cases[n]);
}

TEST_P(Conformance, FullGridExhaustive) {
  if (!full_grid()) GTEST_SKIP() << "hours: set RAPT_FULL_GRID=1";
  int n = 0;
  for_each_grid_case([&](const AttentionCase& c) {
    if (n++ % kShards == GetParam()) check(c);
  });
}

INSTANTIATE_TEST_SUITE_P(Shards, Conformance, testing::Range(0, kShards));

TEST(ConformanceOf, EmptyExtents) { for_each_empty_case(check); }

TEST(ConformanceOf, EveryMaskAndPadding) {
  for (const NamedMask& mask : masks())
    for (const auto padding : {Padding::kNone, Padding::kLeft, Padding::kRight, Padding::kMixed}) {
      AttentionCase c;
      c.batch = 3;
      c.q_tokens = 97;
      c.kv_tokens = 130;
      c.q_heads = 4;
      c.kv_heads = 2;
      c.head_dim = 19;
      c.v_head_dim = 21;
      c.mask = &mask;
      c.padding = padding;
      check(c);
    }
}

// Every two masks, and-ed and or-ed, against the oracle; modifiers take turns.
TEST(ConformanceOf, EveryPairOfMasksExhaustive) {
  int turn = 0;
  for (const NamedMask& a : masks())
    for (const NamedMask& b : masks())
      for (const bool both : {true, false}) {
        const std::string name = std::string(a.name) + (both ? " and " : " or ") + b.name;
        const auto sees = [](const NamedMask& m, const ReferencePair& pair) {
          return !m.reference || m.reference(pair);
        };
        const NamedMask composed{
            name.c_str(),
            [&](const Problem& p) { return both ? a.make(p) & b.make(p) : a.make(p) | b.make(p); },
            [&](const ReferencePair& pair) {
              return both ? sees(a, pair) && sees(b, pair) : sees(a, pair) || sees(b, pair);
            }};
        AttentionCase c;
        c.q_tokens = 50;
        c.kv_tokens = 70;
        c.q_heads = 2;
        c.head_dim = 5;
        c.mask = &composed;
        c.modifiers = static_cast<Modifiers>(turn++ % kModifierSets);
        check(c);
      }
}

// Offsets beyond 2^31 elements: the two keys lie 2^31 floats apart in memory that is only mapped.
TEST(ConformanceOf, StridesAreSixtyFourBit) {
  AttentionCase c;
  c.q_tokens = 2;
  c.kv_tokens = 2;
  c.head_dim = 8;
  c.mask = &mask_named("none");
  const CaseInputs in(c);
  const Outputs expected = run_case(c, in);

  constexpr std::int64_t kApart = std::int64_t{1} << 31;
  constexpr std::size_t kBytes = (kApart + 16) * sizeof(float);
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const MutableTensor k(static_cast<float*>(memory), in.k.view.extents, {0, kApart, 0, 1});
  copy(in.k.view, k);
  EXPECT_TRUE(same_bits(run_attention(c.problem(), in.q.view, k, in.v.view), expected));
  munmap(memory, kBytes);
}

}  // namespace
}  // namespace rapt::test
