#include "plans.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "threads.h"

namespace rapt::python {

namespace nb = nanobind;

namespace {

// Planning a larger problem is nothing beside running it, and its plan is not small.
constexpr double kLargestPairs = 1 << 20;
constexpr std::size_t kPlans = 16;

struct Kept {
  KvSource source;
  Plan plan;
};

// Most recent first. Never destroyed: plans hold threads, and oneTBB may be gone before statics are.
std::vector<Kept>& plans() {
  static auto* plans = new std::vector<Kept>;
  return *plans;
}

std::vector<std::unique_ptr<Scratch>>& idle() {
  static auto* idle = new std::vector<std::unique_ptr<Scratch>>;
  return *idle;
}

int forgotten = 0;  // how often plans were

}  // namespace

Plan new_plan(const Problem& problem, KvSource source) {
  const Threads pool = threads();
  const nb::gil_scoped_release release;
  return make_plan(problem, pool, source);
}

Plan plan_of(const Problem& problem, KvSource source) {
  std::vector<Kept>& kept = plans();
  const auto found = std::find_if(kept.begin(), kept.end(), [&](const Kept& k) {
    return k.source == source && k.plan.problem() == problem;
  });
  if (found != kept.end()) {
    std::rotate(kept.begin(), found, found + 1);
    return kept.front().plan;
  }
  const int before = forgotten;
  Plan plan = new_plan(problem, source);
  const double pairs = static_cast<double>(problem.batch * problem.q_heads) *
                       static_cast<double>(problem.q_tokens) *
                       static_cast<double>(problem.kv_tokens);
  if (pairs <= kLargestPairs && before == forgotten) {
    if (kept.size() == kPlans) kept.pop_back();
    kept.insert(kept.begin(), {source, plan});
  }
  return plan;
}

void forget_plans() {
  plans().clear();
  ++forgotten;
}

BorrowedScratch::BorrowedScratch() {
  if (idle().empty()) {
    scratch_ = std::make_unique<Scratch>();
  } else {
    scratch_ = std::move(idle().back());
    idle().pop_back();
  }
}

BorrowedScratch::~BorrowedScratch() { idle().push_back(std::move(scratch_)); }

}  // namespace rapt::python
