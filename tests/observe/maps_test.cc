// Pooled maps and what keys receive, against the f64 matrix; their bits, and what is hidden.

#include <gtest/gtest.h>

#include "engine_pages.h"
#include "hermetic/poison.h"
#include "paged_tokens.h"
#include "rapt/head_similarity.h"
#include "rapt/pooled_map.h"
#include "rapt/received.h"
#include "statistics.h"

namespace rapt::test {
namespace {

AttentionCase map_case(const char* mask, Modifiers modifiers, std::int64_t queries,
                       std::int64_t keys) {
  AttentionCase c = observed_case(mask_named(mask), modifiers, queries, keys);
  c.padding = Padding::kRight;
  return c;
}

ReferenceAttention<double> matrix(const AttentionCase& c, const Problem& p, const Inputs& in) {
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < p.q_tokens; ++i) rows.push_back(i);
  return reference_attention<double>(p, c.mask->reference, {in.q, in.k, in.v, in.bias}, rows);
}

const std::vector<AttentionCase>& map_cases() {
  static const std::vector<AttentionCase> kCases = {
      map_case("causal", Modifiers::kNone, 200, 200), map_case("causal", Modifiers::kAll, 90, 700),
      map_case("dense_or_window", Modifiers::kSinks, 130, 130),
      map_case("blocks_of_heads", Modifiers::kBias, 130, 130),
      map_case("causal", Modifiers::kNone, 5, 1300)};
  return kCases;
}

TEST(PooledMap, IsTheMeanOfTheMatrix) {
  for (const AttentionCase& c : map_cases()) {
    SCOPED_TRACE(c.name());
    const CaseInputs in(c);
    const Problem p = c.problem();
    const Inputs inputs = in.inputs();
    const auto exact = matrix(c, p, inputs);
    Scratch scratch;
    for (const std::int64_t blocks : {1, 7, 64}) {
      const std::int64_t lines = blocks + 2;
      const auto maps = pooled_map(p, inputs, lines, blocks, Threads(2), scratch);
      ASSERT_EQ(maps.size(), 8u);
      for (std::size_t n = 0; n < maps.size(); ++n) {
        std::vector<double> sums(static_cast<std::size_t>(lines * blocks));
        std::vector<std::int64_t> rows(static_cast<std::size_t>(lines));
        for (std::int64_t i = 0; i < p.q_tokens; ++i) {
          const std::int64_t line = i * lines / p.q_tokens;
          double all = 0;
          for (std::int64_t j = 0; j < p.kv_tokens; ++j) {
            const double a =
                exact.a[(n * static_cast<std::size_t>(p.q_tokens) + static_cast<std::size_t>(i)) *
                            static_cast<std::size_t>(p.kv_tokens) +
                        static_cast<std::size_t>(j)];
            sums[static_cast<std::size_t>(line * blocks + j * blocks / p.kv_tokens)] += a;
            all += a;
          }
          rows[static_cast<std::size_t>(line)] += all > 0;
        }
        EXPECT_EQ(maps[n].rows, rows);
        for (std::int64_t line = 0; line < lines; ++line)
          for (std::int64_t block = 0; block < blocks; ++block)
            ASSERT_NEAR(maps[n].at(line, block),
                        sums[static_cast<std::size_t>(line * blocks + block)] /
                            static_cast<double>(
                                std::max<std::int64_t>(rows[static_cast<std::size_t>(line)], 1)),
                        1e-5)
                << "blocks " << line << ", " << block << " of " << blocks;
      }
    }
  }
}

TEST(AttentionReceived, IsTheSumOfTheColumns) {
  for (const AttentionCase& c : map_cases()) {
    SCOPED_TRACE(c.name());
    const CaseInputs in(c);
    const Problem p = c.problem();
    const Inputs inputs = in.inputs();
    const auto exact = matrix(c, p, inputs);
    Scratch scratch;
    const auto received = attention_received(p, inputs, Threads(2), scratch);
    const auto keys = static_cast<std::size_t>(p.kv_tokens);
    std::vector<double> sums(received.size());
    for (std::size_t n = 0; n < exact.a.size(); ++n)
      sums[n / (keys * static_cast<std::size_t>(p.q_tokens)) * keys + n % keys] += exact.a[n];
    for (std::size_t n = 0; n < sums.size(); ++n)
      ASSERT_NEAR(received[n], sums[n], 1e-5 * std::max(1.0, sums[n])) << n;
  }
}

TEST(ObserveMaps, ScheduleAndInstructionSetShowInNoBit) {
  for (const std::int64_t queries : {3, 300}) {
    const AttentionCase c = map_case("causal", Modifiers::kAlibi, queries, 700);
    const CaseInputs in(c);
    const Problem p = c.problem();
    const Inputs inputs = in.inputs();
    Scratch scratch;
    const auto map = pooled_map(p, inputs, 8, 9, Threads(1), scratch);
    const auto received = attention_received(p, inputs, Threads(1), scratch);
    for (const Isa isa : supported_isas())
      for (const int threads : {1, 5}) {
        const ForcedIsa forced(isa);
        const auto other = pooled_map(p, inputs, 8, 9, Threads(threads), scratch);
        for (std::size_t n = 0; n < map.size(); ++n) {
          EXPECT_EQ(other[n].mass, map[n].mass);
          EXPECT_EQ(other[n].rows, map[n].rows);
        }
        EXPECT_EQ(attention_received(p, inputs, Threads(threads), scratch), received);
      }
  }
}

/// All that maps, columns and pairs of heads say of a problem.
std::vector<double> figures(const Problem& p, const Inputs& in, int threads = 1) {
  Scratch scratch;
  std::vector<double> all = attention_received(p, in, Threads(threads), scratch);
  for (const PooledMap& map : pooled_map(p, in, 5, 6, Threads(threads), scratch))
    all.insert(all.end(), map.mass.begin(), map.mass.end());
  const HeadSimilarity pairs = head_similarity(p, in, Threads(threads), scratch);
  for (const std::vector<double>* each : {&pairs.bhattacharyya, &pairs.cosine, &pairs.kl})
    all.insert(all.end(), each->begin(), each->end());
  return all;
}

AttentionCase one_sequence(std::int64_t queries, std::int64_t keys) {
  AttentionCase c = map_case("causal", Modifiers::kNone, queries, keys);
  c.batch = 1;
  c.padding = Padding::kNone;
  return c;
}

TEST(ObserveMaps, CachesShowInNoBit) {
  for (const std::int64_t queries : {2, 60}) {
    const AttentionCase c = one_sequence(queries, 700);
    const CaseInputs in(c);
    const Problem p = c.problem();
    const Inputs inputs = in.inputs();
    const std::vector<double> one = figures(p, {.q = inputs.q, .k = inputs.k});
    for (const std::int64_t page : {16, 48, 512})
      EXPECT_EQ(figures(p, PagedSequences(p, inputs.k, inputs.v, page).inputs(inputs.q), 2), one);
    for (const std::int64_t page : {5, 16})
      EXPECT_EQ(figures(p, EnginePages(p, in.k.view, in.v.view, page).inputs(inputs.q)), one);
    DenseKvCache dense({1, p.kv_heads, p.head_dim, p.value_dim(), 700, DType::kF32});
    dense.append(0, in.k.view, in.v.view);
    EXPECT_EQ(figures(p, {.q = inputs.q, .cache = &dense}, 3), one);

    // A quantised cache: its pages show in no bit, and the scales of its values take no part.
    Problem quantised = p;
    quantised.storage.k = quantised.storage.v = DType::kInt8;
    const Tensor other = normal(inputs.v.extents, 77, 30.0f);
    const PagedSequences pages(quantised, inputs.k, inputs.v, 64),
        other_pages(quantised, inputs.k, other.view, 16);
    const std::vector<double> of_int8 = figures(quantised, pages.inputs(inputs.q));
    EXPECT_EQ(figures(quantised, other_pages.inputs(inputs.q), 2), of_int8);
    for (std::size_t n = 0; n < 4; ++n)  // similarity of a head with itself
      EXPECT_NEAR(of_int8[of_int8.size() - 48 + n * 5], 1.0, 1e-6);
  }
}

// A window hides the key from all rows.
TEST(ObserveMaps, HiddenKeysReachNothing) {
  const AttentionCase c = one_sequence(60, 700);
  const CaseInputs in(c);
  Problem p = c.problem();
  p.mask = Mask::causal() & Mask::sliding_window(80);
  const std::vector<double> clean = figures(p, in.inputs());
  for (const Isa isa : supported_isas())
    for (const float poison : poisons_for(isa))
      for (const std::int64_t token : {0, 511, 512, 560}) {
        const ForcedIsa forced(isa);
        CaseInputs poisoned(c);
        poison_token(poisoned.k.view, token, poison);
        EXPECT_EQ(figures(p, poisoned.inputs(), token == 512 ? 3 : 1), clean)
            << name(isa) << ", key " << token << ", " << poison;
      }
}

// A NaN key is in the lines of rows that see it, and in the columns that those rows see.
TEST(ObserveMaps, HiddenNanStaysAndLiveNanDoesNot) {
  AttentionCase c = map_case("causal", Modifiers::kNone, 64, 64);
  c.padding = Padding::kNone;
  CaseInputs in(c);
  const Problem p = c.problem();
  Scratch scratch;
  const auto clean = pooled_map(p, in.inputs(), 4, 4, Threads(1), scratch);
  poison_token(in.k.view, 40, kNan);
  const auto map = pooled_map(p, in.inputs(), 4, 4, Threads(1), scratch);
  for (std::int64_t block = 0; block < 4; ++block) {
    EXPECT_EQ(map[1].at(0, block), clean[1].at(0, block));
    EXPECT_EQ(map[1].at(1, block), clean[1].at(1, block));
    EXPECT_TRUE(std::isnan(map[1].at(2, block)));
  }
  poison_token(in.k.view, 40, 0.5f);
  poison_token(in.q.view, 63, kNan);  // the last row sees all
  for (const double x : attention_received(p, in.inputs(), Threads(1), scratch))
    EXPECT_TRUE(std::isnan(x));
  CaseInputs one(c);
  poison_token(one.q.view, 20, kNan);  // sees 0 to 20
  const auto received = attention_received(p, one.inputs(), Threads(1), scratch);
  for (std::int64_t j = 0; j < 64; ++j)
    EXPECT_EQ(std::isnan(received[static_cast<std::size_t>(j)]), j <= 20) << j;
}

TEST(ObserveMaps, RefuseOtherBlocks) {
  const AttentionCase c = map_case("causal", Modifiers::kNone, 10, 10);
  const CaseInputs in(c);
  Scratch scratch;
  EXPECT_EQ(error_of([&] { pooled_map(c.problem(), in.inputs(), 0, 4, Threads(1), scratch); }),
            "pooled_map query_blocks: expected 1 to 8192, got 0");
  EXPECT_EQ(error_of([&] { pooled_map(c.problem(), in.inputs(), 4, 8193, Threads(1), scratch); }),
            "pooled_map key_blocks: expected 1 to 8192, got 8193");
}

}  // namespace
}  // namespace rapt::test
