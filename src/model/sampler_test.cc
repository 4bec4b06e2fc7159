#include "rapt/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "util.h"

namespace rapt::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

ConstTensor row(const std::vector<float>& logits) {
  return {logits.data(), {1, 1, 1, std::ssize(logits)}};
}

std::int32_t next(const SamplerConfig& config, const std::vector<float>& logits,
                  const std::vector<std::int32_t>& context = {}) {
  return Sampler(config).next(row(logits), context);
}

/// How often each token is drawn with the seeds 0 .. draws - 1.
std::vector<int> counts(SamplerConfig config, const std::vector<float>& logits, int draws,
                        const std::vector<std::int32_t>& context = {}) {
  std::vector<int> count(logits.size());
  for (config.seed = 0; config.seed < static_cast<std::uint64_t>(draws); ++config.seed)
    ++count[next(config, logits, context)];
  return count;
}

/// Tokens that are drawn at all: with 400 draws, every one of a probability above 5%.
std::vector<std::int32_t> drawn(const SamplerConfig& config, const std::vector<float>& logits,
                                const std::vector<std::int32_t>& context = {}) {
  const std::vector<int> count = counts(config, logits, 400, context);
  std::vector<std::int32_t> tokens;
  for (std::size_t n = 0; n < count.size(); ++n)
    if (count[n] > 0) tokens.push_back(static_cast<std::int32_t>(n));
  return tokens;
}

using Tokens = std::vector<std::int32_t>;

/// The steps as Hugging Face transformers writes them: everything sorted, a softmax before each
/// cut. @return the probabilities of all tokens.
std::vector<double> plain_probabilities(const SamplerConfig& c, const std::vector<float>& logits,
                                        const Tokens& context) {
  std::vector<double> score(logits.begin(), logits.end());
  for (std::size_t n = 0; n < score.size(); ++n)
    if (std::count(context.begin(), context.end(), n) > 0)
      score[n] = score[n] < 0 ? score[n] * c.repetition_penalty : score[n] / c.repetition_penalty;
  for (double& s : score) s /= c.temperature;
  std::vector<std::int32_t> order(score.size());
  for (std::size_t n = 0; n < order.size(); ++n) order[n] = static_cast<std::int32_t>(n);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return score[a] > score[b]; });
  const auto softmax = [&] {
    std::vector<double> p;
    double sum = 0;
    for (const double s : score) sum += p.emplace_back(std::exp(s - score[order[0]]));
    for (double& x : p) x /= sum;
    return p;
  };
  if (c.top_k > 0)
    for (std::size_t n = c.top_k; n < order.size(); ++n) score[order[n]] = -kInf;
  std::vector<double> p = softmax();
  double sum = 0;
  for (std::size_t n = 0; n < order.size(); sum += p[order[n++]])
    if (n > 0 && sum >= c.top_p) score[order[n]] = -kInf;
  p = softmax();
  for (std::size_t n = 0; n < p.size(); ++n)
    if (p[n] < c.min_p * p[order[0]]) score[n] = -kInf;
  return softmax();
}

/// Whether the counts are those of the probabilities: chi-square, of which one sample in a million
/// is above the bound (Wilson and Hilferty's approximation).
testing::AssertionResult fits(const std::vector<int>& count, const std::vector<double>& p) {
  double draws = 0, chi2 = 0, freedom = -1;
  for (const int n : count) draws += n;
  for (std::size_t n = 0; n < p.size(); ++n) {
    if (p[n] == 0 && count[n] > 0) return testing::AssertionFailure() << "drew " << n;
    if (p[n] == 0) continue;
    chi2 += (count[n] - draws * p[n]) * (count[n] - draws * p[n]) / (draws * p[n]);
    ++freedom;
  }
  const double x = 2 / (9 * freedom), bound = freedom * std::pow(1 - x + 4.75 * std::sqrt(x), 3);
  if (freedom == 0 || chi2 < bound) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "chi-square " << chi2 << " above " << bound;
}

struct Settings {
  const char* name;
  SamplerConfig config;
};

void PrintTo(const Settings& settings, std::ostream* out) { *out << settings.name; }

class SamplerWith : public testing::TestWithParam<Settings> {};

TEST_P(SamplerWith, DrawsByTheProbabilitiesOfThePlainSteps) {
  const std::vector<float> logits = {1.5f, -0.5f, 0.25f, 2.0f, -kInf, 1.0f, -1.0f, 0.0f, 2.25f, -2};
  const Tokens context = {3, 1, 1, 7};
  EXPECT_TRUE(fits(counts(GetParam().config, logits, 20000, context),
                   plain_probabilities(GetParam().config, logits, context)));
}

