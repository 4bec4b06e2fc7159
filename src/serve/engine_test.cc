// The engine: what it refuses, how requests end, who goes first, what is shared.
#include "rapt/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "model/model_test_files.h"
#include "util.h"

namespace rapt::test {
namespace {

using Tokens = std::vector<std::int32_t>;

ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 266;  // of small_tokenizer()
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.max_position_embeddings = 300;
  return config;
}

Model tiny_model() { return Model::random(tiny_config(), 3); }

EngineConfig small_engine(std::int64_t pages = 64) {
  EngineConfig config;
  config.threads = Threads(1);
  config.page_size = 16;
  config.pages = pages;
  return config;
}

Tokens counted(std::int32_t first, std::int64_t count) {
  Tokens tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

Request request_of(const Tokens& prompt, std::int64_t new_tokens) {
  Request request;
  request.prompt = prompt;
  request.max_new_tokens = new_tokens;
  request.sampler.temperature = 1;
  return request;
}

/// What came of a request.
struct Answer {
  Tokens tokens;
  std::string text, error;
  FinishReason finish = FinishReason::kNone;
};

void take(const std::vector<Event>& events, std::map<std::int64_t, Answer>& answers) {
  for (const Event& event : events) {
    Answer& answer = answers[event.request];
    EXPECT_EQ(answer.finish, FinishReason::kNone) << "an event after the end";
    if (event.token) answer.tokens.push_back(*event.token);
    answer.text += event.text;
    answer.finish = event.finish;
    answer.error = event.error;
  }
}

/// Steps until all is done; a queue that is stuck ends it too.
std::map<std::int64_t, Answer> run(Engine& engine) {
  std::map<std::int64_t, Answer> answers;
  for (int steps = 0; engine.busy() && steps < 10000; ++steps) take(engine.step(), answers);
  EXPECT_FALSE(engine.busy());
  return answers;
}

Answer run_one(Engine& engine, const Request& request) {
  const std::int64_t id = engine.submit(request);
  return run(engine)[id];
}

TEST(Engine, RefusesABadRequestByItsField) {
  ModelConfig config = tiny_config();
  const Model model = Model::random(config, 1);
  Engine engine(model, small_engine(4));
  const auto error = [&](const auto& change) {
    Request request = request_of({5, 6}, 3);
    change(request);
    return error_of([&] { engine.submit(request); });
  };
  EXPECT_EQ(error([](Request& r) { r.prompt.clear(); }),
            "Request.prompt: expected a token at least, as the model has none that begins a text, "
            "got none");
  EXPECT_EQ(error([](Request& r) {
              r.prompt = {5, 266};
            }),
            "Request.prompt[1]: expected 0 to 265, got 266");
  EXPECT_EQ(error([](Request& r) { r.prompt = counted(0, 65); }),
            "Request.prompt: expected at most 64 tokens, got 65");
  EXPECT_EQ(error([](Request& r) { r.max_new_tokens = -1; }),
            "Request.max_new_tokens: expected 0 or more, got -1");
  EXPECT_EQ(error([](Request& r) { r.stop_tokens = {-1}; }),
            "Request.stop_tokens[0]: expected 0 to 265, got -1");
  EXPECT_EQ(error([](Request& r) { r.stop_strings = {"a"}; }),
            "Request.stop_strings: expected none, as the engine has no tokenizer, got \"a\"");
  EXPECT_NE(error([](Request& r) { r.sampler.top_p = 2; }).find("top_p"), std::string::npos);
  EXPECT_FALSE(engine.busy());

  config.bos_token_ids = {7};
  Engine with_first(Model::random(config, 1), small_engine());
  EXPECT_EQ(run_one(with_first, request_of({}, 4)).tokens,
            run_one(with_first, request_of({7}, 4)).tokens);
}

TEST(Engine, RefusesABadConfigByItsField) {
  const auto error = [](const auto& change, const ModelOptions& options = {}) {
    EngineConfig config = small_engine();
    change(config);
    return error_of([&] { Engine(Model::random(tiny_config(), 1, options), config); });
  };
  EXPECT_EQ(error([](EngineConfig& c) { c.page_size = 17; }),
            "PagedKvCache.page_size: expected a multiple of 16, got 17");
  EXPECT_EQ(error([](EngineConfig& c) { c.max_step_tokens = 0; }),
            "EngineConfig.max_step_tokens: expected a positive number, got 0");
  EXPECT_EQ(error([](EngineConfig& c) { c.max_sequence_tokens = 301; }),
            "EngineConfig.max_sequence_tokens: expected 0 to 300, got 301");
  EXPECT_EQ(error([](EngineConfig& c) { c.pages = -1; }),
            "EngineConfig.pages: expected 0 or more, got -1");
  const std::string small = error([](EngineConfig& c) { c.pages = 0, c.cache_bytes = 100; });
  EXPECT_TRUE(small.starts_with("EngineConfig.cache_bytes: expected at least ")) << small;
  EXPECT_TRUE(small.ends_with(", a page of 16 tokens, got 100")) << small;
  EXPECT_EQ(error([](EngineConfig& c) { c.cache = DType::kF16; },
                  {WeightType::kNativeBF16, DType::kBF16, Arithmetic::kNativeBF16}),
            "EngineConfig.cache: expected bf16, as attention is native bf16, got f16");
}

TEST(Engine, RequestsEndForTheirReasons) {
  Engine engine(tiny_model(), small_engine(4));
  const Answer plain = run_one(engine, request_of({5, 6, 7}, 10));
  EXPECT_EQ(plain.finish, FinishReason::kLength);
  ASSERT_EQ(plain.tokens.size(), 10u);

  Request stops = request_of({5, 6, 7}, 10);
  stops.stop_tokens = {plain.tokens[4]};
  const Answer stopped = run_one(engine, stops);
  const auto first = std::ranges::find(plain.tokens, plain.tokens[4]) + 1;
  EXPECT_EQ(stopped.tokens, Tokens(plain.tokens.begin(), first)) << "the stop token is given too";
  EXPECT_EQ(stopped.finish, FinishReason::kStop);

  const Answer longest = run_one(engine, request_of(counted(0, 60), 100));
  EXPECT_EQ(longest.finish, FinishReason::kContext);
  EXPECT_EQ(longest.tokens.size(), 5u);  // the last one is drawn from 64 tokens

  const Answer none = run_one(engine, request_of({5}, 0));
  EXPECT_EQ(none.finish, FinishReason::kLength);
  EXPECT_TRUE(none.tokens.empty());

  ModelConfig config = tiny_config();
  config.eos_token_ids = {plain.tokens[2]};
  Engine ending(Model::random(config, 3), small_engine(4));
  EXPECT_EQ(run_one(ending, request_of({5, 6, 7}, 10)).finish, FinishReason::kStop);
}

TEST(Engine, CancelledRequestsGiveTheirPagesBack) {
  EngineConfig config = small_engine();
  config.max_step_tokens = 20;
  config.reuse_prefixes = false;
  Engine engine(tiny_model(), config);
  const std::int64_t queued = engine.submit(request_of({1}, 5)),
                     long_one = engine.submit(request_of(counted(0, 100), 5)),
                     other = engine.submit(request_of({9}, 5));
  EXPECT_TRUE(engine.cancel(queued));
  EXPECT_FALSE(engine.cancel(queued));
  EXPECT_FALSE(engine.cancel(77));
  auto events = engine.step();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].finish, FinishReason::kCancelled);
  EXPECT_EQ(engine.metrics().pages_used, 2);
  EXPECT_TRUE(engine.cancel(long_one));  // amid its prompt
  EXPECT_EQ(engine.metrics().pages_used, 0);
  auto answers = run(engine);
  EXPECT_EQ(answers[long_one].finish, FinishReason::kCancelled);
  EXPECT_TRUE(answers[long_one].tokens.empty());
  EXPECT_EQ(answers[other].finish, FinishReason::kLength);
  EXPECT_EQ(engine.metrics().pages_free, 64);
  EXPECT_FALSE(engine.cancel(other));
}

