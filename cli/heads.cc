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
#include "rapt/head_copying.h"

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
    "Heads of a layer are compared row by row: sum of sqrt(A B), 1 for the same weights. Two are "
    "alike\n"
    "where the low end of the interval of that is 0.9 or more, corrected for the number of pairs; "
    "a "
    "cluster\n"
    "is redundant as far as weights go, and may still say different things. Explained is what the "
    "two least\n"
    "alike would have with their own shares on the first token, and equal weights elsewhere.\n"
    "\n"
    "--marks takes other tokens than those of sentence starts and brackets: a JSON object a line, "
    "with the\n"
    "file of a text, token_class (0 or 1) and links (a token, from 0, or -1), a number for each "
    "token.\n"
    "\n"
    "--copying shows, of the weights alone, sum eig / sum |eig| of each head's way from tokens to "
    "logits:\n"
    "1 makes the token likelier that it attends to, -1 unlikelier, random weights are near 0.\n"
    "\n"
    "--without takes heads away (their outputs are zeros) and shows what that does to the roles "
    "of\n"
    "others after them. The same figures on every machine, for any --threads.\n"
    "\n"
    "Examples:\n"
    "  rapt heads texts/*.txt\n"
    "  rapt heads models/llama texts/*.txt --without 0.0,0.1 --json";

struct Options {
  std::string model, without, marks;
  std::vector<std::string> files;
  std::int64_t context = 0;
  ModelTypes types;
  int threads = 0;
  bool copying = false, json = false;
};

/// Scores of every text; none of the rest after Ctrl-C.
std::vector<HeadScores> scores_of(const LoadedModel& loaded, const HeadsRun& run,
                                  const Options& options, const std::vector<Syntax>& syntax,
                                  const std::vector<HeadIndex>& without) {
  StatusLine status;
  const Threads threads(options.threads);
  std::vector<HeadScores> scores;
  for (const Text& text : run.texts) {
    if (interrupted()) throw CLI::RuntimeError(kInterrupted);
    status.show(text.file + ": " + std::to_string(scores.size() + 1) + " of " +
                std::to_string(run.texts.size()) + " texts");
    HeadScoreOptions how;
    how.context = options.context;
    how.token_class = syntax[scores.size()].sentence_starts;
    how.links = syntax[scores.size()].brackets;
    how.similarity = without.empty();
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
  HeadsRun run{directory.string(), options.without};
  std::vector<HeadIndex> without;
  if (!options.without.empty())
    without = parse_heads(options.without, loaded.model.config(), "--without");
  run.texts = read_texts(options.files, loaded.tokenizer);
  std::vector<Syntax> syntax;
  for (const Text& text : run.texts) syntax.push_back(syntax_of(loaded.tokenizer, text.tokens));
  if (!options.marks.empty()) read_marks(options.marks, run.texts, syntax);
  catch_interrupt();
  run.seconds = seconds_of([&] {
    run.before = scores_of(loaded, run, options, syntax, {});
    if (!without.empty()) run.after = scores_of(loaded, run, options, syntax, without);
    if (options.copying) run.copying = copying_scores(directory);
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
  command
      ->add_option(
          "--marks", options->marks,
          "MARKS: which tokens are of sentence start's class, and which are linked for bracket")
      ->type_name("MARKS");
  command->add_flag(
      "--copying", options->copying,
      "Show which heads' weights copy what they attend to; slow for large vocabularies");
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
