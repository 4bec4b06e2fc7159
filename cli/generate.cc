#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/clock.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "rapt/error.h"
#include "rapt/sampler.h"
#include "rapt/session.h"
#include "rapt/tokenizer.h"

namespace rapt::cli {
namespace {

constexpr int kInterrupted = 130;  // 128 + SIGINT, as shells have it

struct Options {
  std::string model, prompt;
  std::int64_t new_tokens = 256;
  int threads = 0;
  bool json = false;
};

/// What a run gave, and how long its parts took.
struct Generation {
  std::vector<std::int32_t> prompt_tokens, tokens;
  std::vector<double> logprobs;
  std::string text;
  const char* finish_reason = "length";
  double load_seconds = 0, prefill_seconds = 0, decode_seconds = 0;
  std::int64_t decode_tokens = 0;  // runs of one token
};

volatile std::sig_atomic_t interrupted = 0;

/// Ctrl-C ends the text after the token in work; a second one ends the program at once.
void catch_interrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
}

/// A line for people who wait, gone when the model is there.
class LoadingLine {
 public:
  explicit LoadingLine(const std::string& model) {
    if (shown_) std::fprintf(stderr, "loading %s ...", model.c_str());
  }
  ~LoadingLine() {
    if (shown_) std::fprintf(stderr, "\r\033[K");
  }

 private:
  const bool shown_ = isatty(STDERR_FILENO) != 0;
};

/// Streams the prompt and its continuation, token by token.
class Generator {
 public:
  Generator(const Options& options, const Model& model, const Tokenizer& tokenizer,
            Generation& result)
      : options_(options), config_(model.config()), model_(model), text_(tokenizer), out_(result) {
    out_.prompt_tokens = tokenizer.encode(options.prompt);
  }

  void run() {
    const std::int64_t prompt = std::ssize(out_.prompt_tokens);
    const std::int64_t context = config_.max_position_embeddings;
    if (prompt > context)
      throw Error(ErrorCode::kBadArgument, "--prompt: expected at most " + std::to_string(context) +
                                               " tokens, the model's context, got " +
                                               std::to_string(prompt));
    Session session(model_, Threads(options_.threads),
                    std::min(context, prompt + options_.new_tokens));
    for (const std::int32_t token : out_.prompt_tokens) show(text_.push(token));
    ConstTensor logits;
    out_.prefill_seconds = bench::seconds_of([&] { logits = session.prefill(out_.prompt_tokens); });
    out_.decode_seconds = bench::seconds_of([&] {
      while (take(logits) && has_room(session)) logits = session.decode(out_.tokens.back());
    });
    out_.decode_tokens = session.length() - prompt;
    show(text_.finish());
  }

 private:
  // Takes the next token; returns whether another is wanted.
  bool take(const ConstTensor& logits) {
    if (interrupted != 0) return stop("interrupted");
    if (options_.new_tokens == 0) return false;
    const std::int32_t token = greedy(logits);
    out_.tokens.push_back(token);
    out_.logprobs.push_back(log_probability(logits, token));
    if (config_.ends_text(token)) return stop("stop");
    show(text_.push(token));
    return std::ssize(out_.tokens) < options_.new_tokens;
  }

  bool has_room(const Session& session) {
    return session.length() < session.capacity() || stop("context");
  }

  bool stop(const char* reason) {
    out_.finish_reason = reason;
    return false;
  }

  void show(const std::string& text) {
    out_.text += text;
    if (!options_.json && !text.empty()) print(text);
  }

  const Options& options_;
  const ModelConfig& config_;
  const Model& model_;
  TextStream text_;
  Generation& out_;
};

void print_json(const Generation& g) {
  const nlohmann::ordered_json object = {
      {"text", g.text},
      {"prompt_tokens", g.prompt_tokens},
      {"tokens", g.tokens},
      {"logprobs", g.logprobs},
      {"finish_reason", g.finish_reason},
      {"load", {{"seconds", g.load_seconds}}},
      {"prefill", {{"tokens", g.prompt_tokens.size()}, {"seconds", g.prefill_seconds}}},
      {"decode", {{"tokens", g.decode_tokens}, {"seconds", g.decode_seconds}}}};
  print(object.dump() + "\n");
}

void check_vocabulary(const Model& model, const Tokenizer& tokenizer) {
  if (tokenizer.vocab_size() > model.config().vocab_size)
    throw Error(ErrorCode::kBadFile,
                "tokenizer.json: expected at most vocab_size of config.json (" +
                    std::to_string(model.config().vocab_size) + ") tokens, got " +
                    std::to_string(tokenizer.vocab_size()));
}

void run_generate(const Options& options) {
  Generation result;
  std::optional<Tokenizer> tokenizer;
  std::optional<Model> model;
  result.load_seconds = bench::seconds_of([&] {
    const LoadingLine line(options.model);
    tokenizer = Tokenizer::load(std::filesystem::path(options.model) / "tokenizer.json");
    model = Model::load(options.model);
    check_vocabulary(*model, *tokenizer);
  });
  catch_interrupt();
  Generator(options, *model, *tokenizer, result).run();
  if (options.json)
    print_json(result);
  else
    print("\n");
  if (interrupted != 0) throw CLI::RuntimeError(kInterrupted);
}

}  // namespace

void add_generate(CLI::App& program) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "generate", "Continue a text with a model: greedy decoding, streamed as it is computed");
  command
      ->add_option("MODEL", options->model,
                   "Hugging Face directory: config.json, model.safetensors, tokenizer.json")
      ->required()
      ->type_name("DIR");
  command->add_option("-p,--prompt", options->prompt, "The text to continue; printed first");
  command->add_option("-n,--tokens", options->new_tokens, "New tokens at most")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 31).description(""))
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Worker threads, 0: one for each core")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("T")
      ->capture_default_str();
  command->add_flag(
      "--json", options->json,
      "Print one JSON object at the end instead: text, prompt_tokens, tokens, logprobs\n"
      "(ln p of each new token), finish_reason (stop, length, context, interrupted),\n"
      "and the tokens and seconds of load, prefill and decode");
  command->footer(
      "The text ends at -n tokens, at a token that ends a text, or where the model's context is "
      "full.\n"
      "The same model, prompt and -n give the same text on every machine, for any --threads.\n"
      "Example: rapt generate models/llama -p \"Once upon a time\" -n 100");
  command->callback([options] { run_generate(*options); });
}

}  // namespace rapt::cli