TEST_P(SamplerWith, DrawsTheSameTokensOnEveryMachine) {
  const std::map<std::string, Tokens> golden = {
      {"Temperature", {173, 104, 3, 195, 41, 82, 50, 160, 53, 178, 104, 160}},
      {"High", {155, 77, 87, 192, 44, 123, 94, 43, 64, 173, 106, 111}},
      {"Low", {160, 160, 141, 50, 160, 82, 160, 160, 160, 173, 141, 160}},
      {"TopK", {104, 141, 160, 104, 160, 160, 160, 173, 160, 104, 141, 173}},
      {"TopP", {160, 50, 77, 160, 121, 44, 161, 141, 122, 160, 50, 141}},
      {"MinP", {173, 104, 3, 173, 44, 82, 50, 160, 53, 173, 104, 160}},
      {"Penalty", {173, 104, 3, 195, 41, 77, 50, 160, 53, 186, 97, 141}},
      {"Reward", {173, 121, 6, 195, 43, 86, 50, 161, 53, 173, 104, 160}},
      {"Everything", {173, 53, 160, 141, 50, 173, 141, 82, 104, 3, 160, 122}},
  };
  Rng rng(3);
  std::vector<float> logits(200);
  for (float& logit : logits) logit = 3 * rng.normal();
  Tokens context;
  for (int n = 0; n < 12; ++n) context.push_back(next(GetParam().config, logits, context));
  EXPECT_EQ(context, golden.at(GetParam().name));
}

INSTANTIATE_TEST_SUITE_P(
    All, SamplerWith,
    testing::Values(Settings{"Temperature", {.temperature = 1.0}},
                    Settings{"High", {.temperature = 2.5, .seed = 1}},
                    Settings{"Low", {.temperature = 0.3, .seed = ~std::uint64_t{0}}},
                    Settings{"TopK", {.temperature = 1.0, .top_k = 4}},
                    Settings{"TopP", {.temperature = 1.0, .top_p = 0.8}},
                    Settings{"MinP", {.temperature = 1.0, .min_p = 0.2}},
                    Settings{"Penalty", {.temperature = 1.0, .repetition_penalty = 1.5}},
                    Settings{"Reward", {.temperature = 1.0, .repetition_penalty = 0.9}},
                    Settings{"Everything",
                             {.temperature = 1.2,
                              .top_k = 7,
                              .top_p = 0.9,
                              .min_p = 0.1,
                              .repetition_penalty = 1.2,
                              .seed = 7}}),
    [](const auto& info) { return info.param.name; });

TEST(Sampler, ZeroTemperatureTakesTheMostLikely) {
  EXPECT_EQ(next({}, {1, 3, -kInf, 3, 2}), 1);
  EXPECT_EQ(next({.repetition_penalty = 2}, {1, 3, -kInf, 3, 2}, {1}), 3);
  EXPECT_EQ(next({}, {-kInf, -kInf, -1e38f}), 2);
}

TEST(Sampler, RandomNumberDependsOnSeedAndPositionAlone) {
  const SamplerConfig config = {.temperature = 1.0, .seed = 5};
  std::vector<float> logits(64, 0.0f);
  EXPECT_EQ(next(config, logits, {1, 2, 3}), next(config, logits, {40, 40, 41}));
  Tokens here, later, other_seed;
  for (std::size_t n = 0; n < 16; ++n) {
    here.push_back(next(config, logits, Tokens(n)));
    later.push_back(next(config, logits, Tokens(n + 1)));
    other_seed.push_back(next({.temperature = 1.0, .seed = 6}, logits, Tokens(n)));
  }
  EXPECT_NE(here, later);
  EXPECT_NE(here, other_seed);
}

TEST(Sampler, NeighbouringPositionsAreIndependent) {
  const std::vector<float> logits(4, 0.0f);
  std::vector<int> pairs(16);
  Tokens context;
  for (int n = 0; n < 4000; ++n) {
    const std::int32_t first = next({.temperature = 1.0}, logits, context);
    context.push_back(first);
    ++pairs[4 * first + next({.temperature = 1.0}, logits, context)];
    context.push_back(0);
  }
  EXPECT_TRUE(fits(pairs, std::vector<double>(16, 1.0 / 16)));
}

TEST(Sampler, TopKTakesExactlyKTheLowerIdFirst) {
  const std::vector<float> logits = {0, 1, 1, 1, 0};
  EXPECT_EQ(drawn({.temperature = 1.0, .top_k = 1}, logits), (Tokens{1}));
  EXPECT_EQ(drawn({.temperature = 1.0, .top_k = 2}, logits), (Tokens{1, 2}));
  EXPECT_EQ(drawn({.temperature = 1.0, .top_k = 4}, logits), (Tokens{0, 1, 2, 3}));
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  for (const std::int64_t k : {std::int64_t{0}, std::int64_t{5}, std::int64_t{6}, huge})
    EXPECT_EQ(drawn({.temperature = 1.0, .top_k = k}, logits), (Tokens{0, 1, 2, 3, 4})) << k;
}

