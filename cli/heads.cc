#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/ablation.h"
#include "cli/commands.h"
#include "cli/generator.h"
#include "cli/heads_report.h"
#include "cli/model_files.h"
#include "cli/output.h"
#include "cli/syntax.h"
#include "cli/texts.h"

namespace rapt::cli {
namespace {

constexpr const char* kFooter =
    "Each file is one text, one observation, however long: it is cut into windows of N tokens "
    "that\n"
    "do not overlap. The score of a head is the mean over its rows of the weight that lies on\n"
    "\n"
    "  previous token   the token before\n"
    "  duplicate token  earlier occurrences of the present token\n"
    "  induction        tokens that followed such occurrences, and the present one where it "
    "repeats\n"
    "  sink             the first token of the window, BOS mostly\n"
    "  local            the last eight tokens, the present one among them\n"
    "  broad            (entropy, over that of equal weights)\n"
    "  sentence start   first tokens of sentences: after . ! and ?; not the first of the window\n"
    "  bracket          from a closing bracket, the token that opened it\n"
    "\n"
    "over rows that have such tokens; for sentence start, all rows of texts that have any. Chance "
    "is equal\n"
    "weights on all that a head sees. A head is named for a role where its excess over chance is "
    "above 0\n"
    "at a false discovery rate of 5% among all heads, by flips of the texts' signs, and the low "
    "end of the\n"
    "excess is at least 0.3 of what is possible. The interval is Student's, at 95%, and nearer to "
    "100% for\n"
    "heads that were chosen so. Broad is not tested: its interval's low end is at least 0.9. With "
    "too few\n"
    "texts it says how many are needed, and names none.\n"
    "\n"
    "--similarity compares heads of a layer row by row: sum of sqrt(A B), 1 for the same weights. "
    "Heads\n"
    "that are alike (0.9 and more) make a cluster; they may still say different things.\n"
    "\n"
    "--without takes heads away (their outputs are zeros) and shows what that does to the roles "
    "of\n"
    "others after them. The same figures on every machine, for any --threads.\n"
    "\n"
    "Examples:\n"
    "  rapt heads texts/*.txt\n"
    "  rapt heads models/llama texts/*.txt --without 0.0,0.1 --json";

struct Options {
  std::string model, without;
  std::vector<std::string> files;
  std::int64_t context = 0;
  ModelTypes types;
  int threads = 0;
  bool similarity = false, json = false;
};

/// Scores of every text; none of the rest after Ctrl-C.
std::vector<HeadScores> scores_of(const LoadedModel& loaded, const HeadsRun& run,
                                  const Options& options, const std::vector<HeadIndex>& without) {
  StatusLine status;
  const Threads threads(options.threads);
  std::vector<HeadScores> scores;
  for (const Text& text : run.texts) {
    if (interrupted()) throw CLI::RuntimeError(kInterrupted);
    status.show(text.file + ": " + std::to_string(scores.size() + 1) + " of " +
                std::to_string(run.texts.size()) + " texts");
    Syntax syntax = syntax_of(loaded.tokenizer, text.tokens);
    HeadScoreOptions how;
    how.context = options.context;
    how.token_class = std::move(syntax.sentence_starts);
    how.links = std::move(syntax.brackets);
    how.similarity = options.similarity && without.empty();
    for (const HeadIndex head : without) how.interventions.gate(head, 0);
    scores.push_back(named_errors(text.file, [&] {
      return head_scores(loaded.model, threads, loaded.tokenizer.beginning(), text.tokens, how);
    }));
  }
  return scores;
}

void run_heads(Options options) {
  sort_model_and_texts(options.model, options.files);
  const auto directory = find_model(options.model);
  const LoadedModel loaded = load_model(directory, options.types.options());
  HeadsRun run{directory.string(), options.without, {}, {}, {}, 0};
  std::vector<HeadIndex> without;
  if (!options.without.empty())
    without = parse_heads(options.without, loaded.model.config(), "--without");
  run.texts = read_texts(options.files, loaded.tokenizer);
  catch_interrupt();
  run.seconds = seconds_of([&] {
    run.before = scores_of(loaded, run, options, {});
    if (!without.empty()) run.after = scores_of(loaded, run, options, without);
  });
  report_heads(run, without, options.json);
}

}  // namespace

void add_heads(CLI::App& program) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "heads", "Show what heads attend to: roles, entropies, what they do to each other");
  add_model_and_texts(command, options->model, options->files);
  command
      ->add_option("--without", options->without,
                   "Take these heads away, as in 0.3,1.5, and show the others' roles again")
      ->type_name("HEADS");
  command
      ->add_option("--context", options->context,
                   "Tokens of a window, its beginning included; 0: the model's context")
      ->check(CLI::Range(std::int64_t{0}, std::numeric_limits<std::int64_t>::max()).description(""))
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--similarity", options->similarity,
                    "Show which heads of a layer attend alike; slow with many heads");
  add_types(command, options->types);
  add_threads(command, options->threads);
  add_json(
      command, options->json,
      "model, seconds; texts, each\n"
      "with file, tokens; texts_needed; findings, each with role, layer, head, texts, score,\n"
      "chance, excess (an interval), its level, p, q, named; entropy by layer and head; "
      "similarity\n"
      "by layer and two heads, or null; without; changes, each with\n"
      "role, layer, head, before, after, change_95, p, q; caveats. What cannot be concluded is\n"
      "null");
  command->footer(kFooter);
  on_run(command, [options] { run_heads(*options); });
}

}  // namespace rapt::cli
