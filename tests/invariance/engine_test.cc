// A request has the tokens and log-probabilities of a session alone with it, in any schedule: other
// requests, arrivals, pages, budgets, preemptions, prefixes, cancels.
#include "rapt/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "rapt/session.h"
#include "util.h"

namespace rapt::test {
namespace {

using Tokens = std::vector<std::int32_t>;

ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 64;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.max_position_embeddings = 160;
  config.eos_token_ids = {2};
  return config;
}

/// A request and what a session gives it.
struct Known {
  Request request;
  Tokens tokens;
  std::vector<double> logprobs;
  FinishReason finish = FinishReason::kLength;
};

void answer_alone(const Model& model, Known& known) {
  Session session(model, Threads(1));
  const Sampler sampler(known.request.sampler);
  Tokens context = known.request.prompt;
  ConstTensor logits = session.prefill(context);
  for (;;) {
    const std::int32_t token = sampler.next(logits, context);
    context.push_back(token);
    known.tokens.push_back(token);
    known.logprobs.push_back(log_probability(logits, token));
    if (model.config().ends_text(token) ||
        std::ranges::count(known.request.stop_tokens, token) > 0) {
      known.finish = FinishReason::kStop;
      return;
    }
    if (std::ssize(known.tokens) == known.request.max_new_tokens) return;
    logits = session.decode(token);
  }
}

/// Requests of all lengths, many of which begin alike.
std::vector<Known> known_requests(const Model& model, int count, std::uint64_t seed) {
  Rng rng(seed);
  const auto random_token = [&] { return static_cast<std::int32_t>(3 + rng.below(61)); };
  std::vector<Tokens> stems(2);
  for (Tokens& stem : stems)
    for (int n = 0; n < 70; ++n) stem.push_back(random_token());
  std::vector<Known> all(static_cast<std::size_t>(count));
  for (Known& known : all) {
    const Tokens& stem = stems[static_cast<std::size_t>(rng.below(2))];
    const std::int64_t shared = rng.below(4) == 0 ? 0 : rng.below(71);
    Request& request = known.request;
    request.prompt.assign(stem.begin(), stem.begin() + shared);
    for (std::int64_t n = rng.below(20); n >= 0; --n) request.prompt.push_back(random_token());
    request.max_new_tokens = 1 + rng.below(rng.below(2) == 0 ? 40 : 12);
    request.sampler.temperature = rng.below(3) == 0 ? 0 : 1.5;
    request.sampler.repetition_penalty = 1.1;
    request.sampler.seed = rng.next();
    if (rng.below(3) == 0) request.stop_tokens = {random_token(), random_token()};
    request.logprobs = true;
    answer_alone(model, known);
  }
  return all;
}

/// What happened in all schedules.
struct Seen {
  std::set<std::vector<std::int64_t>> batches;  // first and count of every part
  std::int64_t requests = 0, preemptions = 0, prefix_hits = 0, cancelled = 0, refused = 0, cut = 0;
};

/// One random schedule of some of the known requests.
class Schedule {
 public:
  Schedule(const Model& model, const std::vector<Known>& all, const EngineConfig& config, Rng& rng,
           Seen& seen)
      : all_(all), config_(config), rng_(rng), seen_(seen), engine_(model, config) {}

  void run() {
    std::int64_t to_come = 1 + rng_.below(16);
    for (int steps = 0; to_come > 0 || engine_.busy(); ++steps) {
      ASSERT_LT(steps, 3000) << "stuck";
      for (; to_come > 0 && rng_.below(3) > 0; --to_come) submit();
      if (!asked_.empty() && rng_.below(25) == 0) cancel();
      for (const Event& event : engine_.step()) take(event);
      note_batch();
    }
    for (const auto& [id, asked] : asked_) EXPECT_TRUE(asked.ended) << "request " << id;
    const EngineMetrics metrics = engine_.metrics();
    EXPECT_EQ(metrics.running + metrics.queued, 0);
    if (!config_.reuse_prefixes) {
      EXPECT_EQ(metrics.pages_used, 0) << "pages are lost";
    }
    seen_.preemptions += metrics.preemptions;
    seen_.prefix_hits += metrics.prefix_hits;
  }

 private:
  struct Asked {
    const Known* known;
    std::size_t tokens = 0;
    bool ended = false, cancelled = false;
  };

  std::int64_t longest() const {
    return std::min<std::int64_t>(config_.pages * config_.page_size, 160);
  }

  void submit() {
    const Known& known = all_[static_cast<std::size_t>(rng_.below(std::ssize(all_)))];
    Request request = known.request;
    request.priority = rng_.below(4) == 0 ? 1 : 0;
    if (std::ssize(request.prompt) > longest()) {
      EXPECT_THROW(engine_.submit(request), Error);
      ++seen_.refused;
      return;
    }
    asked_[engine_.submit(request)] = {&known};
    ++seen_.requests;
  }

  void cancel() {
    auto at = asked_.begin();
    std::advance(at, rng_.below(std::ssize(asked_)));
    EXPECT_EQ(engine_.cancel(at->first), !at->second.ended && !at->second.cancelled);
    if (at->second.ended || at->second.cancelled) return;
    at->second.cancelled = true;
    ++seen_.cancelled;
  }