TEST(Sampler, TopPTakesTheFewestThatReachItAtTheEdge) {
  const std::vector<float> equal(4, -7.0f);  // each exactly 1/4
  const double above_half = std::nextafter(0.5, 1);
  EXPECT_EQ(drawn({.temperature = 1.0, .top_p = 0}, equal), (Tokens{0}));
  EXPECT_EQ(drawn({.temperature = 1.0, .top_p = 0.25}, equal), (Tokens{0}));
  EXPECT_EQ(drawn({.temperature = 1.0, .top_p = 0.5}, equal), (Tokens{0, 1}));
  EXPECT_EQ(drawn({.temperature = 1.0, .top_p = above_half}, equal), (Tokens{0, 1, 2}));
  EXPECT_EQ(drawn({.temperature = 1.0, .top_p = std::nextafter(1, 0)}, equal),
            (Tokens{0, 1, 2, 3}));
  // Of two that top-k leaves, each is a half.
  EXPECT_EQ(drawn({.temperature = 1.0, .top_k = 2, .top_p = 0.5}, equal), (Tokens{0}));
  EXPECT_EQ(drawn({.temperature = 1.0, .top_k = 2, .top_p = above_half}, equal), (Tokens{0, 1}));
}

TEST(Sampler, MinPIsAShareOfTheMostLikely) {
  const float ln2 = 0.6931471805599453f;
  const std::vector<float> logits = {-2, -2 - ln2, -2, -2 - 2 * ln2};  // 1, ~1/2, 1, ~1/4
  const auto kept = [&](double min_p) {
    return drawn({.temperature = 1.0, .min_p = min_p}, logits);
  };
  EXPECT_EQ(kept(1), (Tokens{0, 2}));
  EXPECT_EQ(kept(0.500001), (Tokens{0, 2}));
  EXPECT_EQ(kept(0.499999), (Tokens{0, 1, 2}));
  EXPECT_EQ(kept(0.250001), (Tokens{0, 1, 2}));
  EXPECT_EQ(kept(0.249999), (Tokens{0, 1, 2, 3}));
}

TEST(Sampler, PenaltyActsOnceOnEachTokenOfTheContextByItsSign) {
  const auto best = [](const std::vector<float>& logits, const Tokens& context) {
    return next({.repetition_penalty = 2.0}, logits, context);
  };
  EXPECT_EQ(best({4, 3}, {0}), 1);           // 2 against 3
  EXPECT_EQ(best({4, 1.5f}, {0}), 0);        // 2 against 1.5
  EXPECT_EQ(best({4, 1.5f}, {0, 0, 0}), 0);  // not 0.5
  EXPECT_EQ(best({-1, -1.5f}, {0}), 1);      // -2 against -1.5
  EXPECT_EQ(best({-1, -2.5f}, {0}), 0);      // -2 against -2.5
  EXPECT_EQ(best({0, -0.5f}, {0}), 0);
}

TEST(Sampler, ExtremeLogitsAreDrawnByTheirProbability) {
  const float most = std::numeric_limits<float>::max();
  EXPECT_EQ(drawn({.temperature = 1.0}, {most, -most, most}), (Tokens{0, 2}));
  EXPECT_EQ(drawn({.temperature = 5e-324}, {1, 2, 2, -kInf}), (Tokens{1, 2}));
  EXPECT_EQ(drawn({.temperature = 1e308}, {most, -most, -kInf}), (Tokens{0, 1}));
  EXPECT_EQ(drawn({.temperature = 1.0, .repetition_penalty = 1e-6}, {most, 0}, {0}), (Tokens{0}));
}

TEST(Sampler, BadLogitsAndContextsAreErrors) {
  const auto message = [](const std::vector<float>& logits, const Tokens& context = {}) {
    return error_of([&] { next({.temperature = 1.0}, logits, context); });
  };
  EXPECT_EQ(message({1, NAN}), "Sampler.logits[1]: expected a number or -inf, got nan");
  EXPECT_EQ(message({kInf}), "Sampler.logits[0]: expected a number or -inf, got inf");
  EXPECT_EQ(message({-kInf, -kInf}), "Sampler.logits: expected a logit above -inf, got none");
  EXPECT_EQ(message({1, 2}, {0, 2}), "Sampler.context[1]: expected 0 to 1, got 2");
  EXPECT_EQ(message({1, 2}, {-1}), "Sampler.context[0]: expected 0 to 1, got -1");
  EXPECT_EQ(message({}), "Sampler.logits: expected one row of logits, got [1, 1, 1, 0]");
}

TEST(Sampler, FieldsOutOfRangeAreNamed) {
  const std::pair<const char*, std::vector<SamplerConfig>> cases[] = {
      {"SamplerConfig.temperature",
       {{.temperature = -1e-9}, {.temperature = kInf}, {.temperature = kNan}}},
      {"SamplerConfig.top_k", {{.top_k = -1}}},
      {"SamplerConfig.top_p", {{.top_p = -0.1}, {.top_p = 1.1}, {.top_p = kNan}}},
      {"SamplerConfig.min_p", {{.min_p = -0.1}, {.min_p = 1.1}, {.min_p = kNan}}},
      {"SamplerConfig.repetition_penalty",
       {{.repetition_penalty = 0},
        {.repetition_penalty = -1},
        {.repetition_penalty = kInf},
        {.repetition_penalty = kNan}}},
  };
  for (const auto& [field, configs] : cases)
    for (const SamplerConfig& config : configs)
      EXPECT_EQ(error_of([&] { Sampler{config}; }).find(field), 0u) << field;
}

}  // namespace
}  // namespace rapt::test
