#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/elementary.h"
#include "cli/commands.h"
#include "cli/model_files.h"
#include "cli/output.h"
#include "cli/texts.h"
#include "rapt/evaluate.h"

namespace rapt::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFooter =
    "A text is cut into windows of N tokens, S apart. Each begins with the tokens that the\n"
    "tokenizer puts before a text (BOS); in the first all text tokens are scored, in the others\n"
    "the last S, which no window before held. A token's loss is -ln p given the window before "
    "it.\n"
    "\n"
    "  nats/token    sum of the losses / tokens scored\n"
    "  bits/byte     sum of the losses / ln 2 / bytes of the file: comparable between "
    "tokenizers\n"
    "  perplexity    e^(nats/token)\n"
    "  95% interval  of nats/token, by 2000 resamples of the windows with a fixed seed; none\n"
    "                where there is one window\n"
    "  whole         total nats over total tokens and bytes, and the windows, of all files\n"
    "\n"
    "A tokenizer without BOS leaves the first token of a file unscored. Of an encoder-decoder\n"
    "each window begins with the model's decoder start tokens, and the losses are given "
    "--encoder-input.\n"
    "The same figures on every machine, for any --threads.\n"
    "\n"
    "Examples:\n"
    "  rapt eval book.txt\n"
    "  rapt eval models/llama a.txt b.txt --context 512 --stride 128 --json";

struct Options {
  std::string model;
  std::vector<std::string> files;
  std::optional<std::string> encoder_input;
  std::int64_t context = 0, stride = 0;
  ModelTypes types;
  int threads = 0;
  bool json = false;
};

/// Sums over a file, or over all of them.
struct Score {
  std::string name;
  std::size_t bytes = 0;
  std::int64_t tokens = 0;  // scored ones
  double nats = 0;
  std::vector<WindowLoss> windows;

  double nats_per_token() const { return nats / static_cast<double>(tokens); }
  double bits_per_byte() const {
    return nats / (elementary::log(2.0) * static_cast<double>(bytes));
  }
  double perplexity() const { return elementary::exp(nats_per_token()); }

  /// Of nats a token; none where there is one window.
  std::optional<Interval> interval() const {
    if (windows.size() < 2) return {};
    return bootstrap_interval(windows);
  }

  void add(const Score& other) {
    bytes += other.bytes;
    tokens += other.tokens;
    nats += other.nats;
    windows.insert(windows.end(), other.windows.begin(), other.windows.end());
  }
};

Score score(const Text& text, const Evaluation& evaluation) {
  return {text.file, text.bytes, std::ssize(evaluation.nats), evaluation.total_nats(),
          evaluation.windows};
}

Json to_json(const Score& score) {
  Json interval;
  if (const auto found = score.interval()) interval = {found->low, found->high};
  return {{"tokens", score.tokens},
          {"bytes", score.bytes},
          {"windows", score.windows.size()},
          {"nats", score.nats},
          {"nats_per_token", score.nats_per_token()},
          {"nats_per_token_95", interval},
          {"bits_per_byte", score.bits_per_byte()},
          {"perplexity", score.perplexity()}};
}

std::string padded(std::string name, std::size_t width) {
  name.resize(std::max(width, name.size()), ' ');
  return name;
}

std::string to_line(const Score& score, std::size_t name_width) {
  char interval[48] = "", line[160];
  if (const auto found = score.interval())
    std::snprintf(interval, sizeof interval, "%.4f to %.4f", found->low, found->high);
  std::snprintf(line, sizeof line, " %10lld %11zu %11.4f  %-18s %9.4f %11.6g\n",
                static_cast<long long>(score.tokens), score.bytes, score.nats_per_token(), interval,
                score.bits_per_byte(), score.perplexity());
  return padded(score.name, name_width) + line;
}

