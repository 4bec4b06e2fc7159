#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/generator.h"
#include "cli/model_files.h"
#include "cli/output.h"
#include "model/pool_heads.h"
#include "rapt/model_info.h"

namespace rapt::cli {
namespace {

struct Options {
  std::string model, output;
  std::int64_t kv_heads = 0;
  bool json = false;
};

nlohmann::ordered_json to_json(const ModelInfo& info) {
  return {{"kv_heads", info.config.num_key_value_heads},
          {"parameters", info.parameters},
          {"weights_bytes", info.weights_bytes},
          {"cache_bytes_per_token", info.cache_bytes_per_token}};
}

std::string to_table(const ModelInfo& before, const ModelInfo& after) {
  const auto line = [](const char* name, auto from, auto to) {
    return name + std::to_string(from) + " -> " + std::to_string(to) + "\n";
  };
  return line("key/value heads          ", before.config.num_key_value_heads,
              after.config.num_key_value_heads) +
         line("parameters               ", before.parameters, after.parameters) +
         line("bytes of the weights     ", before.weights_bytes, after.weights_bytes) +
         line("bytes of KV cache/token  ", before.cache_bytes_per_token,
              after.cache_bytes_per_token);
}

void convert(const std::string& model, const Options& options) {
  StatusLine status;
  catch_interrupt();
  pool_kv_heads(model, options.output, options.kv_heads,
                [&](std::int64_t done, std::int64_t total) {
                  if (interrupted()) throw CLI::RuntimeError(kInterrupted);
                  status.show("converting: " + std::to_string(done >> 20) + " of " +
                              std::to_string(total >> 20) + " MiB");
                });
}

void run_convert(const Options& options) {
  const std::string model = find_model(options.model).string();
  const double seconds = seconds_of([&] { convert(model, options); });
  const ModelInfo before = ModelInfo::read(model), after = ModelInfo::read(options.output);
  print(options.json ? json_text({{"model", model},
                                  {"output", options.output},
                                  {"seconds", seconds},
                                  {"before", to_json(before)},
                                  {"after", to_json(after)}},
                                 2)
                     : to_table(before, after));
}

}  // namespace

void add_convert(CLI::App& program) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "convert", "Write a model with fewer key/value heads: grouped-query from multi-head");
  add_model(command, options->model);
  command->add_option("-o,--output", options->output, "The new directory")
      ->required()
      ->check(CLI::Validator(
          [](const std::string& name) {
            return name.empty() ? "expected a directory, got an empty name" : "";
          },
          ""))
      ->type_name("DIR");
  command
      ->add_option("--kv-heads", options->kv_heads,
                   "Key/value heads of the new model, a divisor of the old one's")
      ->required()
      ->check(CLI::Range(std::int64_t{1}, std::numeric_limits<std::int64_t>::max()).description(""))
      ->type_name("N");
  add_json(command, options->json,
           "model, output, seconds; before and after,\n"
           "each with kv_heads, parameters, weights_bytes, cache_bytes_per_token");
  command->footer(
      "Keys and values of the heads that become one are averaged: rows of k_proj and v_proj, in\n"
      "f64, rounded once to the type that they are stored in. All else is copied, bit for bit.\n"
      "The result predicts worse until it is trained a little more (arXiv:2305.13245): compare\n"
      "both by rapt eval. DIR appears when all is written; what exists is never replaced.\n"
      "\n"
      "Examples:\n"
      "  rapt convert --kv-heads 1 -o multi-query\n"
      "  rapt convert models/llama --kv-heads 8 -o models/llama-gqa\n"
      "  rapt eval models/llama-gqa book.txt");
  on_run(command, [options] { run_convert(*options); });
}

}  // namespace rapt::cli
