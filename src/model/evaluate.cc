#include "rapt/evaluate.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/rows.h"
#include "base/splitmix64.h"
#include "model/decoder.h"
#include "rapt/sampler.h"
#include "rapt/session.h"

namespace rapt {
namespace {

constexpr std::int64_t kLogitFloats = std::int64_t{1} << 23;  // of the logits held at a time
constexpr std::uint64_t kResamples = 2000, kSeed = 1;

/// Takes `tokens` and appends -ln p of each of the last `scored` of them.
void score(Session& session, const Threads& threads, std::int64_t vocab_size,
           std::span<const std::int32_t> tokens, std::int64_t scored, std::vector<double>& nats) {
  const std::int64_t last = std::ssize(tokens) - 1;  // nothing asks what follows it
  const std::int64_t chunk = std::max<std::int64_t>(1, kLogitFloats / vocab_size);
  std::int64_t t = last - scored;
  if (t > 0) session.prefill(tokens.first(t));
  while (t < last) {
    const std::int64_t count = std::min(chunk, last - t);
    const ConstTensor logits = session.prefill(tokens.subspan(t, count), Logits::kAll);
    const std::size_t done = nats.size();
    nats.resize(done + count);
    for_rows(threads, count, 1, [&](std::int64_t first, std::int64_t) {
      const ConstTensor row(&logits.at(0, 0, first, 0), {1, 1, 1, vocab_size});
      nats[done + first] = -log_probability(row, tokens[t + first + 1]);
    });
    t += count;
  }
  for (const double loss : std::span(nats).last(scored))
    require(!std::isnan(loss), ErrorCode::kBadArgument, "evaluate.model", "logits that are numbers",
            "NaN");
}

/// What `options` mean for this model and P = `beginning`.
EvaluationOptions resolve(EvaluationOptions options, const ModelConfig& config,
                          std::int64_t beginning) {
  const std::int64_t least = std::max<std::int64_t>(beginning, 1) + 1;
  const std::int64_t longest = config.context();
  if (options.context == 0) options.context = longest;
  require(options.context >= least && options.context <= longest, ErrorCode::kBadArgument,
          "evaluate.context", std::to_string(least) + " to " + std::to_string(longest) + " tokens",
          options.context);
  const std::int64_t widest = options.context - least + 1;
  if (options.stride == 0) options.stride = std::min(options.context / 2, widest);
  require(options.stride >= 1 && options.stride <= widest, ErrorCode::kBadArgument,
          "evaluate.stride", "1 to " + std::to_string(widest) + " tokens", options.stride);
  return options;
}

/// The model's own start tokens, which only an encoder-decoder has, then `beginning`, unless it is
/// their end: a token that generation is made to begin with may be the tokenizer's, too.
std::vector<std::int32_t> window_beginning(const ModelConfig& config,
                                           std::span<const std::int32_t> beginning) {
  std::vector<std::int32_t> before = config.decoder_start_token_ids;
  const std::size_t common = std::min(before.size(), beginning.size());
  if (!std::ranges::equal(std::span(before).last(common), beginning))
    before.insert(before.end(), beginning.begin(), beginning.end());
  return before;
}

WindowLoss sum_of(std::span<const double> nats) {
  WindowLoss loss{std::ssize(nats), 0};
  for (const double value : nats) loss.nats += value;
  return loss;
}

}  // namespace

double Evaluation::total_nats() const { return sum_of(nats).nats; }

Evaluation evaluate(const Model& model, const Threads& threads,
                    std::span<const std::int32_t> beginning, std::span<const std::int32_t> tokens,
                    const EvaluationOptions& options) {
  const ModelConfig& config = model.config();
  require(options.encoder_input.empty() != config.encoder.has_value(), ErrorCode::kBadArgument,
          "evaluate.encoder_input",
          config.encoder ? "the tokens that the encoder of " + config.architecture + " reads"
                         : "none, as " + config.architecture + " has no encoder",
          config.encoder ? "none" : "some");
  const std::vector<std::int32_t> before = window_beginning(config, beginning);
  const std::int64_t p = std::ssize(before), count = std::ssize(tokens);
  const auto [context, stride, progress, interventions, encoder_input] =
      resolve(options, config, p);
  std::int64_t done = p == 0 ? 1 : 0;  // text tokens scored, or without a prediction
  require(count > done, ErrorCode::kBadArgument, "evaluate.tokens",
          "more than " + std::to_string(done) + " tokens", count);
  Evaluation result;
  result.context = context;
  result.stride = stride;
  result.nats.reserve(count - done);
  Session session(model, threads, std::min(context, p + count));
  session.intervene(interventions);
  if (config.encoder) session.encode(encoder_input);
  std::vector<std::int32_t> window;
  for (std::int64_t begin = 0; done < count; begin += stride) {
    const std::int64_t end = std::min(begin + context - p, count);
    window = before;
    window.insert(window.end(), tokens.begin() + begin, tokens.begin() + end);
    session.truncate(0);
    score(session, threads, config.vocab_size, window, end - done, result.nats);
    result.windows.push_back(sum_of(std::span(result.nats).last(end - done)));
    done = end;
    if (progress) progress(done);
  }
  return result;
}

Interval bootstrap_interval(std::span<const WindowLoss> windows) {
  const std::uint64_t count = windows.size();
  require(count >= 2, ErrorCode::kBadArgument, "bootstrap_interval.windows", "at least two", count);
  for (const WindowLoss& window : windows)
    require(window.tokens > 0 && !std::isnan(window.nats), ErrorCode::kBadArgument,
            "bootstrap_interval.windows", "tokens and a loss that is a number", window.nats);
  std::vector<double> means;
  std::uint64_t draw = 0;
  for (std::uint64_t n = 0; n < kResamples; ++n) {
    WindowLoss sum;
    for (std::uint64_t k = 0; k < count; ++k) {
      const WindowLoss& window = windows[splitmix64(kSeed, ++draw) % count];
      sum.tokens += window.tokens;
      sum.nats += window.nats;
    }
    means.push_back(sum.nats / static_cast<double>(sum.tokens));
  }
  std::sort(means.begin(), means.end());
  return {means[kResamples / 40], means[kResamples - 1 - kResamples / 40]};
}

}  // namespace rapt