/// Evaluates text after text; prints as it goes, or one object at the end.
class Evaluator {
 public:
  Evaluator(const Options& options, const LoadedModel& loaded)
      : options_(options), loaded_(loaded), threads_(options.threads) {}

  void run(const std::string& model) {
    std::vector<Text> texts;
    for (const std::string& file : options_.files)
      texts.push_back(read_tokens(file, loaded_.tokenizer));
    for (const Text& text : texts) name_width_ = std::max(name_width_, text.file.size());
    Score whole;
    whole.name = "whole";
    Json files = Json::array();
    Evaluation last;
    const double seconds = seconds_of([&] {
      for (const Text& text : texts) {
        last = evaluate(text);
        const Score one = score(text, last);
        whole.add(one);
        files.push_back({{"file", text.file}});
        files.back().update(to_json(one));
        if (files.size() == 1) show_head(last);
        show(one);
      }
    });
    if (texts.size() > 1) show(whole);
    if (options_.json)
      print(json_text({{"model", model},
                       {"context", last.context},
                       {"stride", last.stride},
                       {"seconds", seconds},
                       {"files", files},
                       {"whole", to_json(whole)}},
                      2));
  }

 private:
  Evaluation evaluate(const Text& text) const {
    StatusLine status;
    const auto count = std::to_string(text.tokens.size());
    EvaluationOptions how{.context = options_.context, .stride = options_.stride, .progress = {}};
    how.progress = [&](std::int64_t done) {
      status.show(text.file + ": " + std::to_string(done) + " of " + count + " tokens");
    };
    if (options_.encoder_input)
      how.encoder_input = loaded_.tokenizer.encode(*options_.encoder_input);
    return rapt::evaluate(loaded_.model, threads_, loaded_.tokenizer.beginning(), text.tokens, how);
  }

  void show_head(const Evaluation& evaluation) const {
    if (options_.json) return;
    char columns[160];
    std::snprintf(columns, sizeof columns, " %10s %11s %11s  %-18s %9s %11s\n", "tokens", "bytes",
                  "nats/token", "95% interval", "bits/byte", "perplexity");
    print("context " + std::to_string(evaluation.context) + " tokens, stride " +
          std::to_string(evaluation.stride) + "\n\n" + padded("file", name_width_) + columns);
  }

  void show(const Score& score) const {
    if (!options_.json) print(to_line(score, name_width_));
  }

  const Options& options_;
  const LoadedModel& loaded_;
  const Threads threads_;
  std::size_t name_width_ = 5;  // of "whole"
};

void run_eval(Options options) {
  sort_model_and_texts(options.model, options.files);
  const auto directory = find_model(options.model);
  const LoadedModel loaded = load_model(directory, options.types.options());
  Evaluator(options, loaded).run(directory.string());
}

}  // namespace

void add_eval(CLI::App& program) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "eval", "Measure how well a model predicts texts: nats a token, bits a byte, perplexity");
  add_model_and_texts(command, options->model, options->files);
  const CLI::Validator count =
      CLI::Range(std::int64_t{0}, std::numeric_limits<std::int64_t>::max()).description("");
  command
      ->add_option("--context", options->context,
                   "Tokens of a window, its beginning included; 0: the model's context")
      ->check(count)
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--stride", options->stride,
                   "Tokens from one window to the next; 0: half of --context")
      ->check(count)
      ->type_name("S")
      ->capture_default_str();
  command
      ->add_option("--encoder-input", options->encoder_input,
                   "Of an encoder-decoder: the text that its encoder reads, the same for all files")
      ->type_name("TEXT");
  add_types(command, options->types);
  add_threads(command, options->threads);
  add_json(command, options->json,
           "model, context, stride,\n"
           "seconds; files and whole, each with tokens (scored), bytes, windows, nats,\n"
           "nats_per_token, nats_per_token_95 (low, high), bits_per_byte, perplexity");
  command->footer(kFooter);
  on_run(command, [options] { run_eval(*options); });
}

}  // namespace rapt::cli
