#include "cli/generator.h"

#include <algorithm>
#include <csignal>
#include <iterator>
#include <limits>
#include <span>

#include "base/check.h"
#include "base/clock.h"
#include "cli/output.h"
#include "model/decoder.h"
#include "rapt/error.h"
#include "rapt/session.h"

namespace rapt::cli {
namespace {

volatile std::sig_atomic_t was_interrupted = 0;

}  // namespace

void catch_interrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) {
    was_interrupted = 1;
    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, SIG_DFL);
  };
  action.sa_flags = SA_RESTART;  // a write that waits for its reader goes on
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

bool interrupted() { return was_interrupted != 0; }

Generation Generator::run(const std::string& prompt, const Threads& threads) {
  require(options_.encoder_input.has_value() == config_.encoder.has_value(),
          ErrorCode::kBadArgument, "--encoder-input",
          config_.encoder ? "the text that the encoder of " + config_.architecture + " reads"
                          : "none, as " + config_.architecture + " has no encoder",
          config_.encoder ? "none" : "one");
  out_.prompt_tokens = config_.decoder_start_token_ids;  // none of a decoder-only model
  const bool whole_text = !config_.encoder;              // with the tokenizer's special tokens
  if (whole_text || !prompt.empty())
    std::ranges::copy(tokenizer_.encode(prompt, whole_text),
                      std::back_inserter(out_.prompt_tokens));
  const std::int64_t count = std::ssize(out_.prompt_tokens), room = config_.context();
  if (count > room)
    throw ContextFull("prompt: expected at most " + std::to_string(room) +
                      " tokens, the model's context, got " + std::to_string(count));
  TextStream shown(tokenizer_);
  for (const std::int32_t token : out_.prompt_tokens) show(shown.push(token));
  if (options_.new_tokens == 0) {
    show(shown.finish());
    return std::move(out_);
  }
  if (config_.encoder)
    run_encoder_decoder(threads);
  else
    run_engine(threads);
  out_.decode_tokens = std::max<std::int64_t>(std::ssize(out_.tokens) - 1, 0);
  return std::move(out_);
}

void Generator::run_engine(const Threads& threads) {
  EngineConfig config;
  config.threads = threads;
  config.max_sequence_tokens = capacity();
  const PagedKvCache::Shape cache =
      session_cache_shape(config_, model_.decoder().options().cache, config.max_sequence_tokens);
  config.page_size = cache.page_size;
  config.pages = cache.pages;
  config.reuse_prefixes = false;
  config.tokenizer = tokenizer_;
  Engine engine(model_, config);
  Request request;
  request.prompt = out_.prompt_tokens;
  request.max_new_tokens = options_.new_tokens;
  request.sampler = options_.sampler;
  request.logprobs = options_.logprobs;
  const std::int64_t id = engine.submit(request);
  while (engine.busy()) {
    if (interrupted()) engine.cancel(id);
    double& seconds = out_.tokens.empty() ? out_.prefill_seconds : out_.decode_seconds;
    std::vector<Event> events;
    seconds += seconds_of([&] { events = engine.step(); });
    for (const Event& event : events) take(event);
  }
}

// The engine takes no encoder's input, so the loop is here.
void Generator::run_encoder_decoder(const Threads& threads) {
  Session session(model_, threads, capacity());
  const Sampler sampler(options_.sampler);
  TextStream shown(tokenizer_);
  for (const std::int32_t token : out_.prompt_tokens) shown.push(token);  // is shown already
  std::vector<std::int32_t> context = out_.prompt_tokens;
  std::span<const std::int32_t> pending = context;
  out_.prefill_seconds =
      seconds_of([&] { session.encode(tokenizer_.encode(*options_.encoder_input)); });
  FinishReason finish = FinishReason::kNone;
  while (finish == FinishReason::kNone) {
    double& seconds = out_.tokens.empty() ? out_.prefill_seconds : out_.decode_seconds;
    Event event;
    seconds += seconds_of([&] { event = next(session.prefill(pending), sampler, context); });
    context.push_back(*event.token);
    pending = std::span(context).last(1);
    finish = event.finish = finish_of(*event.token, std::ssize(context));
    event.text = shown.push(*event.token);
    if (finish != FinishReason::kNone) event.text += shown.finish();
    take(event);
  }
}

/// The token that follows `context`, with what is asked of it.
Event Generator::next(const ConstTensor& logits, const Sampler& sampler,
                      std::span<const std::int32_t> context) const {
  std::vector<float> allowed(logits.data, logits.data + logits.extents[3]);
  for (const std::int32_t token : config_.suppressed_token_ids)
    allowed[static_cast<std::size_t>(token)] = -std::numeric_limits<float>::infinity();
  Event event;
  event.token = sampler.next({allowed.data(), logits.extents}, context);
  if (options_.logprobs) event.logprob = log_probability(logits, *event.token);
  return event;
}

/// Why the text ends with `token`, its last of `length`; out_ has those before.
FinishReason Generator::finish_of(std::int32_t token, std::int64_t length) const {
  if (config_.ends_text(token)) return FinishReason::kStop;
  if (std::ssize(out_.tokens) + 1 == options_.new_tokens) return FinishReason::kLength;
  if (length > capacity()) return FinishReason::kContext;
  return interrupted() ? FinishReason::kCancelled : FinishReason::kNone;
}

std::int64_t Generator::capacity() const {
  return std::min(config_.context(), std::ssize(out_.prompt_tokens) + options_.new_tokens);
}

void Generator::take(const Event& event) {
  if (event.token) out_.tokens.push_back(*event.token);
  if (event.logprob) out_.logprobs.push_back(*event.logprob);
  show(event.text);
  if (event.finish == FinishReason::kError) throw Error(ErrorCode::kBadArgument, event.error);
  if (event.finish == FinishReason::kCancelled)
    out_.finish_reason = "interrupted";
  else if (event.finish != FinishReason::kNone)
    out_.finish_reason = name(event.finish);
}

void Generator::show(const std::string& text) {
  out_.text += text;
  if (!options_.quiet && !text.empty()) print(text);
}

}  // namespace rapt::cli
