// Statistics have the same bits however they are computed, and hidden keys reach none.

#include <gtest/gtest.h>

#include "engine_pages.h"
#include "hermetic/poison.h"
#include "paged_tokens.h"
#include "statistics.h"

namespace rapt::test {
namespace {

AttentionCase long_observed_case(const char* mask, std::int64_t queries, std::int64_t keys) {
  AttentionCase c;
  c.q_tokens = queries;
  c.kv_tokens = keys;
  c.q_heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.mask = &mask_named(mask);
  return c;
}

/// Statistics in working memory full of NaN.
HeadStatistics observed(const Problem& p, const Inputs& in, const ObserveOptions& options,
                        int threads = 1) {
  Scratch scratch;
  constexpr std::size_t kBytes = std::size_t{1} << 23;
  std::memset(scratch.reserve(kBytes), 0xFF, kBytes);
  return observe(p, in, options, Threads(threads), scratch);
}

testing::AssertionResult same_rows(const std::vector<float>& a, const std::vector<float>& b) {
  const Dims extents = {1, 1, 1, static_cast<std::int64_t>(a.size())};
  if (a.size() != b.size()) return testing::AssertionFailure() << "other rows";
  return same_bits(ConstTensor(a.data(), extents), ConstTensor(b.data(), extents));
}

void expect_same(const HeadStatistics& a, const HeadStatistics& b) {
  EXPECT_TRUE(same_rows(a.rows, b.rows));
  EXPECT_EQ(a.sums, b.sums);
  EXPECT_EQ(a.counts, b.counts);
  EXPECT_EQ(a.bin_sums, b.bin_sums);
  EXPECT_EQ(a.bin_counts, b.bin_counts);
}

TEST(ObserveInvariance, InstructionSetsAndThreads) {
  for (const char* mask : {"causal", "dense_or_window"})
    for (const std::int64_t queries : {2, 30, 120}) {
      AttentionCase c = long_observed_case(mask, queries, 1300);
      c.modifiers = Modifiers::kAll;
      const CaseInputs in(c);
      const Problem p = c.problem();
      const ObserveOptions options = all_options(p);
      const Inputs inputs = in.inputs();
      const HeadStatistics one = observed(p, inputs, options);
      for (const Isa isa : supported_isas())
        for (const int threads : {1, 7}) {
          SCOPED_TRACE(std::string(name(isa)) + " " + c.name());
          const ForcedIsa forced(isa);
          expect_same(one, observed(p, inputs, options, threads));
        }
    }
}

TEST(ObserveInvariance, CachesAndStorage) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    AttentionCase c = long_observed_case("causal", 20, 700);
    c.storage = Storage::all(dtype);
    for (const std::int64_t queries : {2, 20}) {
      c.q_tokens = queries;
      const CaseInputs in(c);
      const Problem p = c.problem();
      const ObserveOptions options = all_options(p);
      const Inputs inputs = in.inputs();
      const Stored q(inputs.q, dtype), k(inputs.k, dtype), v(inputs.v, dtype);
      const HeadStatistics one = observed(p, {.q = q.view, .k = k.view}, options);
      for (const std::int64_t page : {16, 48, 512}) {
        const PagedSequences pages(p, k.view, v.view, page);
        expect_same(one, observed(p, pages.inputs(q.view), options, 3));
      }
      for (const std::int64_t page : {5, 16, 1024}) {
        const EnginePages pages(p, in.k.view, in.v.view, page);
        expect_same(one, observed(p, pages.inputs(q.view), options, 2));
      }
      DenseKvCache dense({1, p.kv_heads, p.head_dim, p.value_dim(), 700, dtype});
      dense.append(0, k.view, v.view);
      expect_same(one, observed(p, {.q = q.view, .cache = &dense}, options));
      Problem native = p;
      native.arithmetic = Arithmetic::kNativeBF16;
      if (dtype == DType::kBF16)
        expect_same(one, observed(native, {.q = q.view, .k = k.view}, options));
      Problem widened = p;
      widened.storage = {};
      expect_same(one, observed(widened, {.q = inputs.q, .k = inputs.k}, options));
    }
  }
}

