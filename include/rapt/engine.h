#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rapt/dtype.h"
#include "rapt/model.h"
#include "rapt/sampler.h"
#include "rapt/threads.h"
#include "rapt/tokenizer.h"

namespace rapt {

struct EngineConfig {
  Threads threads;
  std::int64_t page_size = 64;  ///< tokens of a cache page, a multiple of 16
  std::int64_t pages = 0;       ///< of the cache at most; 0: as many as cache_bytes holds
  std::size_t cache_bytes = std::size_t{1} << 30;
  std::optional<DType> cache;          ///< type of keys and values; default: the model's option
  std::int64_t max_step_tokens = 512;  ///< with pieces of prompts; running requests all get theirs
  /// The longest sequence, and what dynamic NTK and LongRoPE scale positions for (see rotary.h):
  /// one length for all, so that prefixes can be shared. 0: the model's context().
  std::int64_t max_sequence_tokens = 0;
  bool reuse_prefixes = true;          ///< keep pages of tokens for prompts that begin alike
  std::optional<Tokenizer> tokenizer;  ///< for events' text and for stop strings
};

/// What an engine is asked to continue.
struct Request {
  std::vector<std::int32_t> prompt;  ///< empty: the model's first token that begins a text
  std::int64_t max_new_tokens = 256;
  SamplerConfig sampler;                  ///< with a seed of its own
  std::vector<std::int32_t> stop_tokens;  ///< besides the model's own (ModelConfig::ends_text)
  std::vector<std::string> stop_strings;  ///< end the text before them; not empty
  std::int64_t priority = 0;              ///< higher ones go first
  bool logprobs = false;
};

enum class FinishReason {
  kNone,       ///< goes on
  kStop,       ///< a token that ends a text, a stop token or a stop string
  kLength,     ///< max_new_tokens
  kContext,    ///< the longest sequence that the engine, or its cache, can hold
  kCancelled,  ///< by Engine::cancel
  kError,      ///< Event::error says why
};

/// "none", "stop", ...
const char* name(FinishReason reason);

/// Something that happened to a request. A token and the end may come in one event.
struct Event {
  std::int64_t request = 0;
  std::optional<std::int32_t> token{};  ///< the next one
  std::optional<double> logprob{};      ///< ln p of it under the model, if wanted
  std::string text{};                   ///< that is certain now, where there is a tokenizer
  FinishReason finish = FinishReason::kNone;
  std::string error{};
};

/// Mean and longest of some times, in seconds.
struct Times {
  std::int64_t count = 0;
  double mean = 0, max = 0;
};

struct EngineMetrics {
  std::int64_t queued = 0, running = 0;         ///< requests
  std::int64_t pages_used = 0, pages_free = 0;  ///< used: by requests and by prefixes that are kept
  std::int64_t steps = 0, computed_tokens = 0, new_tokens = 0;
  std::int64_t preemptions = 0, prefix_hits = 0, prefix_tokens = 0;  ///< tokens not computed anew
  std::int64_t cascades =
      0;               ///< prefixes that requests of a step attended to at once; of all steps
  double seconds = 0;  ///< in `step`
  double tokens_per_second = 0;  ///< new tokens
  Times first_token;             ///< from submit to a request's first token
  Times between_tokens;          ///< from a token to the next
};

/// Continuous batching: a model serves many requests at once.
///
/// A step takes one token of every running request, and fills up to max_step_tokens with pieces of
/// prompts, in the order of priority and arrival: no prompt delays the others' tokens by more than
/// such a step. A request is admitted when the pages for its prompt are free; where pages run out
/// later, the last request in that order is preempted: it gives its pages back and computes its
/// tokens again when there is room. Pages of tokens already seen are kept for prompts that begin
/// alike until others need them, the longest unused first.
///
/// A request's tokens and log-probabilities have the bits of a Session alone with it (of capacity
/// max_sequence_tokens, where positions scale with it): in any batch, preempted or not, with any
/// chunks and pages, with a prefix kept or computed; docs/numerics.md. Not thread-safe.
///
/// @source Yu et al., "Orca", OSDI 2022 (continuous batching); arXiv:2309.06180 (pages,
///         preemption); arXiv:2308.16369 (chunked prefill)
class Engine {
 public:
  /// @throws Error{kBadArgument} naming the field of `config`; Error{kOutOfMemory}.
  explicit Engine(const Model& model, const EngineConfig& config = EngineConfig());
  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;

  /// Queues a request and returns its id; ids ascend.
  /// @throws Error{kBadArgument} naming the field: a prompt that is empty where no token begins a
  ///         text, longer than the longest sequence or all pages, or with a token outside the
  ///         vocabulary; a stop string without a tokenizer; a sampler's field out of range.
  std::int64_t submit(const Request& request);

  /// Ends a request; its last event comes with the next step. Whether there was such a request that
  /// had not ended.
  bool cancel(std::int64_t request);

  /// Whether `step` has something to do or to tell.
  bool busy() const;

  /// Computes one batch and returns what happened. A request whose logits are not numbers ends with
  /// an error; the others go on.
  /// @throws Error{kOutOfMemory}: the requests are then as they were, and the step can be repeated.
  std::vector<Event> step();

  EngineMetrics metrics() const;

  /// What the last step computed: so many tokens of a request, from `first` on.
  struct BatchPart {
    std::int64_t request, first, tokens;
  };
  const std::vector<BatchPart>& last_batch() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rapt
