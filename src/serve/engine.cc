#include "rapt/engine.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "base/check.h"
#include "base/memory.h"
#include "base/rows.h"
#include "model/decoder.h"
#include "serve/scheduler.h"

namespace rapt {
namespace {

double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

void add(double seconds, Times& times) {
  ++times.count;
  times.mean += (seconds - times.mean) / static_cast<double>(times.count);
  times.max = std::max(times.max, seconds);
}

PagedKvCache::Shape shape_of(const Model& model, const EngineConfig& config) {
  const ModelOptions& options = model.decoder().options();
  const DType dtype = config.cache.value_or(options.cache);
  require(options.attention != Arithmetic::kNativeBF16 || dtype == DType::kBF16,
          ErrorCode::kBadArgument, "EngineConfig.cache", "bf16, as attention is native bf16",
          name(dtype));
  PagedKvCache::Shape shape = cache_shape(model.config(), dtype, config.page_size, config.pages);
  require(config.pages >= 0, ErrorCode::kBadArgument, "EngineConfig.pages", "0 or more",
          config.pages);
  if (config.pages > 0) return shape;
  const std::size_t page_bytes = PagedKvCache::page_bytes(shape);
  require(config.cache_bytes >= page_bytes, ErrorCode::kBadArgument, "EngineConfig.cache_bytes",
          "at least " + std::to_string(page_bytes) + ", a page of " +
              std::to_string(config.page_size) + " tokens",
          config.cache_bytes);
  shape.pages = static_cast<std::int64_t>(config.cache_bytes / page_bytes);
  return shape;
}

EngineConfig checked(EngineConfig config, const Model& model) {
  require_decoder_only(model.config(), "Engine.model");
  const std::int64_t context = model.config().context();
  require(config.max_step_tokens > 0, ErrorCode::kBadArgument, "EngineConfig.max_step_tokens",
          "a positive number", config.max_step_tokens);
  require(config.max_sequence_tokens >= 0 && config.max_sequence_tokens <= context,
          ErrorCode::kBadArgument, "EngineConfig.max_sequence_tokens",
          "0 to " + std::to_string(context), config.max_sequence_tokens);
  if (config.max_sequence_tokens == 0) config.max_sequence_tokens = context;
  return config;
}

}  // namespace

const char* name(FinishReason reason) {
  static constexpr const char* kNames[] = {"none",    "stop",      "length",
                                           "context", "cancelled", "error"};
  return kNames[static_cast<int>(reason)];
}

struct Engine::State {
  Model model;
  EngineConfig config;
  PagedKvCache cache;
  Scheduler scheduler;
  MultiHeadAttention::Workspace workspace;
  Scratch activations;
  std::vector<float> logits;
  std::vector<Job*> drawing;  // jobs whose tokens are all computed
  std::vector<Event> events;  // of the next step
  std::vector<BatchPart> batch;
  std::int64_t next_id = 0;
  EngineMetrics metrics;

  State(const Model& m, const EngineConfig& c)
      : model(m),
        config(checked(c, m)),
        cache(shape_of(m, config)),
        scheduler(cache, {config.max_step_tokens, config.reuse_prefixes}) {}

  std::int64_t longest() const {
    return std::min(config.max_sequence_tokens, cache.shape().pages * cache.shape().page_size);
  }

