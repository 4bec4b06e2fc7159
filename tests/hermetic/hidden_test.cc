// Promise 3, hermetic: what a mask or padding hides cannot reach the output.

#include <gtest/gtest.h>

#include "hermetic/poison.h"
#include "invariance/canonical_order.h"

namespace rapt::test {
namespace {

/// Key tokens at the edges of groups of 16, of row tiles and of chunks, and between them.
const std::int64_t kTokens[] = {0,   1,   15,  16,  17,  31,  47,  48,   200,  496,
                                510, 511, 512, 513, 527, 528, 777, 1023, 1024, 1099};

class HermeticMask : public testing::TestWithParam<const char*> {};

// One key or value is poisoned, alone in its group of 16: rows that do not see it keep their bits,
// o of rows that see a NaN is NaN in the poisoned features only. Every row equals the canonical
// order, which never touches a hidden key.
TEST_P(HermeticMask, OnePoisonedTokenExhaustive) {
  AttentionCase c = long_case(GetParam());
  for (const Isa isa : supported_isas()) {
    const ForcedIsa forced(isa);
    c.storage = Storage::all(isa == Isa::kScalar ? DType::kF16 : DType::kF32);
    CaseInputs in(c);
    const Outputs clean = run_case(c, in);
    for (const std::int64_t j : kTokens) {
      if (isa == Isa::kScalar && j % 16 != 0) continue;
      for (const float poison : poisons_for(isa))
        for (const bool keys : {true, false}) {
          SCOPED_TRACE(testing::Message() << name(isa) << ", token " << j << ", " << poison
                                          << (keys ? " in k" : " in v"));
          const MutableTensor& target = keys ? in.k.view : in.v.view;
          const std::int64_t feature = keys ? 3 : 17;
          const float before = target.at(0, j, 0, feature);
          target.at(0, j, 0, feature) = poison;
          const Outputs out = run_case(c, in);
          expect_others_clean(c, clean, out, {j});
          std::vector<std::int64_t> rows = sample_rows(c.q_tokens, 5);
          rows.push_back(std::min(j + 1, c.q_tokens - 1));
          EXPECT_TRUE(canonical_bits(c.problem(), c.mask->reference, in.inputs(), out, rows));
          target.at(0, j, 0, feature) = before;
        }
    }
  }
}

// Everything after the poison is poisoned too, so that tiles mix live and hidden at every boundary.
TEST_P(HermeticMask, PoisonedTail) {
  AttentionCase c = long_case(GetParam());
  c.storage = Storage::all(DType::kBF16);
  CaseInputs in(c);
  const Outputs clean = run_case(c, in);
  std::vector<std::int64_t> hot;
  for (std::int64_t j = c.kv_tokens - 1; j >= 0; --j) {
    poison_token(in.k.view, j, kPoisons[j % 6]);
    poison_token(in.v.view, j, kPoisons[(j + 1) % 6]);
    hot.push_back(j);
    if (j % 37 != 0) continue;
    SCOPED_TRACE(testing::Message() << "from token " << j);
    expect_others_clean(c, clean, run_case(c, in), hot);
  }
}

// A window's far side: everything before the window of the last rows.
TEST_P(HermeticMask, PoisonedHead) {
  const AttentionCase c = long_case(GetParam());
  CaseInputs in(c);
  const Outputs clean = run_case(c, in);
  std::vector<std::int64_t> hot;
  for (std::int64_t j = 0; j < c.kv_tokens; ++j) {
    poison_token(in.k.view, j, kPoisons[j % 6]);
    poison_token(in.v.view, j, kPoisons[(j + 1) % 6]);
    hot.push_back(j);
    if (j % 37 != 0) continue;
    SCOPED_TRACE(testing::Message() << "up to token " << j);
    expect_others_clean(c, clean, run_case(c, in), hot);
  }
}

INSTANTIATE_TEST_SUITE_P(Masks, HermeticMask,
                         testing::Values("causal", "window5", "window600", "window_40_700",
                                         "documents_shuffled", "blocks_of_heads"),
                         [](const auto& info) { return std::string(info.param); });

// Padded queries, keys and values hold poison, left, right and on both sides; padded queries are
// empty rows.
TEST(Hermetic, Padding) {
  for (const Isa isa : supported_isas())
    for (const NamedMask& mask : masks())
      for (const auto padding : {Padding::kLeft, Padding::kRight, Padding::kMixed})
        for (const float poison : poisons_for(isa)) {
          AttentionCase c;
          c.batch = 3;
          c.q_tokens = 70;
          c.kv_tokens = 700;
          c.q_heads = 2;
          c.head_dim = 5;
          c.v_head_dim = 18;
          c.mask = &mask;
          c.padding = padding;
          SCOPED_TRACE(testing::Message() << name(isa) << " " << c.name() << " " << poison);
          const ForcedIsa forced(isa);
          const Problem p = c.problem();
          CaseInputs in(c);
          const Outputs clean = run_case(c, in);
          for (std::int64_t b = 0; b < c.batch; ++b) {
            for (std::int64_t i = 0; i < c.q_tokens; ++i)
              if (i < p.q_ranges[b].begin || i >= p.q_ranges[b].end)
                poison_token(sequence(in.q.view, b), i, poison);
            for (std::int64_t j = 0; j < c.kv_tokens; ++j)
              if (j < p.kv_ranges[b].begin || j >= p.kv_ranges[b].end) {
                poison_token(sequence(in.k.view, b), j, poison);
                poison_token(sequence(in.v.view, b), j, poison);
              }
          }
          ASSERT_TRUE(same_bits(run_case(c, in), clean));
        }
}

// Every mask with every modifier and with given positions: tokens are poisoned one after the other,
// and no row that does not see them changes a bit.
TEST(Hermetic, EveryMaskModifierAndPosition) {
  int n = 0;
  for (const NamedMask& mask : masks())
    for (int modifiers = 0; modifiers < kModifierSets; ++modifiers)
      for (int way = 0; way < 4; ++way) {
        AttentionCase c;
        c.q_tokens = 75;
        c.kv_tokens = 600;
        c.q_heads = 4;
        c.kv_heads = 2;
        c.head_dim = 5;
        c.v_head_dim = 18;
        c.mask = &mask;
        c.modifiers = static_cast<Modifiers>(modifiers);
        c.positions = way % 2 == 0 ? Positions::kDefault : Positions::kGiven;
        c.source = way < 2 ? KvSource::kTensors : KvSource::kCache;
        c.storage = Storage::all(kAllDTypes[n % 3]);
        if (way < 2) c.storage.k = kAllDTypes[(n + 1) % 3];
        if (way == 0) c.storage.v = kAllDTypes[(n + 2) % 3];
        c.q_tokens = n % 2 == 0 ? 75 : 5;
        SCOPED_TRACE(c.name());
        CaseInputs in(c);
        const Outputs clean = run_case(c, in);
        std::vector<std::int64_t> hot;
        Rng rng(++n);
        for (int step = 0; step < 4; ++step) {
          for (int more = 0; more < 1 << step; ++more) {
            hot.push_back(rng.below(c.kv_tokens));
            poison_token(in.k.view, hot.back(), kPoisons[rng.below(6)]);
            poison_token(in.v.view, hot.back(), kPoisons[rng.below(6)]);
          }
          const Outputs out = run_case(c, in);
          expect_others_clean(c, clean, out, hot);
          EXPECT_TRUE(canonical_bits(c.problem(), c.mask->reference, in.inputs(), out,
                                     {step, c.q_tokens - 1}));
        }
      }
}

// Few rows read plain tensors where they lie: values of whole vectors are not copied. The poison is alone
// in its group, which some rows see in part.
TEST(Hermetic, StreamedTensors) {
  for (const auto& [isa, dtype] : isas_and_dtypes()) {
    const ForcedIsa forced(isa);
    for (const std::int64_t rows : {1, 2, 5, 16})
      for (const Layout layout : {Layout::kContiguous, Layout::kHeadMajor, Layout::kUnaligned})
        for (const char* mask : {"causal", "window5", "documents_shuffled"}) {
          AttentionCase c;
          c.q_tokens = rows;
          c.kv_tokens = 537;
          c.kv_heads = c.q_heads = 2;
          c.head_dim = 8;
          c.v_head_dim = 32;
          c.mask = &mask_named(mask);
          c.layout = layout;
          c.storage.k = c.storage.v = dtype;
          SCOPED_TRACE(c.name() + " on " + name(isa));
          CaseInputs in(c);
          const Outputs clean = run_case(c, in);
          for (const std::int64_t j : {100, 511, 517, 527, 530, 531, 532, 533, 535, 536})
            for (const Tensor* tensor : {&in.k, &in.v}) {
              const float before = tensor->view.at(0, j, 1, 3);
              tensor->view.at(0, j, 1, 3) = kPoisons[j % 2];
              const Outputs out = run_case(c, in);
              expect_others_clean(c, clean, out, {j});
              tensor->view.at(0, j, 1, 3) = before;
            }
        }
  }
}

}  // namespace
}  // namespace rapt::test
