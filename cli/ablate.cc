#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "cli/ablation.h"
#include "cli/ablation_report.h"
#include "cli/commands.h"
#include "cli/generator.h"
#include "cli/model_files.h"
#include "cli/texts.h"

namespace rapt::cli {
namespace {

constexpr const char* kFooter =
    "Each file is one text, one observation, however long: it is cut into windows of N tokens "
    "that\n"
    "do not overlap. A unit is a query head, LAYER.HEAD counted from 0; with --groups the query "
    "heads\n"
    "of a key/value head; or the heads of each --heads. Its outputs, before the output "
    "projection, become\n"
    "\n"
    "  zero      zeros\n"
    "  mean      their mean over all tokens of all texts, those that begin a text among them\n"
    "  resample  those of the next text, at the same position\n"
    "  gate      no ablation: the derivative of the loss by a factor of them, at 1, by central\n"
    "            differences; importance is the mean of its size over texts\n"
    "\n"
    "at every position, the first one of a window too, where a sink is.\n"
    "\n"
    "  nats/token    what the loss becomes, less what it is without ablation: the mean over texts\n"
    "  95% interval  of the mean, or of the importance; by 10,000 resamples of the texts\n"
    "  q             by flips of the texts' signs (those of the derivatives, of gates), corrected\n"
    "                for the number of units (Benjamini and Hochberg): those of q up to 0.05 hold\n"
    "                5% of false findings on average\n"
    "  unused        the whole interval is within 0.01 nats/token of none\n"
    "  controls      beside --heads: sets of as many random other heads\n"
    "\n"
    "With fewer texts than can tell one unit from chance it says how many are needed, and "
    "concludes\n"
    "nothing. The same figures on every machine, for any --threads.\n"
    "\n"
    "With -o every run of the model is kept in RESULTS, a JSON object a line; what an earlier "
    "run, interrupted\n"
    "or killed, has left there is not measured again, but for the first text's loss: it tells "
    "whether the\n"
    "weights are the same.\n"
    "\n"
    "Examples:\n"
    "  rapt ablate texts/*.txt\n"
    "  rapt ablate models/llama texts/*.txt --method mean --heads 0.1,0.2 -o results.jsonl";

struct Options {
  std::string model;
  std::vector<std::string> files, sets;
  std::string method = "zero", results;
  bool groups = false;
  std::int64_t controls = 20, context = 0;
  ModelTypes types;
  int threads = 0;
  bool json = false;
};

AblationMethod method_of(const std::string& name_) {
  for (const AblationMethod method :
       {AblationMethod::kMean, AblationMethod::kResample, AblationMethod::kGate})
    if (name_ == name(method)) return method;
  return AblationMethod::kZero;
}

std::vector<AblationUnit> units_of(const Options& options, const ModelConfig& config) {
  if (options.groups) return all_groups(config);
  if (options.sets.empty()) return all_heads(config);
  std::vector<AblationUnit> units;
  for (const std::string& set : options.sets) {
    require(std::ranges::find(units, set, &AblationUnit::name) == units.end(),
            ErrorCode::kBadArgument, "--heads", "different sets", set + " twice");
    units.push_back({set, parse_heads(set, config, "--heads")});
  }
  add_controls(units, options.controls, config);
  return units;
}

void run_ablate(Options options) {
  sort_model_and_texts(options.model, options.files);
  const auto directory = find_model(options.model);
  const LoadedModel loaded = load_model(directory, options.types.options());
  AblationPlan plan;
  plan.method = method_of(options.method);
  plan.groups = options.groups;
  plan.units = units_of(options, loaded.model.config());
  plan.context = options.context == 0 ? loaded.model.config().context() : options.context;
  plan.texts = read_texts(options.files, loaded.tokenizer);
  Ablation ablation(loaded, plan, options.threads, options.results,
                    {{"directory", directory.string()},
                     {"dtype", options.types.dtype},
                     {"weights", options.types.weights},
                     {"cache", options.types.cache}});
  catch_interrupt();
  const double seconds = seconds_of([&] { ablation.run(); });
  if (interrupted()) throw CLI::RuntimeError(kInterrupted);
  report_ablation(directory.string(), plan, ablation.losses(), seconds, options.json);
}

}  // namespace

void add_ablate(CLI::App& program) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "ablate", "Measure what heads are worth: the loss on texts without them");
  add_model_and_texts(command, options->model, options->files);
  command
      ->add_option("--method", options->method,
                   "What becomes of a head's output: zero, mean, resample; or gate")
      ->check(CLI::Validator(
          [](const std::string& given) {
            const bool is_one = given == name(method_of(given));
            return is_one ? "" : "expected zero|mean|resample|gate, got '" + given + "'";
          },
          ""))
      ->type_name("METHOD")
      ->capture_default_str();
  CLI::Option* groups = command->add_flag("--groups", options->groups,
                                          "All query heads of a key/value head at a time");
  command
      ->add_option("--heads", options->sets,
                   "These heads at a time, as in 0.3,1.5; given again: another set")
      ->type_name("HEADS")
      ->excludes(groups)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--controls", options->controls, "Random sets beside each of --heads")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1000}).description(""))
      ->type_name("K")
      ->capture_default_str();
  command
      ->add_option("--context", options->context,
                   "Tokens of a window, its beginning included; 0: the model's context")
      ->check(CLI::Range(std::int64_t{0}, std::numeric_limits<std::int64_t>::max()).description(""))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("-o,--output", options->results,
                   "RESULTS: every measurement, a JSON object a line; those of an earlier run stay")
      ->type_name("RESULTS");
  add_types(command, options->types);
  add_threads(command, options->threads);
  add_json(command, options->json,
           "model, method, context,\n"
           "seconds; texts, each with file, tokens (scored), nats_per_token; texts_needed,\n"
           "concludes; units, each with unit, heads (layer, head), nats_per_token and its 95%\n"
           "interval, p, q, unused, texts (a number each), controls if any, importance of gates;\n"
           "split_half, caveats. What cannot be concluded is null");
  command->footer(kFooter);
  on_run(command, [options] { run_ablate(*options); });
}

}  // namespace rapt::cli
