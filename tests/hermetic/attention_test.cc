// Promise 3, hermetic: what a mask or padding hides cannot reach the output, and what is live does.

#include <gtest/gtest.h>

#include <limits>
#include <span>

#include "cases.h"
#include "invariance/canonical_order.h"

namespace rapt::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kHuge = std::numeric_limits<float>::max();
constexpr float kPoisons[] = {kNan, kInfinity, -kInfinity, kHuge, -kHuge, 1e-40f};

/// All of them for the best instruction set; the others have its bits, so that two will do.
std::span<const float> poisons_for(Isa isa) {
  return isa == supported_isas().front() ? std::span(kPoisons) : std::span(kPoisons).first(2);
}

/// Causal and windowed problems whose tiles are full, partial, diagonal and skipped.
AttentionCase long_case(const std::string& mask) {
  AttentionCase c;
  c.q_tokens = c.kv_tokens = 1100;
  c.q_heads = 2;
  c.head_dim = 6;
  c.v_head_dim = 19;
  c.mask = &mask_named(mask);
  return c;
}

/// Every instruction set with every storage type.
std::vector<std::pair<Isa, DType>> isas_and_dtypes() {
  std::vector<std::pair<Isa, DType>> pairs;
  for (const Isa isa : supported_isas())
    for (const DType dtype : kAllDTypes) pairs.emplace_back(isa, dtype);
  return pairs;
}

/// Key tokens at the edges of groups of 16, of row tiles and of chunks, and between them.
const std::int64_t kTokens[] = {0,   1,   15,  16,  17,  31,  47,  48,   200,  496,
                                510, 511, 512, 513, 527, 528, 777, 1023, 1024, 1099};

/// Where `poisoned` may differ from `clean`: rows that see a token of `hot`, no other.
void expect_others_clean(const AttentionCase& c, const Outputs& clean, const Outputs& poisoned,
                         const std::vector<std::int64_t>& hot) {
  const Problem p = c.problem();
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t i = 0; i < p.q_tokens; ++i) {
      for (std::int64_t h = 0; h < p.q_heads; ++h) {
        bool sees = false;
        for (const std::int64_t j : hot)
          sees |= reference_visible(p, c.mask->reference, b, h, i, j);
        if (sees) continue;
        for (std::int64_t e = 0; e < p.value_dim(); ++e)
          ASSERT_EQ(bits(poisoned.o.view.at(b, i, h, e)), bits(clean.o.view.at(b, i, h, e)))
              << "query " << i << ", head " << h << ", feature " << e;
        for (const auto& [x, y] : {std::pair{&poisoned.lse, &clean.lse},
                                   {&poisoned.m, &clean.m},
                                   {&poisoned.l, &clean.l}})
          ASSERT_EQ(bits(x->view.at(0, b, h, i)), bits(y->view.at(0, b, h, i))) << "query " << i;
      }
    }
}

void poison_token(const MutableTensor& t, std::int64_t token, float poison) {
  fill(tokens(t, token, 1), poison);
}

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

// Hidden biases may hold anything, and a bias of -inf hides what it belongs to.
TEST(Hermetic, BiasOfHiddenKeys) {
  for (const NamedMask& mask : masks()) {
    AttentionCase c;
    c.q_tokens = 60;
    c.kv_tokens = 600;
    c.q_heads = 2;
    c.head_dim = 6;
    c.mask = &mask;
    c.modifiers = Modifiers::kBias;
    SCOPED_TRACE(c.name());
    const Problem p = c.problem();
    CaseInputs in(c);
    Tensor bias({1, 2, 60, 600});
    fill_normal(bias.view, 4);
    in.bias = std::move(bias);
    const Outputs clean = run_case(c, in);
    for_each_index(in.bias.view.extents, [&](auto b, auto h, auto i, auto j) {
      if (!reference_visible(p, mask.reference, b, h, i, j))
        in.bias.view.at(b, h, i, j) = kPoisons[(i + j) % 6];
    });
    EXPECT_TRUE(same_bits(run_case(c, in), clean));

    fill_normal(in.bias.view, 4);
    const std::int64_t hidden = 70;
    for_each_index({1, 2, 60, 1}, [&](auto b, auto h, auto i, auto) {
      in.bias.view.at(b, h, i, hidden) = -kInfinity;
    });
    const Outputs without = run_case(c, in);
    poison_token(in.k.view, hidden, kNan);
    poison_token(in.v.view, hidden, kNan);
    EXPECT_TRUE(same_bits(run_case(c, in), without));
  }
}

// A row of the lowest finite biases, as masks of other libraries have it, weighs its keys alike.
TEST(Hermetic, LowestFiniteBiasOfAWholeRow) {
  AttentionCase c;
  c.q_tokens = 1;
  c.kv_tokens = 4;
  c.head_dim = 3;
  c.mask = &mask_named("none");
  c.modifiers = Modifiers::kBias;
  for (const float bias : {-kHuge, kHuge}) {
    CaseInputs in(c);
    in.bias = Tensor({1, 1, 1, 4});
    fill(in.bias.view, bias);
    const Outputs out = run_case(c, in);
    const auto v = [&](int j) { return in.v.view.at(0, j, 0, 1); };
    EXPECT_FLOAT_EQ(out.o.view.at(0, 0, 0, 1), (v(0) + v(1) + v(2) + v(3)) / 4) << bias;
    EXPECT_EQ(out.l.view.at(0, 0, 0, 0), 4.0f);
  }
}

// The lowest finite bias hides nothing: a live NaN behind it shows.
TEST(Hermetic, FiniteBiasHidesNothing) {
  AttentionCase c;
  c.q_tokens = 3;
  c.kv_tokens = 40;
  c.head_dim = 4;
  c.mask = &mask_named("none");
  c.modifiers = Modifiers::kBias;
  CaseInputs in(c);
  Tensor bias({1, 1, 3, 40});
  bias.view.at(0, 0, 1, 7) = -kHuge;
  in.bias = std::move(bias);
  in.v.view.at(0, 7, 0, 2) = kNan;
  const Outputs out = run_case(c, in);
  EXPECT_EQ(bits(out.o.view.at(0, 1, 0, 2)), kNanBits);
}

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