  void take(const Event& event) {
    Asked& asked = asked_.at(event.request);
    const Known& known = *asked.known;
    ASSERT_FALSE(asked.ended);
    if (event.token) {
      ASSERT_LT(asked.tokens, known.tokens.size());
      ASSERT_EQ(*event.token, known.tokens[asked.tokens]) << "token " << asked.tokens;
      ASSERT_EQ(*event.logprob, known.logprobs[asked.tokens]) << "token " << asked.tokens;
      ++asked.tokens;
    }
    if (event.finish == FinishReason::kNone) return;
    asked.ended = true;
    if (event.finish == FinishReason::kContext) {
      EXPECT_EQ(std::ssize(known.request.prompt) + static_cast<std::int64_t>(asked.tokens),
                longest() + 1);
      ++seen_.cut;
    } else if (asked.cancelled) {
      EXPECT_EQ(event.finish, FinishReason::kCancelled);
    } else {
      EXPECT_EQ(event.finish, known.finish);
      EXPECT_EQ(asked.tokens, known.tokens.size());
    }
  }

  void note_batch() {
    std::vector<std::int64_t> batch;
    for (const Engine::BatchPart& part : engine_.last_batch()) {
      batch.push_back(part.first);
      batch.push_back(part.tokens);
    }
    seen_.batches.insert(batch);
  }

  const std::vector<Known>& all_;
  const EngineConfig config_;
  Rng& rng_;
  Seen& seen_;
  Engine engine_;
  std::map<std::int64_t, Asked> asked_;
};

Seen run_schedules(const Model& model, const std::vector<Known>& all, int count,
                   std::uint64_t seed) {
  Rng rng(seed);
  Seen seen;
  const auto one_of = [&](std::initializer_list<std::int64_t> list) {
    return list.begin()[rng.below(std::ssize(list))];
  };
  const Threads one(1), two(2);
  for (int n = 0; n < count && !testing::Test::HasFailure(); ++n) {
    SCOPED_TRACE("schedule " + std::to_string(n));
    EngineConfig config;
    config.threads = rng.below(8) == 0 ? two : one;
    config.page_size = one_of({16, 16, 16, 32, 48, 512});
    config.pages = config.page_size > 48 ? 1 + rng.below(4) : 3 + rng.below(12);
    config.max_step_tokens = one_of({1, 2, 5, 16, 33, 100, 1000});
    config.reuse_prefixes = rng.below(3) > 0;
    Schedule(model, all, config, rng, seen).run();
  }
  return seen;
}

TEST(EngineInvariance, TokensAndLogProbabilitiesAreThoseOfASessionInAnySchedule) {
  const Model model = Model::random(tiny_config(), 1);
  const Seen seen = run_schedules(model, known_requests(model, 80, 2), 2000, 3);
  EXPECT_GT(seen.requests, 8000);
  EXPECT_GT(seen.batches.size(), 10000u);
  EXPECT_GT(seen.preemptions, 500);
  EXPECT_GT(seen.prefix_hits, 1000);
  EXPECT_GT(seen.cancelled, 100);
  EXPECT_GT(seen.refused, 50);
  EXPECT_GT(seen.cut, 10);
}

// A prefix of two chunks and more in common, which a step's requests attend to at once.
TEST(EngineInvariance, RequestsWithALongPrefixInCommon) {
  ModelConfig longer = tiny_config();
  longer.max_position_embeddings = 1400;
  const Model model = Model::random(longer, 1);
  Rng rng(6);
  const auto random_tokens = [&](std::int64_t count) {
    Tokens tokens;
    while (std::ssize(tokens) < count)
      tokens.push_back(static_cast<std::int32_t>(3 + rng.below(61)));
    return tokens;
  };
  const Tokens stem = random_tokens(1060);
  std::vector<Known> all(5);
  for (Known& known : all) {
    const Tokens own = random_tokens(1 + rng.below(150));
    known.request.prompt = stem;
    known.request.prompt.insert(known.request.prompt.end(), own.begin(), own.end());
    known.request.max_new_tokens = 6;
    known.request.sampler.temperature = 1;
    known.request.sampler.seed = rng.next();
    known.request.logprobs = true;
    answer_alone(model, known);
  }
  EngineConfig config;
  config.threads = Threads(2);
  config.page_size = 16;
  config.pages = 200;
  config.max_step_tokens = 60;
  Engine engine(model, config);
  std::map<std::int64_t, std::pair<const Known*, std::size_t>> asked;
  for (const Known& known : all) asked[engine.submit(known.request)] = {&known, 0};
  std::size_t together = 0;
  while (engine.busy()) {
    for (const Event& event : engine.step()) {
      auto& [known, tokens] = asked.at(event.request);
      ASSERT_EQ(event.token, known->tokens[tokens]);
      ASSERT_EQ(event.logprob, known->logprobs[tokens++]);
    }
    together = std::max(together, engine.last_batch().size());
  }
  for (const auto& [id, answer] : asked) EXPECT_EQ(answer.second, answer.first->tokens.size());
  EXPECT_GE(together, 3u);
  EXPECT_GE(engine.metrics().cascades, 5);
  EXPECT_GE(engine.metrics().prefix_tokens, 4 * 1056);
}

// Quantised caches among themselves: prefill reads what is stored, as decode does.
TEST(EngineInvariance, InEveryTypeOfCacheAndWithPositionsThatScale) {
  ModelConfig scaled = tiny_config();
  scaled.rope_scaling = DynamicNtkScaling{4, 40};
  for (const ModelOptions& options :
       {ModelOptions{{}, DType::kBF16}, ModelOptions{{}, DType::kF16},
        ModelOptions{{}, DType::kInt8}, ModelOptions{{}, DType::kF8E4M3},
        ModelOptions{WeightType::kNativeBF16, DType::kBF16, Arithmetic::kNativeBF16}}) {
    SCOPED_TRACE(std::string(name(options.cache)) + ", " + name(options.attention));
    const Model model = Model::random(scaled, 1, options);
    const Seen seen = run_schedules(model, known_requests(model, 30, 4), 120, 5);
    EXPECT_GT(seen.preemptions, 20);
    EXPECT_GT(seen.prefix_hits, 20);
  }
}

}  // namespace
}  // namespace rapt::test