TEST(Engine, ALongPromptDoesNotDelayOthersTokens) {
  EngineConfig config = small_engine();
  config.max_step_tokens = 16;
  Engine engine(tiny_model(), config);
  const std::int64_t first = engine.submit(request_of({1, 2}, 40));
  engine.step();
  const std::int64_t late = engine.submit(request_of(counted(0, 200), 3));
  std::map<std::int64_t, Answer> answers;
  int steps = 0;
  for (; answers[late].tokens.empty(); ++steps) {
    take(engine.step(), answers);
    EXPECT_EQ(std::ssize(answers[first].tokens), steps + 1) << "a token a step";
    std::int64_t tokens = 0;
    for (const auto& part : engine.last_batch()) tokens += part.tokens;
    EXPECT_LE(tokens, 16);
  }
  EXPECT_EQ(steps, 14);  // 15 of its tokens a step
}

TEST(Engine, HigherPriorityGoesFirstAndPreempts) {
  EngineConfig config = small_engine(4);
  config.reuse_prefixes = false;
  Engine engine(tiny_model(), config);
  const Answer alone = run_one(engine, request_of(counted(0, 40), 20));
  const std::int64_t low = engine.submit(request_of(counted(0, 40), 20));
  std::map<std::int64_t, Answer> answers;
  for (int steps = 0; steps < 5; ++steps) take(engine.step(), answers);
  Request urgent = request_of(counted(100, 30), 10);
  const std::int64_t same = engine.submit(urgent);
  urgent.priority = 1;
  const std::int64_t high = engine.submit(urgent);
  take(engine.step(), answers);
  EXPECT_EQ(engine.metrics().preemptions, 1);
  EXPECT_EQ(answers[high].tokens.size(), 1u);
  std::vector<std::int64_t> ends;
  while (engine.busy()) {
    const auto events = engine.step();
    for (const Event& event : events)
      if (event.finish != FinishReason::kNone) ends.push_back(event.request);
    take(events, answers);
  }
  EXPECT_EQ(ends, (std::vector{high, low, same}));
  EXPECT_EQ(answers[low].tokens, alone.tokens);
  EXPECT_EQ(answers[same].tokens, answers[high].tokens);
}

