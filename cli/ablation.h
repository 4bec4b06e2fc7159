#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/lines_file.h"
#include "cli/model_files.h"
#include "cli/texts.h"
#include "rapt/evaluate.h"
#include "rapt/head_interventions.h"

namespace rapt::cli {

/// What becomes of a head's output.
enum class AblationMethod {
  kZero,      ///< zeros
  kMean,      ///< its mean over all texts
  kResample,  ///< its output in another text, at the same position
  kGate,      ///< no ablation: the derivative of the loss by a factor of it, at 1
};

const char* name(AblationMethod method);

/// Heads that are ablated together.
struct AblationUnit {
  std::string name;
  std::vector<HeadIndex> heads;
  std::int64_t control_of = -1;  ///< the unit that these random heads stand beside
};

/// Every query head of a model, "layer.head"; or every key/value head's, "layer.kvN".
std::vector<AblationUnit> all_heads(const ModelConfig& config);
std::vector<AblationUnit> all_groups(const ModelConfig& config);

/// The heads that "0.3,1.5" names.
/// @throws Error{kBadArgument} starting with `option`.
std::vector<HeadIndex> parse_heads(const std::string& list, const ModelConfig& config,
                                   const std::string& option);

/// `count` sets of as many random heads as each unit has, none of them its own, after the units.
/// @throws Error{kBadArgument} if a unit has more than half of all heads.
void add_controls(std::vector<AblationUnit>& units, std::int64_t count, const ModelConfig& config);

/// What is measured, on which texts.
struct AblationPlan {
  AblationMethod method = AblationMethod::kZero;
  std::vector<AblationUnit> units;
  bool groups = false;  ///< whether units are those of key/value heads
  std::vector<Text> texts;
  std::int64_t context = 0;  ///< tokens of a window, with what begins every text
};

/// What one text gave.
struct TextLosses {
  std::int64_t tokens = 0;                   ///< scored ones
  std::optional<double> plain;               ///< nats, without ablation
  std::vector<std::optional<double>> units;  ///< nats with the unit ablated, or its derivative
};

/// Measures text after text, unit after unit, and keeps what an earlier run has measured.
///
/// A text is cut into windows of `context` tokens that do not overlap. Its figures are sums over
/// all of them: it is one observation.
class Ablation {
 public:
  /// @param  results  a file to keep results in; empty: none
  /// @param  model    what it says of model and types, for runs that go on
  /// @pre    loaded and plan outlive it.
  /// @throws Error{kBadArgument} naming an option; as LinesFile, also if the file has results of
  ///         other options or texts.
  Ablation(const LoadedModel& loaded, const AblationPlan& plan, int threads,
           const std::string& results, const nlohmann::ordered_json& model);

  /// Ends when all is measured, or after the run in work at Ctrl-C. Where there are old results it
  /// runs the first text again.
  /// @throws Error naming the text and the unit of a run that failed; Error{kBadFile} if the model
  ///         has another loss than its old results have.
  void run();

  const std::vector<TextLosses>& losses() const { return losses_; }

 private:
  void take(const nlohmann::json& line, const std::string& where);
  void keep(std::size_t text, const std::string& unit, double nats);
  double nats_of(const Text& text, const HeadInterventions& interventions) const;
  double measure(std::size_t text, const AblationUnit& unit, const HeadOutputs& others) const;
  std::vector<std::int32_t> other_tokens(std::size_t text) const;
  HeadOutputs outputs_for(std::size_t text);
  void require_same_weights() const;
  std::string progress(std::size_t text, const AblationUnit* unit) const;

  const LoadedModel& loaded_;
  const AblationPlan& plan_;
  const Threads threads_;
  const std::string results_;
  const nlohmann::ordered_json header_;
  std::vector<TextLosses> losses_;
  std::optional<HeadOutputs> means_;
  std::int64_t done_ = 0;  // of losses_, plain ones included
  bool has_header_ = false;
  std::optional<LinesFile> file_;
};

}  // namespace rapt::cli
