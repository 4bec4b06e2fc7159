#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "cli/audit_report.h"
#include "cli/commands.h"
#include "cli/model_files.h"
#include "cli/output.h"
#include "model/mapped_file.h"
#include "model/utf8.h"

namespace rapt::cli {
namespace {

constexpr const char* kFooter =
    "Three layers of checks:\n"
    "\n"
    "  weights   In every layer and head, with the q, k and v that the text gives there: the "
    "weight\n"
    "            of a key that the configuration hides is exactly 0, every other key is seen,\n"
    "            weights sum to 1.\n"
    "  poison    Hidden keys and values become random, huge, infinite, NaN: no bit changes.\n"
    "  prefixes  The text after a cut becomes another, or none: the logits before the cut keep "
    "their\n"
    "            bits.\n"
    "\n"
    "The first two look at --queries rows of each head, at edges of tiles and chunks first. "
    "Layers,\n"
    "heads, queries and keys are counted from 0. A leak makes the exit status 4; the first one is\n"
    "named, and for each layer the checks that found any.\n"
    "\n"
    "Examples:\n"
    "  rapt audit\n"
    "  rapt audit models/llama -f book.txt --queries 16 --json";

// One chunk of 512 keys, and the next one begun.
constexpr std::size_t kBuiltInTokens = 560;

struct Options {
  std::string model;
  std::optional<std::string> prompt, file;
  std::int64_t queries = 64;
  int threads = 0;
  bool json = false;
};

std::string built_in_text() {
  std::string text;
  for (int n = 1; n <= 60; ++n)
    text += "Once upon a time there was a fox that had " + std::to_string(n) +
            " friends. One day they all went to the park.\n";
  return text;
}

/// The tokens to audit; `audited` learns what they are.
std::vector<std::int32_t> tokens_of(const Options& options, const LoadedModel& loaded,
                                    AuditedText& audited) {
  const bool built_in = !options.prompt && !options.file;
  const std::string text = built_in       ? built_in_text()
                           : options.file ? read_text(*options.file)
                                          : *options.prompt;
  const std::string source = built_in ? "built-in" : options.file.value_or("prompt");
  const std::size_t valid = utf8_valid_bytes(text);
  require(valid == text.size(), ErrorCode::kBadFile, source, "UTF-8",
          "another byte at " + std::to_string(valid));
  std::vector<std::int32_t> tokens = loaded.tokenizer.encode(text);
  if (built_in && tokens.size() > kBuiltInTokens) tokens.resize(kBuiltInTokens);
  const auto all = tokens.size(), most = static_cast<std::size_t>(loaded.model.config().context());
  if (all > most) tokens.resize(most);
  require(tokens.size() >= 2, ErrorCode::kBadArgument, source,
          "at least two tokens within the model's context (" + std::to_string(most) + ")",
          tokens.size());
  audited.tokens = std::ssize(tokens);
  audited.text = source + (all > most ? ", the first " + std::to_string(most) + " of " : ", ") +
                 std::to_string(all) + " tokens";
  return tokens;
}

void run_audit(const Options& options) {
  const auto directory = find_model(options.model);
  const LoadedModel loaded = load_model(directory);
  AuditedText audited;
  audited.model = directory.string();
  const std::vector<std::int32_t> tokens = tokens_of(options, loaded, audited);
  ModelAudit audit;
  audited.seconds = seconds_of([&] {
    StatusLine status;
    ModelAuditOptions how;
    how.attention.queries = options.queries;
    how.attention.row_sum_tolerance = 0x1p-14;  // f32
    how.progress = [&](const std::string& part) { status.show("audit: " + part); };
    audit = audit_model(loaded.model, Threads(options.threads), tokens, how);
  });
  report_audit(audited, audit, options.json);
}

}  // namespace

void add_audit(CLI::App& program) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "audit", "Check that nothing a model's mask hides reaches its attention or its logits");
  add_model(command, options->model);
  CLI::Option* prompt =
      command
          ->add_option("-p,--prompt", options->prompt,
                       "The text to run the model on; left out: a built-in one of 560 tokens.\n"
                       "Texts are cut at the model's context")
          ->type_name("TEXT");
  command->add_option("-f,--file", options->file, "The same from a file in UTF-8")
      ->type_name("FILE")
      ->excludes(prompt);
  command
      ->add_option("--queries", options->queries,
                   "Rows of each head and block of 512 tokens to audit")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30).description(""))
      ->type_name("N")
      ->capture_default_str();
  add_threads(command, options->threads);
  add_json(command, options->json,
           "model, tokens, seconds,\n"
           "passed; first (null, or a finding: check, layer, sequence, head, query, key,\n"
           "key_sequence, kv_head, expected, found; -1 where there is none); layers, each with\n"
           "layer, queries, expected_keys, found_keys, hidden_mass, row_sum_error, findings;\n"
           "prefixes with cuts, findings");
  command->footer(kFooter);
  on_run(command, [options] { run_audit(*options); });
}

}  // namespace rapt::cli
