#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "rapt/engine.h"
#include "rapt/model.h"
#include "rapt/sampler.h"
#include "rapt/threads.h"
#include "rapt/tokenizer.h"

namespace rapt::cli {

/// Thrown where a text needs more tokens than the model's context has.
struct ContextFull : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What a run gave, and how long its parts took.
struct Generation {
  std::vector<std::int32_t> prompt_tokens, tokens;
  std::vector<double> logprobs;  ///< ln p of `tokens` under the model, if wanted
  std::string text;
  const char* finish_reason = "length";
  double prefill_seconds = 0, decode_seconds = 0;
  std::int64_t decode_tokens = 0;  ///< steps of one token
};

/// Streams a prompt and its continuation, token by token; of an encoder-decoder, the text that its
/// decoder makes of the encoder's input.
class Generator {
 public:
  struct Options {
    std::int64_t new_tokens = 256;
    bool quiet = false;  ///< do not print the text
    bool logprobs = false;
    SamplerConfig sampler;
    std::optional<std::string> encoder_input;
  };

  Generator(const Model& model, const Tokenizer& tokenizer, const Options& options)
      : model_(model), config_(model_.config()), tokenizer_(tokenizer), options_(options) {}

  /// Ends at `new_tokens`, at a token that ends a text, at a full context ("context"), or at Ctrl-C
  /// ("interrupted"); finish_reason says which.
  /// @throws ContextFull if the prompt alone is longer than the context; Error, too if there is an
  ///         encoder's input and no encoder, or an encoder and no input.
  Generation run(const std::string& prompt, const Threads& threads);

 private:
  void run_engine(const Threads& threads);
  void run_encoder_decoder(const Threads& threads);
  Event next(const ConstTensor& logits, const Sampler& sampler,
             std::span<const std::int32_t> context) const;
  FinishReason finish_of(std::int32_t token, std::int64_t length) const;
  std::int64_t capacity() const;  ///< tokens that the cache is made for
  void take(const Event& event);
  void show(const std::string& text);

  const Model model_;
  const ModelConfig& config_;
  const Tokenizer tokenizer_;
  const Options options_;
  Generation out_;
};

/// From now on Ctrl-C or SIGTERM ends the text after the token in work; a second one ends the program
/// at once.
void catch_interrupt();
bool interrupted();

}  // namespace rapt::cli