// A quantised cache has a scale for each value: it is no part of the weights.
TEST(ObserveInvariance, ScalesOfValuesTakeNoPart) {
  AttentionCase c = long_observed_case("causal", 5, 600);
  const CaseInputs in(c);
  Problem p = c.problem();
  p.storage.k = p.storage.v = DType::kInt8;
  const ObserveOptions options = all_options(p);
  const Inputs inputs = in.inputs();
  const PagedSequences pages(p, inputs.k, inputs.v, 64);
  const Tensor other_v = normal(inputs.v.extents, 77, 30.0f);
  const PagedSequences other_pages(p, inputs.k, other_v.view, 64);
  const HeadStatistics one = observed(p, pages.inputs(inputs.q), options);
  const double plain =
      observed(c.problem(), {.q = inputs.q, .k = inputs.k}, options).mean(RowMetric::kLocality, 0);
  EXPECT_NEAR(one.mean(RowMetric::kLocality, 0), plain, 5e-3);
  expect_same(one, observed(p, other_pages.inputs(inputs.q), options));
  for (const std::int64_t queries : {40, 3}) {
    c.q_tokens = queries;
    const CaseInputs more(c);
    Problem of_more = c.problem();
    of_more.storage.k = of_more.storage.v = DType::kInt8;
    const Inputs q = more.inputs();
    expect_same(observed(of_more, pages.inputs(q.q), all_options(of_more)),
                observed(of_more, other_pages.inputs(q.q), all_options(of_more)));
  }
}

/// Query or key heads of a tensor in another order, or more than once.
Tensor heads_of(const ConstTensor& from, const std::vector<std::int64_t>& heads) {
  Tensor to({from.extents[0], from.extents[1], std::ssize(heads), from.extents[3]});
  for_each_index(to.view.extents, [&](auto b, auto i, auto h, auto e) {
    to.view.at(b, i, h, e) = from.at(b, i, heads[static_cast<std::size_t>(h)], e);
  });
  return to;
}

// A head's figures depend on neither its number nor on who shares its keys.
TEST(ObserveInvariance, HeadsInAnotherOrderAndWithKeysOfTheirOwn) {
  const AttentionCase c = long_observed_case("causal", 90, 700);
  const CaseInputs in(c);
  const Inputs inputs = in.inputs();
  const Problem p = c.problem();
  ObserveOptions options = all_options(p);
  std::erase(options.metrics, RowMetric::kWeightedMass);  // its weights are by head
  const HeadStatistics one = observed(p, {.q = inputs.q, .k = inputs.k}, options);
  const std::vector<std::int64_t> order = {3, 0, 2, 1};
  Problem apart = p;
  apart.kv_heads = 4;
  const Tensor q = heads_of(in.q.view, order), k = heads_of(in.k.view, {1, 0, 1, 0});
  const HeadStatistics other = observed(apart, {.q = q.view, .k = k.view}, options);
  for (std::int64_t h = 0; h < 4; ++h) {
    const std::int64_t was = order[static_cast<std::size_t>(h)];
    EXPECT_EQ(other.distance_mass(h), one.distance_mass(was));
    for (const RowMetric metric : options.metrics) {
      const auto a = other.row_values(metric, 0, h), x = one.row_values(metric, 0, was);
      EXPECT_TRUE(same_rows({a.begin(), a.end()}, {x.begin(), x.end()})) << name(metric);
      EXPECT_EQ(other.mean(metric, h), one.mean(metric, was)) << name(metric);
    }
  }
}

TEST(ObserveInvariance, SequencesOfABatchAlone) {
  AttentionCase c = long_observed_case("causal", 150, 600);
  c.batch = 3;
  c.padding = Padding::kRight;
  const CaseInputs in(c);
  const Problem p = c.problem();
  const ObserveOptions options = all_options(p);
  const Inputs inputs = in.inputs();
  const HeadStatistics together = observed(p, inputs, options, 2);
  for (std::int64_t b = 0; b < 3; ++b) {
    Problem alone = p;
    alone.batch = 1;
    alone.q_ranges = {p.q_ranges[static_cast<std::size_t>(b)]};
    alone.kv_ranges = {p.kv_ranges[static_cast<std::size_t>(b)]};
    ObserveOptions of_one = options;
    const auto part = [&](auto& list, std::int64_t tokens) {
      list.assign(list.begin() + b * tokens, list.begin() + (b + 1) * tokens);
    };
    part(of_one.tokens, p.kv_tokens);
    part(of_one.token_class, p.kv_tokens);
    part(of_one.links, p.q_tokens);
    of_one.key_weights = some_key_weights(alone);
    of_one.key_weights.data += b * of_one.key_weights.strides[1];
    const HeadStatistics one =
        observed(alone, {.q = sequence(inputs.q, b), .k = sequence(inputs.k, b)}, of_one);
    for (const RowMetric metric : options.metrics)
      for (std::int64_t h = 0; h < 4; ++h) {
        const auto a = together.row_values(metric, b, h), x = one.row_values(metric, 0, h);
        EXPECT_TRUE(same_rows({a.begin(), a.end()}, {x.begin(), x.end()}));
        EXPECT_EQ(together.mean(metric, h, b), one.mean(metric, h)) << name(metric);
      }
  }
}