TEST(Engine, APrefixIsComputedOnce) {
  for (const bool reuse : {false, true})
    for (const std::int64_t step_tokens : {20, 1000}) {
      EngineConfig config = small_engine();
      config.max_step_tokens = step_tokens;
      config.reuse_prefixes = reuse;
      Engine engine(tiny_model(), config);
      std::vector<std::int64_t> ids;
      for (std::int32_t n = 0; n < 6; ++n) {
        Tokens prompt = counted(0, 100);
        prompt.push_back(200 + n);
        ids.push_back(engine.submit(request_of(prompt, 4)));
      }
      auto answers = run(engine);
      const std::int64_t shared = reuse ? 5 * 96 : 0;
      EXPECT_EQ(engine.metrics().prefix_tokens, shared);
      EXPECT_EQ(engine.metrics().prefix_hits, reuse ? 5 : 0);
      EXPECT_EQ(engine.metrics().computed_tokens, 6 * (101 + 3) - shared);

      Tokens next = counted(0, 100);  // a second turn: the answer is kept too
      next.push_back(200);
      next.insert(next.end(), answers[ids[0]].tokens.begin(), answers[ids[0]].tokens.end());
      for (std::int32_t n = 0; n < 20; ++n) next.push_back(n);
      run_one(engine, request_of(next, 1));
      EXPECT_EQ(engine.metrics().prefix_tokens, reuse ? shared + 96 : 0);
    }
}

// A prompt that cannot be admitted whatever is evicted leaves kept prefixes alone.
TEST(Engine, AWaitingPromptEvictsNothingInVain) {
  Engine engine(tiny_model(), small_engine(10));
  engine.submit(request_of(counted(20, 33), 1));
  run(engine);
  EXPECT_EQ(engine.metrics().pages_used, 2);  // a prefix
  engine.submit(request_of(counted(60, 96), 12));
  engine.submit(request_of(counted(120, 110), 1));
  std::map<std::int64_t, Answer> answers;
  for (int steps = 0; steps < 5; ++steps) take(engine.step(), answers);
  EXPECT_EQ(engine.metrics().queued, 1);
  EXPECT_EQ(engine.metrics().pages_used, 2 + 7);
  run(engine);
  EXPECT_EQ(engine.metrics().preemptions, 0);
}