  std::unique_ptr<Job> checked_job(Request request) const;
  void check_tokens(const std::vector<std::int32_t>& tokens, const char* where) const;
  void check_stops(const Request& request) const;
  void compute(const std::vector<JobPart>& parts);
  void take_tokens(const std::vector<JobPart>& parts);
  Event next_token(Job& job, const ConstTensor& row) const;
  void count_token(Job& job, double time);
  FinishReason finish_of(const Job& job, std::int32_t token) const;
};

void Engine::State::check_tokens(const std::vector<std::int32_t>& tokens, const char* where) const {
  for (std::size_t n = 0; n < tokens.size(); ++n)
    require(tokens[n] >= 0 && tokens[n] < model.config().vocab_size, ErrorCode::kBadArgument,
            std::string(where) + "[" + std::to_string(n) + "]",
            "0 to " + std::to_string(model.config().vocab_size - 1), tokens[n]);
}

void Engine::State::check_stops(const Request& request) const {
  check_tokens(request.stop_tokens, "Request.stop_tokens");
  for (const std::string& stop : request.stop_strings) {
    require(config.tokenizer.has_value(), ErrorCode::kBadArgument, "Request.stop_strings",
            "none, as the engine has no tokenizer", "\"" + stop + "\"");
    require(!stop.empty(), ErrorCode::kBadArgument, "Request.stop_strings", "strings with text",
            "an empty one");
  }
}

std::unique_ptr<Job> Engine::State::checked_job(Request request) const {
  const std::vector<std::int32_t>& begin = model.config().bos_token_ids;
  if (request.prompt.empty() && !begin.empty()) request.prompt = {begin.front()};
  require(!request.prompt.empty(), ErrorCode::kBadArgument, "Request.prompt",
          "a token at least, as the model has none that begins a text", "none");
  require(std::ssize(request.prompt) <= longest(), ErrorCode::kBadArgument, "Request.prompt",
          "at most " + std::to_string(longest()) + " tokens", request.prompt.size());
  check_tokens(request.prompt, "Request.prompt");
  require(request.max_new_tokens >= 0, ErrorCode::kBadArgument, "Request.max_new_tokens",
          "0 or more", request.max_new_tokens);
  check_stops(request);
  auto job = std::make_unique<Job>(next_id, request);
  if (config.tokenizer) job->text.emplace(*config.tokenizer, request.prompt, request.stop_strings);
  job->last_time = now();
  return job;
}

void Engine::State::compute(const std::vector<JobPart>& parts) {
  std::vector<std::int32_t> tokens;
  std::vector<DecoderSequence> sequences;
  std::int64_t rows = 0;
  for (const auto& [job, count] : parts) {
    const auto first = job->tokens.begin() + job->computed;
    tokens.insert(tokens.end(), first, first + count);
    sequences.push_back({*job->sequence, count, count == job->pending() ? 1 : 0});
    rows += sequences.back().logits;
    batch.push_back({job->id, job->computed, count});
  }
  const std::int64_t vocab = model.config().vocab_size;
  logits.resize(static_cast<std::size_t>(rows * vocab));
  metrics.cascades += model.decoder().run({config.threads, tokens, sequences, cache,
                                           config.max_sequence_tokens, workspace, activations},
                                          {logits.data(), {1, 1, rows, vocab}});
}

/// Draws the next token of every job whose tokens are all computed; over a large vocabulary that
/// takes as long as a small model.
void Engine::State::take_tokens(const std::vector<JobPart>& parts) {
  scheduler.done();
  drawing.clear();
  for (const auto& [job, count] : parts) {
    metrics.computed_tokens += count;
    if (job->pending() == 0) drawing.push_back(job);
  }
  const std::size_t before = events.size();
  events.resize(before + drawing.size());
  const std::int64_t vocab = model.config().vocab_size;
  for_rows(config.threads, std::ssize(drawing), 1, [&](std::int64_t n, std::int64_t) {
    const ConstTensor row(logits.data() + n * vocab, {1, 1, 1, vocab});
    events[before + static_cast<std::size_t>(n)] =
        next_token(*drawing[static_cast<std::size_t>(n)], row);
  });
  const double time = now();
  for (std::size_t n = 0; n < drawing.size(); ++n) {
    const Event& event = events[before + n];
    if (event.finish != FinishReason::kError) count_token(*drawing[n], time);
    if (event.finish != FinishReason::kNone) scheduler.remove(*drawing[n]);
  }
}

Event Engine::State::next_token(Job& job, const ConstTensor& row) const {
  Event event{.request = job.id};
  try {
    const std::int32_t token = job.sampler.next(row, job.tokens);
    if (job.request.logprobs) event.logprob = log_probability(row, token);
    job.tokens.push_back(token);
    event.token = token;
    event.finish = finish_of(job, token);
    if (job.text && event.finish != FinishReason::kStop) event.text = job.text->push(token);
    if (job.text && job.text->stopped()) event.finish = FinishReason::kStop;
    if (job.text && event.finish != FinishReason::kNone) event.text += job.text->finish();
  } catch (const std::exception& error) {
    event.finish = FinishReason::kError;
    event.error = error.what();
  }
  return event;
}

void Engine::State::count_token(Job& job, double time) {
  add(time - job.last_time, job.new_tokens() == 1 ? metrics.first_token : metrics.between_tokens);
  job.last_time = time;
  ++metrics.new_tokens;
}

FinishReason Engine::State::finish_of(const Job& job, std::int32_t token) const {
  if (model.config().ends_text(token) || std::ranges::count(job.request.stop_tokens, token) > 0)
    return FinishReason::kStop;
  if (job.new_tokens() == job.request.max_new_tokens) return FinishReason::kLength;
  if (std::ssize(job.tokens) > longest()) return FinishReason::kContext;
  return FinishReason::kNone;
}

Engine::Engine(const Model& model, const EngineConfig& config)
    : state_(with_memory("Engine", [&] { return std::make_unique<State>(model, config); })) {}

Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

std::int64_t Engine::submit(const Request& request) {
  return with_memory("Engine.submit", [&] {
    std::unique_ptr<Job> job = state_->checked_job(request);
    if (request.max_new_tokens == 0)
      state_->events.push_back({.request = job->id, .finish = FinishReason::kLength});
    else
      state_->scheduler.add(std::move(job));
    return state_->next_id++;
  });
}

bool Engine::cancel(std::int64_t request) {
  Job* job = state_->scheduler.find(request);
  if (job == nullptr) return false;
  return with_memory("Engine.cancel", [&] {
    Event event{.request = request, .finish = FinishReason::kCancelled};
    if (job->text) event.text = job->text->finish();
    state_->events.push_back(std::move(event));
    state_->scheduler.remove(*job);
    return true;
  });
}

bool Engine::busy() const { return state_->scheduler.jobs() > 0 || !state_->events.empty(); }

std::vector<Event> Engine::step() {
  return with_memory("Engine.step", [&] {
    const double start = now();
    try {
      state_->batch.clear();
      const std::vector<JobPart>& parts = state_->scheduler.next();
      if (!parts.empty()) state_->compute(parts);
      state_->drawing.reserve(parts.size());  // what follows takes no memory, but a job's own
      state_->events.reserve(state_->events.size() + parts.size());
    } catch (...) {
      state_->scheduler.undo();
      throw;
    }
    state_->take_tokens(state_->scheduler.parts());
    ++state_->metrics.steps;
    state_->metrics.seconds += now() - start;
    return std::exchange(state_->events, {});
  });
}

EngineMetrics Engine::metrics() const {
  EngineMetrics metrics = state_->metrics;
  const Scheduler& scheduler = state_->scheduler;
  metrics.running = scheduler.running();
  metrics.queued = scheduler.jobs() - metrics.running;
  metrics.pages_free = state_->cache.free_pages();
  metrics.pages_used = state_->cache.shape().pages - metrics.pages_free;
  metrics.preemptions = scheduler.preemptions();
  metrics.prefix_hits = scheduler.prefix_hits();
  metrics.prefix_tokens = scheduler.prefix_tokens();
  if (metrics.seconds > 0)
    metrics.tokens_per_second = static_cast<double>(metrics.new_tokens) / metrics.seconds;
  return metrics;
}

const std::vector<Engine::BatchPart>& Engine::last_batch() const { return state_->batch; }

}  // namespace rapt
