#include "rapt/head_scores.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/check.h"
#include "rapt/head_similarity.h"
#include "rapt/observe.h"
#include "rapt/observe_layers.h"
#include "rapt/session.h"

namespace rapt {
namespace {

constexpr std::int64_t kLocalTokens = 8;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// The statistic of each role, in their order; entropy after them.
const std::vector<RowMetric> kMetrics = {
    RowMetric::kPreviousToken, RowMetric::kDuplicateToken, RowMetric::kInduction,
    RowMetric::kSinkMass,      RowMetric::kLocality,       RowMetric::kNormalisedEntropy,
    RowMetric::kTokenClass,    RowMetric::kLink,           RowMetric::kEntropy};

/// Sums and counts of rows, [metrics, L, Hq].
struct Sums {
  std::vector<double> sums;
  std::vector<std::int64_t> counts;

  explicit Sums(std::size_t size) : sums(size), counts(size) {}

  void add(const HeadStatistics& statistics, std::int64_t layer, std::int64_t layers) {
    for (std::size_t metric = 0; metric < kMetrics.size(); ++metric)
      for (std::int64_t head = 0; head < statistics.heads; ++head) {
        const auto from = metric * statistics.heads + head,
                   to = (metric * layers + layer) * statistics.heads + head;
        sums[to] += statistics.sums[from];
        counts[to] += statistics.counts[from];
      }
  }

  double mean(std::size_t n) const {
    return counts[n] == 0 ? kNaN : sums[n] / static_cast<double>(counts[n]);
  }
};

/// The tokens of one window, and what observe is told of them.
struct Window {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> token_class;
  std::vector<std::int64_t> links;

  Window(std::span<const std::int32_t> beginning, std::span<const std::int32_t> text,
         std::int64_t first, std::int64_t end, const HeadScoreOptions& options)
      : tokens(beginning.begin(), beginning.end()),
        token_class(beginning.size()),
        links(beginning.size(), -1) {
    const std::int64_t before = std::ssize(beginning);
    for (std::int64_t t = first; t < end; ++t) {
      tokens.push_back(text[t]);
      token_class.push_back(options.token_class.empty() ? 0 : options.token_class[t]);
      const std::int64_t link = options.links.empty() ? -1 : options.links[t];
      links.push_back(link < first || link > t ? -1 : link - first + before);
    }
  }

  /// Of the last `queries` of the first `keys` tokens.
  ObserveOptions options(std::int64_t queries, std::int64_t keys) const {
    ObserveOptions options;
    options.metrics = kMetrics;
    options.window = kLocalTokens;
    options.tokens.assign(tokens.begin(), tokens.begin() + keys);
    options.token_class.assign(token_class.begin(), token_class.begin() + keys);
    options.links.assign(links.begin() + (keys - queries), links.begin() + keys);
    return options;
  }
};

void look(const Window& window, const LayerAttention& seen, std::int64_t layers,
          const Threads& threads, Scratch& scratch, Sums& scores, Sums& chances) {
  const Problem& problem = seen.plan.problem();
  const auto all = std::ssize(window.tokens);
  HeadStatistics statistics;
  add_observed(seen, window.options(all, all), threads, scratch, statistics);
  scores.add(statistics, seen.layer, layers);
  chances.add(observe_uniform(problem, window.options(problem.q_tokens, problem.kv_tokens), threads,
                              scratch),
              seen.layer, layers);
}

/// Sums of the similarity of two heads, and rows that they are over, [L, Hq, Hq].
struct PairSums {
  std::vector<double> sums;
  std::vector<std::int64_t> rows;

  explicit PairSums(std::size_t size) : sums(size), rows(size) {}

