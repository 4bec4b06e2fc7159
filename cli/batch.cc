#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "cli/batch_requests.h"
#include "cli/batch_results.h"
#include "cli/commands.h"
#include "cli/generator.h"
#include "cli/model_files.h"
#include "cli/output.h"
#include "model/decoder.h"
#include "rapt/engine.h"

namespace rapt::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFooter =
    "A request is a JSON object on a line of its own: id (a string or an integer), prompt (a\n"
    "text) or tokens (ids), and what is wanted of\n"
    "\n"
    "  max_tokens   new tokens at most; 256\n"
    "  temperature, top_k, top_p, min_p, repetition_penalty, seed\n"
    "               as the options of rapt generate, with its defaults\n"
    "  stop         a string, or several: the text ends before the first of them\n"
    "  priority     an integer; higher ones go first; 0\n"
    "  logprobs     true: ln p of each new token under the model\n"
    "\n"
    "A line of RESULTS answers each as it ends: id, text (what follows the prompt), tokens (the\n"
    "new ones), finish (stop, length, context), prompt_tokens, logprobs if wanted. What is no\n"
    "request, has the id of a line before, or cannot be served is answered by its id if it has\n"
    "one, line (its number) and error. An answer is that of the request alone, to the bit.\n"
    "\n"
    "Where RESULTS has answers, of a run that was interrupted or killed, the others are added:\n"
    "nothing is done twice, and a torn last line is done again. Requests may be added at the end\n"
    "of REQUESTS meanwhile; what is deleted from RESULTS is done again. An answer stays whatever\n"
    "MODEL and options it came from: for others, name other RESULTS.\n"
    "\n"
    "Exit status 1 if a request is answered by an error, 130 after Ctrl-C or SIGTERM.\n"
    "\n"
    "Examples:\n"
    "  rapt batch requests.jsonl -o results.jsonl\n"
    "  rapt batch models/llama requests.jsonl -o results.jsonl --cache-memory 4GiB";

/// Requests within the engine: more than fit in one of its steps, and not all of a long file.
constexpr std::size_t kMostAtOnce = 1024;

struct Options {
  std::string model, requests, results;
  ModelTypes types;
  EngineConfig engine;
  int threads = 0;
  bool json = false;
};

/// @throws Error{kBadArgument} where the cache would not hold a page, by the option's name.
EngineConfig checked(const EngineConfig& config, const Model& model) {
  const std::size_t page_bytes = PagedKvCache::page_bytes(
      cache_shape(model.config(), model.decoder().options().cache, config.page_size, 0));
  require(config.cache_bytes >= page_bytes, ErrorCode::kBadArgument, "--cache-memory",
          "at least " + std::to_string(page_bytes) + " bytes, a page of " +
              std::to_string(config.page_size) + " tokens",
          config.cache_bytes);
  return config;
}

/// Serves the requests that are not answered yet.
class BatchRun {
 public:
  BatchRun(const LoadedModel& loaded, const EngineConfig& config,
           const std::vector<BatchRequest>& requests, BatchResults& results)
      : tokenizer_(loaded.tokenizer),
        engine_(loaded.model, checked(config, loaded.model)),
        context_(loaded.model.config().context()),
        cache_tokens_((engine_.metrics().pages_used + engine_.metrics().pages_free) *
                      config.page_size),
        requests_(requests),
        results_(results) {
    for (std::size_t n = 0; n < requests.size(); ++n)
      if (!results.answered(n)) waiting_.push_back(n);
    std::ranges::stable_sort(waiting_, std::ranges::greater(),
                             [&](std::size_t n) { return requests_[n].request.priority; });
  }

  /// Ends when all are answered, or after the step in work at Ctrl-C.
  void run() {
    StatusLine status;
    for (;;) {
      feed();
      if (interrupted() || !engine_.busy()) break;
      for (const Event& event : engine_.step()) take(event);
      status.show(progress());
    }
    results_.sync();
  }

  EngineMetrics metrics() const { return engine_.metrics(); }

 private:
  struct Answer {
    std::size_t request;
    std::vector<std::int32_t> prompt, tokens{};
    std::vector<double> logprobs{};
    std::string text{};
  };

  void feed() {
    for (; next_ < waiting_.size() && running_.size() < kMostAtOnce && !interrupted(); ++next_)
      submit(waiting_[next_]);
  }

