#pragma once

#include <memory>
#include <vector>

#include "attention/strip_observer.h"
#include "attention/tiles.h"
#include "observe/row_observer.h"
#include "rapt/attention.h"

namespace rapt {

/// Runs observers over the rows of a problem: their sums stand side by side in a row's acc, after
/// those that the merge treats in ways of their own.
class StatisticsPass final : public StripObserver {
 public:
  StatisticsPass(const Problem& problem, std::vector<std::unique_ptr<RowObserver>> observers);

  std::int64_t outputs() const { return outputs_; }

  /// Where rows are written: `values` [outputs(), B, Hq, Tq] and `counts` [observers, B, Hq, Tq].
  void write_to(float* values, std::uint8_t* counts) {
    values_ = values;
    counts_ = counts;
  }

  std::int64_t columns() const override { return columns_; }
  void observe(const ObservedStrip& strip) const noexcept override;
  void merge(std::int64_t rows, const StateRows* sides, int count,
             const StateRows& into) const noexcept override;
  void finish(std::int64_t sequence, std::int64_t i, std::int64_t h, float m, float l,
              const float* sums) const noexcept override;

 private:
  bool needs(StatisticColumn column) const { return needed_[column]; }
  void add_own(const ObservedStrip& strip) const;
  double share_of_keys(std::int64_t head, double m, double l) const;

  const Problem& problem_;
  const RowOrder order_;
  const AttentionKernels& attention_;
  const ObserveKernels& kernels_;
  std::vector<std::unique_ptr<RowObserver>> observers_;
  bool needed_[kLinearColumns] = {};
  std::int64_t columns_ = 0, outputs_ = 0;
  float* values_ = nullptr;
  std::uint8_t* counts_ = nullptr;
};

/// One pass of observers that give no values.
/// @throws Error as make_plan and run.
void run_statistics(const Problem& problem, const Inputs& inputs,
                    std::vector<std::unique_ptr<RowObserver>> observers, const Threads& threads,
                    Scratch& scratch);

}  // namespace rapt
