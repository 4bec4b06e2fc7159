#pragma once

#include <memory>

#include "rapt/attention.h"

namespace rapt::python {

/// A plan for `problem` on the present threads: for small problems the one of an earlier call with
/// an equal problem, where it is still kept. Called with the GIL, which is free while it plans.
Plan plan_of(const Problem& problem, KvSource source);

/// A new plan for `problem` on the present threads. Called with the GIL, which is free meanwhile.
Plan new_plan(const Problem& problem, KvSource source);

/// Forgets the plans kept.
void forget_plans();

/// Working memory for one run, from those that earlier runs left. Made and destroyed with the GIL
/// held, so that runs in flight have one each.
class BorrowedScratch {
 public:
  BorrowedScratch();
  ~BorrowedScratch();
  BorrowedScratch(const BorrowedScratch&) = delete;
  BorrowedScratch& operator=(const BorrowedScratch&) = delete;

  Scratch& operator*() const { return *scratch_; }

 private:
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace rapt::python