  void submit(std::size_t n) {
    if (!requests_[n].error.empty()) return results_.refuse(n, requests_[n].error);
    try {
      Request request = requests_[n].request;
      if (requests_[n].prompt) request.prompt = tokenizer_.encode(*requests_[n].prompt);
      check_room(request);
      running_[engine_.submit(request)] = {.request = n, .prompt = request.prompt};
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kOutOfMemory) throw;
      results_.refuse(n, error.what());
    }
  }

  /// A text that ends because the cache is small would be another one than with a larger cache.
  void check_room(const Request& request) const {
    const std::int64_t wanted =
        std::min(context_, std::ssize(request.prompt) + request.max_new_tokens);
    require(wanted <= cache_tokens_, ErrorCode::kBadArgument, "prompt and max_tokens",
            "at most " + std::to_string(cache_tokens_) + " tokens, the room of --cache-memory",
            wanted);
  }

  void take(const Event& event) {
    Answer& answer = running_.at(event.request);
    if (event.token) answer.tokens.push_back(*event.token);
    if (event.logprob) answer.logprobs.push_back(*event.logprob);
    answer.text += event.text;
    if (event.finish == FinishReason::kNone) return;
    finish(answer, event);
    running_.erase(event.request);
  }

  void finish(const Answer& answer, const Event& event) {
    if (event.finish == FinishReason::kError) return results_.refuse(answer.request, event.error);
    Json fields = {{"text", answer.text},
                   {"tokens", answer.tokens},
                   {"finish", name(event.finish)},
                   {"prompt_tokens", answer.prompt}};
    if (requests_[answer.request].request.logprobs) fields["logprobs"] = answer.logprobs;
    results_.answer(answer.request, fields);
  }

  std::string progress() const {
    char speed[40];
    std::snprintf(speed, sizeof speed, ", %.0f tokens/s", engine_.metrics().tokens_per_second);
    return std::to_string(results_.answers()) + " of " + std::to_string(requests_.size()) +
           " requests" + speed;
  }

  const Tokenizer tokenizer_;
  Engine engine_;
  const std::int64_t context_, cache_tokens_;
  const std::vector<BatchRequest>& requests_;
  BatchResults& results_;
  std::vector<std::size_t> waiting_;  // in the order of priority and line
  std::size_t next_ = 0;              // of waiting_
  std::map<std::int64_t, Answer> running_;
};

Json to_json(const Times& times) { return {{"mean", times.mean}, {"max", times.max}}; }

Json to_json(const EngineMetrics& metrics) {
  return {{"steps", metrics.steps},
          {"computed_tokens", metrics.computed_tokens},
          {"tokens_per_second", metrics.tokens_per_second},
          {"preemptions", metrics.preemptions},
          {"prefix_hits", metrics.prefix_hits},
          {"prefix_tokens", metrics.prefix_tokens},
          {"first_token_seconds", to_json(metrics.first_token)},
          {"between_tokens_seconds", to_json(metrics.between_tokens)}};
}

std::string summary(const BatchResults& results, std::size_t requests,
                    const EngineMetrics& metrics) {
  char line[160];
  std::snprintf(
      line, sizeof line,
      "%zu of %zu requests answered, %zu of them by errors; %lld new tokens, %.1f tokens/s\n",
      results.answers(), requests, results.errors(), static_cast<long long>(metrics.new_tokens),
      metrics.tokens_per_second);
  return line;
}

void run_batch(Options options) {
  if (options.requests.empty()) options.requests.swap(options.model);  // MODEL was left out
  if (options.requests.empty()) throw CLI::RequiredError("REQUESTS");
  std::error_code error;
  require(!std::filesystem::equivalent(options.requests, options.results, error),
          ErrorCode::kBadArgument, "--output", "another file than REQUESTS", options.results);
  const auto directory = find_model(options.model);
  const std::vector<BatchRequest> requests = read_requests(options.requests);
  BatchResults results(options.results, requests);
  const LoadedModel loaded = load_model(directory, options.types.options());
  options.engine.threads = Threads(options.threads);
  options.engine.tokenizer = loaded.tokenizer;
  BatchRun batch(loaded, options.engine, requests, results);
  catch_interrupt();
  const double seconds = seconds_of([&] { batch.run(); });
  const EngineMetrics metrics = batch.metrics();
  if (options.json)
    print(json_text({{"model", directory.string()},
                     {"requests", requests.size()},
                     {"answered", results.answers()},
                     {"errors", results.errors()},
                     {"tokens", metrics.new_tokens},
                     {"seconds", seconds},
                     {"metrics", to_json(metrics)}}));
  else
    print(summary(results, requests.size(), metrics));
  if (interrupted()) throw CLI::RuntimeError(kInterrupted);
  if (results.errors() > 0) throw CLI::RuntimeError(kFailure);
}

}  // namespace

void add_batch(CLI::App& program) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      program.add_subcommand("batch", "Continue many texts at once, from a JSONL file to another");
  add_model(command, options->model);
  command->add_option("REQUESTS", options->requests, "Requests, a JSON object a line")
      ->type_name("");
  command
      ->add_option("-o,--output", options->results,
                   "RESULTS: answers, a JSON object a line; those of an earlier run stay")
      ->required()
      ->type_name("RESULTS");
  add_types(command, options->types);
  add_threads(command, options->threads);
  command
      ->add_option("--page-size", options->engine.page_size,
                   "Tokens of a page of the KV cache, a multiple of 16")
      ->check(CLI::Validator(
          [](const std::string& text) {
            std::int64_t tokens = 0;
            const bool ok =
                CLI::detail::lexical_cast(text, tokens) && tokens > 0 && tokens % 16 == 0;
            return ok ? "" : "expected a multiple of 16, got " + text;
          },
          ""))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--cache-memory", options->engine.cache_bytes,
                   "Memory of the KV cache at most, in bytes or with a unit, as in 512MiB")
      ->transform(CLI::AsSizeValue(true).description(""))
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 50).description(""))
      ->type_name("SIZE")
      ->default_str("1GiB");
  add_json(command, options->json,
           "model, requests,\n"
           "answered and errors (those of earlier runs included), tokens (new ones), seconds;\n"
           "metrics: steps, computed_tokens, tokens_per_second, preemptions, prefix_hits,\n"
           "prefix_tokens, first_token_seconds and between_tokens_seconds, each mean and max");
  command->footer(kFooter);
  on_run(command, [options] { run_batch(*options); });
}

}  // namespace rapt::cli
