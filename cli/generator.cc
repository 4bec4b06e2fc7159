#include "cli/generator.h"

#include <algorithm>
#include <csignal>

#include "base/clock.h"
#include "cli/output.h"
#include "model/decoder.h"
#include "rapt/error.h"

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
  out_.prompt_tokens = tokenizer_.encode(prompt);
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
  EngineConfig config;
  config.threads = threads;
  config.max_sequence_tokens = std::min(room, count + options_.new_tokens);
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
  out_.decode_tokens = std::max<std::int64_t>(std::ssize(out_.tokens) - 1, 0);
  return std::move(out_);
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
