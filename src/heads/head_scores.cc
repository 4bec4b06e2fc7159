#include "rapt/head_scores.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "base/check.h"
#include "model/decoder.h"
#include "rapt/head_similarity.h"
#include "rapt/observe.h"
#include "rapt/observe_layers.h"
#include "rapt/session.h"

namespace rapt {
namespace {

constexpr std::int64_t kLocalTokens = 8;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// The statistic of each role, in their order; entropy after them.
constexpr std::array kMetrics = {
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

/// Rows of a head that see a single key: those that have an entropy but no normalised one.
std::int64_t single_key_rows(const HeadStatistics& statistics, std::int64_t head) {
  const auto at = [&](RowMetric metric) {
    return (std::ranges::find(kMetrics, metric) - kMetrics.begin()) * statistics.heads + head;
  };
  return statistics.counts[at(RowMetric::kEntropy)] -
         statistics.counts[at(RowMetric::kNormalisedEntropy)];
}

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
    token_class[0] = 0;  // the sink's place
  }

  /// Of the last `queries` of the first `keys` tokens.
  ObserveOptions options(std::int64_t queries, std::int64_t keys) const {
    ObserveOptions options;
    options.metrics.assign(kMetrics.begin(), kMetrics.end());
    options.window = kLocalTokens;
    options.tokens.assign(tokens.begin(), tokens.begin() + keys);
    options.token_class.assign(token_class.begin(), token_class.begin() + keys);
    options.links.assign(links.begin() + (keys - queries), links.begin() + keys);
    return options;
  }
};

/// What equal weights give in a window: the same in all layers that solve the same problem.
class Uniform {
 public:
  const HeadStatistics& of(const Problem& problem, const Window& window, const Threads& threads,
                           Scratch& scratch) {
    for (const auto& [known, statistics] : found_)
      if (known == problem) return statistics;
    found_.emplace_back(
        problem, observe_uniform(problem, window.options(problem.q_tokens, problem.kv_tokens),
                                 threads, scratch));
    return found_.back().second;
  }

 private:
  std::vector<std::pair<Problem, HeadStatistics>> found_;
};

/// Sums of the similarity of two heads, and rows that they are over, [L, Hq, Hq].
struct SimilaritySums {
  std::vector<double> sums;
  std::vector<std::int64_t> rows;

  explicit SimilaritySums(std::size_t size) : sums(size), rows(size) {}

  /// `statistics` are those of the same rows. Where two heads see one key they are alike by need:
  /// such rows, 1 each, are taken out.
  void add(const LayerAttention& seen, const HeadStatistics& statistics, const Threads& threads,
           Scratch& scratch) {
    Inputs inputs;
    inputs.q = seen.q;
    inputs.cache = &seen.cache.layer(seen.layer);
    inputs.sequences = {&seen.sequence, 1};
    const HeadSimilarity pairs = head_similarity(seen.plan.problem(), inputs, threads, scratch);
    const std::size_t first = seen.layer * pairs.rows.size();
    for (std::int64_t a = 0; a < pairs.heads; ++a)
      for (std::int64_t b = 0; b < pairs.heads; ++b) {
        const std::size_t n = a * pairs.heads + b;
        const std::int64_t single = single_key_rows(statistics, a);
        if (pairs.rows[n] <= single) continue;
        sums[first + n] += pairs.bhattacharyya[n] * static_cast<double>(pairs.rows[n]) -
                           static_cast<double>(single);
        rows[first + n] += pairs.rows[n] - single;
      }
  }
};

void require_no_nan(const HeadScores& scores) {
  const std::int64_t all = scores.layers * scores.heads;
  for (std::int64_t n = 0; n < kHeadRoles * all; ++n)
    require(scores.rows[n] == 0 || !std::isnan(scores.scores[n]), ErrorCode::kBadArgument,
            "head_scores.model", "weights of attention that are numbers",
            "NaN for " + std::string(name(static_cast<HeadRole>(n / all))) + " of head " +
                to_string(HeadIndex{n % all / scores.heads, n % scores.heads}));
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
  require_decoder_only(config, "head_scores.model");
  HeadScores result{config.num_hidden_layers, config.num_attention_heads};
  const std::size_t all = result.layers * result.heads;
  Sums scores(kMetrics.size() * all), chances(kMetrics.size() * all);
  SimilaritySums pairs(options.similarity ? all * result.heads : 0);
  bool any_of_class = false;
  Scratch scratch;
  Session session(model, threads, std::min(context, before + count));
  session.intervene(options.interventions);
  for (std::int64_t first = 0; first < count; first += context - before) {
    const Window window(beginning, tokens, first, std::min(first + context - before, count),
                        options);
    any_of_class |= std::ranges::count(window.token_class, 0) < std::ssize(window.token_class);
    Uniform uniform;
    session.observe([&](const LayerAttention& seen) {
      HeadStatistics statistics;
      add_observed(seen, window.options(std::ssize(window.tokens), std::ssize(window.tokens)),
                   threads, scratch, statistics);
      scores.add(statistics, seen.layer, result.layers);
      chances.add(uniform.of(seen.plan.problem(), window, threads, scratch), seen.layer,
                  result.layers);
      if (options.similarity) pairs.add(seen, statistics, threads, scratch);
    });
    session.truncate(0);
    session.prefill(window.tokens);
  }
  if (!any_of_class)
    for (Sums* sums : {&scores, &chances})
      std::fill_n(sums->counts.begin() + static_cast<int>(HeadRole::kSentenceStart) * all, all, 0);
  for (std::size_t n = 0; n < kHeadRoles * all; ++n) {
    result.rows.push_back(scores.counts[n]);
    result.scores.push_back(scores.mean(n));
    result.chances.push_back(chances.mean(n));
  }
  for (std::size_t n = 0; n < all; ++n) result.entropy.push_back(scores.mean(kHeadRoles * all + n));
  for (std::size_t n = 0; n < pairs.sums.size(); ++n)
    result.similarity.push_back(
        pairs.rows[n] == 0 ? kNaN : pairs.sums[n] / static_cast<double>(pairs.rows[n]));
  require_no_nan(result);
  return result;
}

}  // namespace rapt