// A prompt in parts: the keys of its parts come one after the other, the sums go on.
TEST(ObserveInvariance, PromptsInParts) {
  const AttentionCase c = long_observed_case("causal", 1100, 1100);
  const CaseInputs in(c);
  const Problem p = c.problem();
  ObserveOptions options = all_options(p);
  options.keep_rows = false;
  const Inputs inputs = in.inputs();
  const HeadStatistics whole = observed(p, inputs, options);
  for (const std::int64_t cut : {1, 511, 512, 700}) {
    HeadStatistics parts;
    Scratch scratch;
    for (const auto& [begin, end] : {std::pair<std::int64_t, std::int64_t>{0, cut}, {cut, 1100}}) {
      Problem part = p;
      part.q_tokens = end - begin;
      part.kv_tokens = end;
      ObserveOptions of_part = options;
      of_part.tokens.resize(static_cast<std::size_t>(end));
      of_part.token_class.resize(static_cast<std::size_t>(end));
      of_part.key_weights = some_key_weights(part);
      of_part.links.assign(options.links.begin() + begin, options.links.begin() + end);
      // Of keys that are yet to come there is none; the whole prompt hides them.
      for (std::int64_t& link : of_part.links)
        if (link >= end) link = -1;
      add_observed(part, {.q = tokens(inputs.q, begin, end - begin), .k = tokens(inputs.k, 0, end)},
                   of_part, Threads(2), scratch, parts);
    }
    for (const RowMetric metric : options.metrics)
      for (std::int64_t h = 0; h < 4; ++h) {
        EXPECT_EQ(parts.mean(metric, h), whole.mean(metric, h)) << name(metric);
        EXPECT_EQ(parts.count(metric, h), whole.count(metric, h)) << name(metric);
      }
    EXPECT_EQ(parts.bin_sums, whole.bin_sums);
  }
}

/// Whether a row's metric is told the token of a key that it may not see: the query's own, and the
/// one before a key that it sees.
bool tells_token(const Problem& p, const ReferenceMask& mask, RowMetric metric, std::int64_t h,
                 std::int64_t i, std::int64_t token) {
  const bool is_own = p.kv_range(0).size() - p.q_range(0).size() + i - p.q_range(0).begin == token;
  if (metric == RowMetric::kDuplicateToken) return is_own;
  return metric == RowMetric::kInduction &&
         (is_own || (token + 1 < p.kv_tokens && reference_visible(p, mask, 0, h, i, token + 1)));
}

TEST(ObserveHermetic, HiddenKeysReachNothing) {
  for (const char* mask : {"causal", "dense_or_window"}) {
    AttentionCase c = long_observed_case(mask, 60, 1100);
    c.padding = Padding::kRight;
    const CaseInputs in(c);
    const Problem p = c.problem();
    const ObserveOptions options = all_options(p);
    const Inputs inputs = in.inputs();
    const HeadStatistics clean = observed(p, inputs, options);
    for (const Isa isa : supported_isas())
      for (const float poison : poisons_for(isa)) {
        const ForcedIsa forced(isa);
        for (const std::int64_t token : {0, 500, 512, 820, 1099}) {
          CaseInputs poisoned(c);
          poison_token(poisoned.k.view, token, poison);
          Tensor key_weights(options.key_weights.extents);
          copy(options.key_weights, key_weights.view);
          for (std::int64_t h = 0; h < 4; ++h) key_weights.view.at(0, 0, h, token) = poison;
          ObserveOptions poisoned_options = options;
          poisoned_options.key_weights = key_weights.view;
          const auto key = static_cast<std::size_t>(token);
          poisoned_options.tokens[key] = options.tokens[key] == 3 ? 2 : 3;
          poisoned_options.token_class[key] ^= 1;
          const HeadStatistics got = observed(p, poisoned.inputs(), poisoned_options);
          for (const RowMetric metric : options.metrics)
            for (std::int64_t h = 0; h < 4; ++h)
              for (std::int64_t i = 0; i < 60; ++i) {
                if (reference_visible(p, c.mask->reference, 0, h, i, token)) continue;
                if (tells_token(p, c.mask->reference, metric, h, i, token)) continue;
                const auto at = static_cast<std::size_t>(i);
                ASSERT_EQ(bits(got.row_values(metric, 0, h)[at]),
                          bits(clean.row_values(metric, 0, h)[at]))
                    << name(metric) << ", query " << i << ", key " << token << ", " << poison;
              }
        }
      }
  }
}

