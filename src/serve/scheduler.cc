#include "serve/scheduler.h"

#include <algorithm>
#include <new>

#include "rapt/error.h"

namespace rapt {

void Scheduler::add(std::unique_ptr<Job> job) {
  const auto goes_before = [](const std::unique_ptr<Job>& a, const std::unique_ptr<Job>& b) {
    return a->request.priority > b->request.priority;
  };
  jobs_.insert(std::upper_bound(jobs_.begin(), jobs_.end(), job, goes_before), std::move(job));
}

Job* Scheduler::find(std::int64_t id) const {
  const auto at = std::ranges::find_if(jobs_, [&](const auto& job) { return job->id == id; });
  return at == jobs_.end() ? nullptr : at->get();
}

void Scheduler::remove(const Job& job) {
  if (job.sequence) {
    keep(job);
    cache_.free(*job.sequence);
  }
  std::erase_if(jobs_, [&](const auto& other) { return other.get() == &job; });
}

std::int64_t Scheduler::running() const {
  return std::ranges::count_if(jobs_, [](const auto& job) { return job->sequence.has_value(); });
}

const std::vector<JobPart>& Scheduler::next() {
  parts_.clear();
  parts_.reserve(jobs_.size());  // a sequence that was extended is always among them
  for (Index n = 0; n < jobs_.size(); ++n) {
    Job& job = *jobs_[n];
    if (job.sequence && job.pending() == 1 && !schedule(n, 1)) give_up(job);
  }
  std::int64_t budget = limits_.step_tokens - std::ssize(parts_);
  bool may_admit = true;
  for (Index n = 0; n < jobs_.size() && budget > 0; ++n) {
    Job& job = *jobs_[n];
    if (job.sequence && job.pending() == 1) continue;
    if (!job.sequence) {
      if (!may_admit || waits_for_prefix(job)) continue;
      may_admit = admit(n);
      if (!may_admit) continue;
    }
    const std::int64_t tokens = std::min(budget, job.pending());
    if (schedule(n, tokens)) budget -= tokens;
  }
  return parts_;
}

/// Gives a job a sequence, if all its tokens have room.
bool Scheduler::admit(Index index) {
  Job& job = *jobs_[index];
  const TokenSpan before_last = TokenSpan(job.tokens).first(job.tokens.size() - 1);
  job.sequence = limits_.reuse_prefixes ? prefixes_.fork(before_last) : cache_.create();
  job.computed = cache_.length(*job.sequence);
  if (!has_room(job) || !make_room(index, job.pending(), job.request.priority)) {
    cache_.free(*job.sequence);
    job.sequence.reset();
    job.computed = 0;
    return false;
  }
  prefix_hits_ += job.computed > 0;
  prefix_tokens_ += job.computed;
  return true;
}

/// Whether all tokens of a job that is to be admitted have room once kept prefixes, and jobs of lower
/// priority, give theirs up: what cannot help is not taken from them.
bool Scheduler::has_room(const Job& job) const {
  const std::int64_t missing =
      cache_.pages_needed(*job.sequence, job.pending()) - cache_.free_pages();
  if (missing <= 0) return true;
  std::vector<std::int64_t> givers = prefixes_.sequences();
  for (const auto& other : jobs_)
    if (other->sequence && other->request.priority < job.request.priority)
      givers.push_back(*other->sequence);
  return cache_.pages_freed(givers) >= missing;
}

/// Whether a prompt of this step will soon be kept, of which the job shares more than is kept now.
bool Scheduler::waits_for_prefix(const Job& job) {
  if (!limits_.reuse_prefixes) return false;
  const TokenSpan before_last = TokenSpan(job.tokens).first(job.tokens.size() - 1);
  std::int64_t shared = 0;
  for (const JobPart& part : parts_) {
    if (!part.job->in_prompt()) continue;
    const auto end = std::ranges::mismatch(before_last, part.job->tokens).in1;
    const std::int64_t tokens = end - before_last.begin();
    shared = std::max(shared, tokens - tokens % cache_.shape().page_size);
  }
  return shared > 0 && shared > prefixes_.match(before_last);
}

/// Adds a job's next tokens to the step, if there is room.
bool Scheduler::schedule(Index index, std::int64_t tokens) {
  Job& job = *jobs_[index];
  if (!make_room(index, tokens, std::nullopt)) return false;
  cache_.extend(*job.sequence, tokens);
  parts_.push_back({&job, tokens});
  return true;
}

/// Frees pages for more tokens of a job: those of prefixes, then those of the last jobs behind it
/// that are below a priority, if one is given.
bool Scheduler::make_room(Index index, std::int64_t tokens, std::optional<std::int64_t> below) {
  const std::int64_t sequence = *jobs_[index]->sequence;
  while (cache_.pages_needed(sequence, tokens) > cache_.free_pages()) {
    if (prefixes_.evict()) continue;
    Index last = jobs_.size() - 1;
    while (last > index && !jobs_[last]->sequence) --last;
    if (last == index || (below && jobs_[last]->request.priority >= *below)) return false;
    give_up(*jobs_[last]);
  }
  return true;
}

/// Preempts a job: it computes its tokens again when there is room.
void Scheduler::give_up(Job& job) {
  std::erase_if(parts_, [&](const JobPart& part) { return part.job == &job; });
  cache_.free(*job.sequence);
  job.sequence.reset();
  job.computed = 0;
  ++preemptions_;
}

void Scheduler::done() {
  for (const JobPart& part : parts_) {
    const bool was_prompt = part.job->in_prompt();
    part.job->computed += part.tokens;
    if (was_prompt) keep(*part.job);
  }
}

void Scheduler::undo() {
  for (const JobPart& part : parts_) cache_.truncate(*part.job->sequence, part.job->computed);
  parts_.clear();
}

void Scheduler::keep(const Job& job) {
  if (!limits_.reuse_prefixes) return;
  try {
    prefixes_.keep(TokenSpan(job.tokens).first(static_cast<std::size_t>(job.computed)),
                   *job.sequence);
  } catch (const std::bad_alloc&) {  // others compute these tokens themselves
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kOutOfMemory) throw;
  }
}

}  // namespace rapt