  void add(const LayerAttention& seen, const Threads& threads, Scratch& scratch) {
    Inputs inputs;
    inputs.q = seen.q;
    inputs.cache = &seen.cache.layer(seen.layer);
    inputs.sequences = {&seen.sequence, 1};
    const HeadSimilarity pairs = head_similarity(seen.plan.problem(), inputs, threads, scratch);
    const std::size_t count = pairs.rows.size(), first = seen.layer * count;
    for (std::size_t n = 0; n < count; ++n) {
      if (pairs.rows[n] == 0) continue;
      sums[first + n] += pairs.bhattacharyya[n] * static_cast<double>(pairs.rows[n]);
      rows[first + n] += pairs.rows[n];
    }
  }
};

/// A head that prefers nothing is the broadest: chance is what heads have on average.
void set_chance_of_broad(HeadScores& scores) {
  const std::int64_t all = scores.layers * scores.heads,
                     first = static_cast<std::int64_t>(HeadRole::kBroad) * all;
  double sum = 0;
  for (std::int64_t n = 0; n < all; ++n) sum += scores.scores[first + n];
  for (std::int64_t n = 0; n < all; ++n) scores.chances[first + n] = sum / static_cast<double>(all);
}

}  // namespace

const char* name(HeadRole role) {
  static const char* const names[kHeadRoles] = {"previous token", "duplicate token", "induction",
                                                "sink",           "local",           "broad",
                                                "sentence start", "bracket"};
  return names[static_cast<int>(role)];
}

HeadScores head_scores(const Model& model, const Threads& threads,
                       std::span<const std::int32_t> beginning,
                       std::span<const std::int32_t> tokens, const HeadScoreOptions& options) {
  const ModelConfig& config = model.config();
  const std::int64_t count = std::ssize(tokens), before = std::ssize(beginning),
                     context = options.context == 0 ? config.context() : options.context;
  require(count > 0, ErrorCode::kBadArgument, "head_scores.tokens", "at least one token", "none");
  require(context > before && context <= config.context(), ErrorCode::kBadArgument,
          "head_scores.context",
          std::to_string(before + 1) + " to " + std::to_string(config.context()) + " tokens",
          context);
  for (const std::size_t given : {options.token_class.size(), options.links.size()})
    require(given == 0 || given == tokens.size(), ErrorCode::kBadArgument, "head_scores.options",
            "token_class and links for " + std::to_string(count) + " tokens, or none", given);
  HeadScores result{config.num_hidden_layers, config.num_attention_heads, {}, {}, {}, {}};
  const std::size_t all = result.layers * result.heads;
  Sums scores(kMetrics.size() * all), chances(kMetrics.size() * all);
  PairSums pairs(options.similarity ? all * result.heads : 0);
  Scratch scratch;
  Session session(model, threads, std::min(context, before + count));
  session.intervene(options.interventions);
  for (std::int64_t first = 0; first < count; first += context - before) {
    const Window window(beginning, tokens, first, std::min(first + context - before, count),
                        options);
    session.observe([&](const LayerAttention& seen) {
      look(window, seen, result.layers, threads, scratch, scores, chances);
      if (options.similarity) pairs.add(seen, threads, scratch);
    });
    session.truncate(0);
    session.prefill(window.tokens);
  }
  for (std::size_t n = 0; n < kHeadRoles * all; ++n) {
    result.scores.push_back(scores.mean(n));
    result.chances.push_back(chances.mean(n));
  }
  if (std::ranges::count(options.token_class, 0) == std::ssize(options.token_class))
    for (std::vector<double>* list : {&result.scores, &result.chances})  // the text has none
      std::fill_n(list->begin() + static_cast<int>(HeadRole::kSentenceStart) * all, all, kNaN);
  for (std::size_t n = 0; n < all; ++n) result.entropy.push_back(scores.mean(kHeadRoles * all + n));
  for (std::size_t n = 0; n < pairs.sums.size(); ++n)
    result.similarity.push_back(
        pairs.rows[n] == 0 ? kNaN : pairs.sums[n] / static_cast<double>(pairs.rows[n]));
  set_chance_of_broad(result);
  return result;
}

}  // namespace rapt
