#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "rapt/engine.h"
#include "rapt/paged_kv_cache.h"
#include "serve/prefix_index.h"
#include "serve/stop_text.h"

namespace rapt {

/// A request on its way.
struct Job {
  Job(std::int64_t id, const Request& request)
      : id(id), request(request), sampler(request.sampler), tokens(request.prompt) {}

  std::int64_t id;  ///< in the order of arrival
  Request request;
  Sampler sampler;
  std::optional<StopText> text;          ///< where there is a tokenizer
  std::vector<std::int32_t> tokens;      ///< the prompt's and those that came
  std::optional<std::int64_t> sequence;  ///< in the cache; none: waits
  std::int64_t computed = 0;             ///< leading tokens that the cache holds
  double last_time = 0;                  ///< of submit or of the last token

  std::int64_t pending() const { return std::ssize(tokens) - computed; }
  bool in_prompt() const { return computed < std::ssize(request.prompt); }
  std::int64_t new_tokens() const { return std::ssize(tokens) - std::ssize(request.prompt); }
};

/// A job's part of a step: its next tokens.
struct JobPart {
  Job* job;
  std::int64_t tokens;
};

/// Decides what each step computes, and who has the pages for it.
///
/// Jobs are in the order of (priority, arrival). Whoever has a sequence may take the pages of those
/// behind it, a job without one only those of lower priority; kept prefixes go first. So the first
/// job that has a sequence always goes on, and while one waits for pages none behind it is
/// admitted: every job ends.
class Scheduler {
 public:
  struct Limits {
    std::int64_t step_tokens;
    bool reuse_prefixes;
  };

  Scheduler(PagedKvCache& cache, const Limits& limits)
      : cache_(cache), limits_(limits), prefixes_(cache) {}

  void add(std::unique_ptr<Job> job);
  Job* find(std::int64_t id) const;

  /// Ends a job; what it has computed is kept as a prefix.
  void remove(const Job& job);

  /// Chooses the next step, and makes room in the cache for it. Single tokens come first.
  /// @throws Error{kOutOfMemory} of the system; then `undo`.
  const std::vector<JobPart>& next();
  const std::vector<JobPart>& parts() const { return parts_; }

  /// The step was computed: what it holds may be shared.
  void done();

  /// The step was not computed.
  void undo();

  std::int64_t jobs() const { return std::ssize(jobs_); }
  std::int64_t running() const;
  std::int64_t preemptions() const { return preemptions_; }
  std::int64_t prefix_hits() const { return prefix_hits_; }
  std::int64_t prefix_tokens() const { return prefix_tokens_; }

 private:
  using Index = std::size_t;  // of jobs_

  bool admit(Index index);
  bool has_room(const Job& job) const;
  bool waits_for_prefix(const Job& job);
  bool schedule(Index index, std::int64_t tokens);
  bool make_room(Index index, std::int64_t tokens, std::optional<std::int64_t> below);
  void give_up(Job& job);
  void keep(const Job& job);

  PagedKvCache& cache_;
  Limits limits_;
  PrefixIndex prefixes_;
  std::vector<std::unique_ptr<Job>> jobs_;  // by (priority, arrival)
  std::vector<JobPart> parts_;
  std::int64_t preemptions_ = 0, prefix_hits_ = 0, prefix_tokens_ = 0;
};

}  // namespace rapt
