#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>

#include "base/check.h"
#include "cli/commands.h"
#include "cli/generator.h"
#include "cli/model_files.h"
#include "cli/output.h"
#include "model/mapped_file.h"
#include "rapt/error.h"

namespace rapt::cli {
namespace {

struct Options {
  std::string model, prompt, encoder_input;
  bool prompt_given = false, encoder_input_given = false;
  ModelTypes types;
  int threads = 0;
  bool json = false;
  Generator::Options text;
};

/// All of stdin, without the line break that ends its last line.
std::string read_stdin() {
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (std::size_t size; (size = std::fread(buffer.data(), 1, buffer.size(), stdin)) > 0;) {
    text.append(buffer.data(), size);
    require(text.size() <= kMostTextBytes, ErrorCode::kBadArgument, "stdin",
            "a prompt of at most " + std::to_string(kMostTextBytes) + " bytes", "more");
  }
  require(std::ferror(stdin) == 0, ErrorCode::kIo, "stdin", "a prompt that can be read",
          std::generic_category().message(errno));
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::string prompt_of(const Options& options) {
  if (options.prompt_given && options.prompt != "-") return options.prompt;
  if (!options.prompt_given && (options.encoder_input_given || isatty(STDIN_FILENO))) return "";
  return read_stdin();
}

std::optional<std::string> encoder_input_of(const Options& options) {
  if (!options.encoder_input_given) return std::nullopt;
  if (options.encoder_input != "-") return options.encoder_input;
  require(!options.prompt_given || options.prompt != "-", ErrorCode::kBadArgument, "-p",
          "a text, as --encoder-input reads stdin", "'-'");
  return read_stdin();
}

double per_second(std::size_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

nlohmann::ordered_json part(std::size_t tokens, double seconds) {
  return {
      {"tokens", tokens}, {"seconds", seconds}, {"tokens_per_second", per_second(tokens, seconds)}};
}

void print_json(const Generation& g, const std::string& model, double load_seconds) {
  const nlohmann::ordered_json object = {
      {"model", model},
      {"text", g.text},
      {"prompt_tokens", g.prompt_tokens},
      {"tokens", g.tokens},
      {"logprobs", g.logprobs},
      {"finish_reason", g.finish_reason},
      {"load", {{"seconds", load_seconds}}},
      {"prefill", part(g.prompt_tokens.size(), g.prefill_seconds)},
      {"decode", part(g.decode_tokens, g.decode_seconds)}};
  print(json_text(object));
}

void print_speed(const Generation& g) {
  std::fprintf(stderr, "prompt: %zu tokens, %.1f tokens/s; decode: %lld tokens, %.1f tokens/s\n",
               g.prompt_tokens.size(), per_second(g.prompt_tokens.size(), g.prefill_seconds),
               static_cast<long long>(g.decode_tokens),
               per_second(g.decode_tokens, g.decode_seconds));
}

void run_generate(const Options& options) {
  const auto directory = find_model(options.model);
  Generator::Options text = options.text;
  text.quiet = text.logprobs = options.json;
  text.encoder_input = encoder_input_of(options);
  const std::string prompt = prompt_of(options);
  const LoadedModel loaded = load_model(directory, options.types.options());
  catch_interrupt();
  const Generation result =
      Generator(loaded.model, loaded.tokenizer, text).run(prompt, Threads(options.threads));
  if (options.json) {
    print_json(result, directory.string(), loaded.seconds);
  } else {
    print("\n");
    print_speed(result);
  }
  if (interrupted()) throw CLI::RuntimeError(kInterrupted);
  if (result.finish_reason == std::string("context"))
    throw ContextFull("context: expected room for the whole text, got the model's " +
                      std::to_string(loaded.model.config().context()) + " tokens full after " +
                      std::to_string(result.tokens.size()) + " new ones");
}

std::string is_a_number(const std::string& text) {
  return std::isnan(std::strtod(text.c_str(), nullptr)) ? "not a number: " + text : "";
}

void add_sampler(CLI::App* command, SamplerConfig& sampler) {
  const auto add = [&](const char* name, auto& value, auto low, auto high, const char* type,
                       const char* text) {
    command->add_option(name, value, text)
        ->check(CLI::Range(low, high).description(""))
        ->check(is_a_number)  // the range lets NaN through
        ->type_name(type)
        ->capture_default_str()
        ->group("Sampling");
  };
  add("--temperature", sampler.temperature, 0.0, 1e6, "X",
      "Logits are divided by it; 0: always the most likely token");
  add("--top-k", sampler.top_k, std::int64_t{0}, std::int64_t{1} << 31, "K",
      "Draw among the K most likely tokens; 0: all");
  add("--top-p", sampler.top_p, 0.0, 1.0, "P",
      "Draw among the most likely tokens, as many as have probability P together");
  add("--min-p", sampler.min_p, 0.0, 1.0, "P",
      "Draw among tokens at least P times as likely as the likeliest");
  add("--repetition-penalty", sampler.repetition_penalty, 1e-6, 1e6, "X",
      "Makes tokens of the text so far less likely; 1: does not");
  command
      ->add_option("--seed", sampler.seed,
                   "Seed of the random numbers; the same seed gives the same text")
      ->check([](const std::string& text) {
        return text.starts_with('-') ? "expected a number from 0 on, got " + text : std::string();
      })
      ->type_name("N")
      ->capture_default_str()
      ->group("Sampling");
}

}  // namespace

void add_generate(CLI::App& program) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "generate", "Continue a text with a model, streamed as it is computed");
  add_model(command, options->model);
  CLI::Option* prompt =
      command
          ->add_option("-p,--prompt", options->prompt,
                       "The text to continue; printed first. '-', or left out where stdin is no\n"
                       "terminal: all of stdin, without its last line break")
          ->type_name("TEXT");
  CLI::Option* encoder_input =
      command
          ->add_option(
              "--encoder-input", options->encoder_input,
              "Of an encoder-decoder: the text that its encoder reads. '-': all of stdin,\n"
              "without its last line break")
          ->type_name("TEXT");
  command->add_option("-n,--tokens", options->text.new_tokens, "New tokens at most")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 31).description(""))
      ->type_name("N")
      ->capture_default_str();
  add_types(command, options->types);
  add_threads(command, options->threads);
  add_json(command, options->json,
           "model, text,\n"
           "prompt_tokens, tokens, logprobs (ln p of each new token under the model),\n"
           "finish_reason (stop, length, context, interrupted); seconds of load; tokens,\n"
           "seconds and tokens_per_second of prefill and decode");
  add_sampler(command, options->text.sampler);
  command->footer(
      "The text ends at -n tokens or at a token that ends a text. A text that needs more than the\n"
      "model's context ends there, with exit status 3. At the end stderr has the speed of prompt\n"
      "and continuation.\n"
      "\n"
      "The most likely token is taken unless --temperature is above 0. The same model, prompt and\n"
      "options give the same text on every machine, for any --threads.\n"
      "\n"
      "An encoder-decoder (T5, BART, Marian) needs --encoder-input. Its text begins with the "
      "tokens\n"
      "that config.json names, then -p, and is decoded greedily where transformers might search.\n"
      "\n"
      "Examples:\n"
      "  rapt generate -p \"Once upon a time\"\n"
      "  rapt generate models/llama -p \"Once upon a time\" -n 100 --temperature 0.8 --top-p 0.95\n"
      "  rapt generate --json < prompt.txt\n"
      "  rapt generate models/t5 --encoder-input \"translate English to German: Good morning.\"");
  on_run(command, [options, prompt, encoder_input] {
    options->prompt_given = prompt->count() > 0;
    options->encoder_input_given = encoder_input->count() > 0;
    run_generate(*options);
  });
}

}  // namespace rapt::cli
