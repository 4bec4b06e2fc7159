#include "cli/generator.h"

#include <algorithm>
#include <csignal>

#include "base/clock.h"
#include "cli/output.h"
#include "rapt/session.h"

namespace rapt::cli {
namespace {

volatile std::sig_atomic_t was_interrupted = 0;

}  // namespace

void catch_interrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) { was_interrupted = 1; };
  action.sa_flags = SA_RESETHAND | SA_RESTART;  // a write that waits for its reader goes on
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return was_interrupted != 0; }

Generation Generator::run(const std::string& prompt, const Threads& threads) {
  context_ = out_.prompt_tokens = tokenizer_.encode(prompt);
  const std::int64_t count = std::ssize(context_), room = config_.context();
  if (count > room)
    throw ContextFull("prompt: expected at most " + std::to_string(room) +
                      " tokens, the model's context, got " + std::to_string(count));
  Session session(model_, threads, std::min(room, count + options_.new_tokens));
  for (const std::int32_t token : out_.prompt_tokens) show(text_.push(token));
  ConstTensor logits;
  out_.prefill_seconds = seconds_of([&] { logits = session.prefill(out_.prompt_tokens); });
  out_.decode_seconds = seconds_of([&] {
    while (take(logits) && (session.length() < session.capacity() || stop("context")))
      logits = session.decode(out_.tokens.back());
  });
  out_.decode_seconds -= logprob_seconds_;  // the speed is that of a run without them
  out_.decode_tokens = session.length() - count;
  show(text_.finish());
  return std::move(out_);
}

// Takes the next token; returns whether another is wanted.
bool Generator::take(const ConstTensor& logits) {
  if (interrupted()) return stop("interrupted");
  if (options_.new_tokens == 0) return false;
  const std::int32_t token = sampler_.next(logits, context_);
  context_.push_back(token);
  out_.tokens.push_back(token);
  if (options_.logprobs)
    logprob_seconds_ +=
        seconds_of([&] { out_.logprobs.push_back(log_probability(logits, token)); });
  if (config_.ends_text(token)) return stop("stop");
  show(text_.push(token));
  return std::ssize(out_.tokens) < options_.new_tokens;
}

bool Generator::stop(const char* reason) {
  out_.finish_reason = reason;
  return false;
}

void Generator::show(const std::string& text) {
  out_.text += text;
  if (!options_.quiet && !text.empty()) print(text);
}

}  // namespace rapt::cli