// No row sees the key: neither a value nor whether a row counts depends on its token or class.
TEST(ObserveHermetic, TokensOfHiddenKeysReachNoCount) {
  const AttentionCase c = long_observed_case("causal", 60, 1100);
  const CaseInputs in(c);
  Problem p = c.problem();
  p.mask = Mask::causal() & Mask::sliding_window(80);
  ObserveOptions options = all_options(p);
  for (std::int64_t n = 0; n < 1100; ++n)  // the first of these come again, far behind
    options.tokens[static_cast<std::size_t>(n)] =
        static_cast<std::int32_t>(n < 1000 ? n : n + 1000);
  std::fill(options.links.begin(), options.links.end(), -1);
  const HeadStatistics clean = observed(p, in.inputs(), options);
  EXPECT_EQ(clean.count(RowMetric::kInduction, 0), 0);
  for (const std::size_t token : {0, 500, 511, 512, 900}) {
    ObserveOptions other = options;
    other.tokens[token] = options.tokens[1080];
    other.token_class[token] ^= 1;
    other.links.assign(other.links.size(), static_cast<std::int64_t>(token));
    expect_same(clean, observed(p, in.inputs(), other));
  }
}

// A score that is NaN is in every statistic of its row, and in the means.
TEST(ObserveHermetic, LiveNanPropagates) {
  const AttentionCase c = long_observed_case("causal", 40, 600);
  CaseInputs in(c);
  const Problem p = c.problem();
  const ObserveOptions options = all_options(p);
  poison_token(in.k.view, 590, kNan);
  const HeadStatistics got = observed(p, in.inputs(), options);
  for (const RowMetric metric :
       {RowMetric::kEntropy, RowMetric::kRenyiSupport, RowMetric::kConfidence, RowMetric::kLookback,
        RowMetric::kSinkMass, RowMetric::kLocality}) {
    const auto rows = got.row_values(metric, 0, 1);
    EXPECT_EQ(bits(rows[39]), kNanBits) << name(metric);
    EXPECT_FALSE(std::isnan(rows[20])) << name(metric);
    EXPECT_TRUE(std::isnan(got.mean(metric, 1))) << name(metric);
  }
}

// Rows that see nothing, or nothing but scores of -inf, do not count.
TEST(ObserveHermetic, EmptyRowsDoNotCount) {
  AttentionCase c = long_observed_case("causal", 30, 10);
  c.modifiers = Modifiers::kSinks;
  const CaseInputs in(c);
  const Problem p = c.problem();
  const HeadStatistics got = observed(p, in.inputs(), all_options(p));
  EXPECT_EQ(got.count(RowMetric::kEntropy, 1), 10);
  EXPECT_EQ(got.count(RowMetric::kLearnedSink, 1), 10);
  EXPECT_EQ(got.bin_counts, std::vector<std::int64_t>(4, 10));
  for (const RowMetric metric : row_metrics()) EXPECT_EQ(got.row_values(metric, 0, 1)[3], 0.0f);

  c.q_tokens = 10;
  c.head_dim = 1;
  CaseInputs infinite(c);
  fill(infinite.q.view, 1.0f);
  for (const std::int64_t key : {0, 1, 2}) poison_token(infinite.k.view, key, -kInfinity);
  const Problem of_some = c.problem();
  const HeadStatistics some = observed(of_some, infinite.inputs(), all_options(of_some));
  EXPECT_EQ(some.count(RowMetric::kEntropy, 1), 7);
  for (const RowMetric metric : row_metrics()) {
    EXPECT_EQ(some.row_values(metric, 0, 1)[2], 0.0f) << name(metric);
    EXPECT_TRUE(std::isfinite(some.row_values(metric, 0, 1)[3])) << name(metric);
  }
}

TEST(ObserveHermetic, NothingOfNothing) {
  for_each_empty_case([](const AttentionCase& c) {
    SCOPED_TRACE(c.name());
    const CaseInputs in(c);
    Problem p = c.problem();
    p.storage = {};
    const Inputs inputs = in.inputs();
    const HeadStatistics got = observed(p, inputs, all_options(p));
    for (std::int64_t h = 0; h < p.q_heads && p.kv_tokens == 0; ++h)
      EXPECT_TRUE(std::isnan(got.mean(RowMetric::kEntropy, h)));
  });
}

}  // namespace
}  // namespace rapt::test