TEST(Engine, TextEndsBeforeAStopString) {
  EngineConfig config = small_engine();
  config.tokenizer = Tokenizer::parse(small_tokenizer().dump());
  Engine engine(tiny_model(), config);
  Request request = request_of(config.tokenizer->encode("abc"), 60);
  request.sampler.seed = 5;
  const Answer whole = run_one(engine, request);
  Tokens all = request.prompt;
  all.insert(all.end(), whole.tokens.begin(), whole.tokens.end());
  EXPECT_EQ("abc" + whole.text, config.tokenizer->decode(all));

  ASSERT_GT(whole.text.size(), 40u);
  std::size_t at = 20;  // where a character begins
  while ((whole.text[at] & 0xC0) == 0x80) ++at;
  std::size_t end = at + 6;
  while ((whole.text[end] & 0xC0) == 0x80) ++end;
  request.stop_strings = {"not there", whole.text.substr(at, end - at)};
  const Answer cut = run_one(engine, request);
  EXPECT_EQ(cut.text, whole.text.substr(0, whole.text.find(request.stop_strings[1])));
  EXPECT_EQ(cut.finish, FinishReason::kStop);
  EXPECT_LT(cut.tokens.size(), whole.tokens.size());
}

TEST(Engine, MetricsCountWhatHappened) {
  Engine engine(tiny_model(), small_engine());
  engine.submit(request_of({1, 2, 3}, 4));
  engine.submit(request_of({4, 5}, 2));
  EXPECT_EQ(engine.metrics().queued, 2);
  engine.step();
  EngineMetrics metrics = engine.metrics();
  EXPECT_EQ(metrics.queued, 0);
  EXPECT_EQ(metrics.running, 2);
  EXPECT_EQ(metrics.pages_used, 2);
  EXPECT_EQ(metrics.pages_free, 62);
  run(engine);
  metrics = engine.metrics();
  EXPECT_EQ(metrics.running, 0);
  EXPECT_EQ(metrics.steps, 4);
  EXPECT_EQ(metrics.new_tokens, 6);
  EXPECT_EQ(metrics.computed_tokens, 3 + 2 + 3 + 1);
  EXPECT_EQ(metrics.first_token.count, 2);
  EXPECT_EQ(metrics.between_tokens.count, 4);
  EXPECT_GE(metrics.first_token.max, metrics.first_token.mean);
  EXPECT_GT(metrics.tokens_per_second, 0);
}

/// A model of one layer of zeros; the embedding of token 5 is NaN.
std::string model_with_a_hole() {
  const auto zeros = [](const std::string& name, const std::vector<std::int64_t>& shape) {
    const std::int64_t size = shape.size() == 1 ? shape[0] : shape[0] * shape[1];
    return TensorFields{name, "F32", shape, std::string(static_cast<std::size_t>(4 * size), '\0')};
  };
  const std::string layer = "model.layers.0.";
  std::vector<TensorFields> tensors = {zeros("model.embed_tokens.weight", {300, 8}),
                                       zeros("lm_head.weight", {300, 8}),
                                       zeros("model.norm.weight", {8}),
                                       zeros(layer + "input_layernorm.weight", {8}),
                                       zeros(layer + "post_attention_layernorm.weight", {8}),
                                       zeros(layer + "self_attn.q_proj.weight", {8, 8}),
                                       zeros(layer + "self_attn.k_proj.weight", {4, 8}),
                                       zeros(layer + "self_attn.v_proj.weight", {4, 8}),
                                       zeros(layer + "self_attn.o_proj.weight", {8, 8}),
                                       zeros(layer + "mlp.gate_proj.weight", {12, 8}),
                                       zeros(layer + "mlp.up_proj.weight", {12, 8}),
                                       zeros(layer + "mlp.down_proj.weight", {8, 12})};
  for (std::size_t byte = 4 * 5 * 8; byte < 4 * 6 * 8; ++byte) tensors[0].bytes[byte] = '\x7F';
  for (std::size_t e = 0; e < 8; ++e) tensors[0].bytes[4 * (5 * 8 + e) + 2] = '\xFF';
  return safetensors(tensors);
}

TEST(Engine, LogitsThatAreNoNumbersEndTheirRequestOnly) {
  const Directory directory;
  nlohmann::json config = small_config();
  config["tie_word_embeddings"] = false;
  directory.write("config.json", config.dump());
  directory.write("model.safetensors", model_with_a_hole());
  Engine engine(Model::load(directory.path()), small_engine());
  const std::int64_t good = engine.submit(request_of({1, 7}, 3)),
                     bad = engine.submit(request_of({1, 5}, 3));
  auto answers = run(engine);
  EXPECT_EQ(answers[good].finish, FinishReason::kLength);
  EXPECT_EQ(answers[bad].finish, FinishReason::kError);
  EXPECT_NE(answers[bad].error.find("logits"), std::string::npos) << answers[bad].error;
}

}  // namespace
}  // namespace rapt::test
