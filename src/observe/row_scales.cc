#include "observe/row_scales.h"

#include <memory>
#include <utility>

namespace rapt {
namespace {

class KeepScale final : public RowObserver {
 public:
  explicit KeepScale(RowScales& scales) : scales_(scales) {}
  int outputs() const override { return 0; }
  void values(const RowSums& row, const float*, double*) const noexcept override {
    const std::size_t at = scales_.at(row.sequence, row.head, row.query);
    scales_.m[at] = static_cast<float>(row.m);
    scales_.l[at] = static_cast<float>(row.l / row.share);
  }

 private:
  RowScales& scales_;
};

}  // namespace

RowScales row_scales(const Problem& problem, const Inputs& inputs, const Threads& threads,
                     Scratch& scratch) {
  RowScales scales(problem);
  std::vector<std::unique_ptr<RowObserver>> observers;
  observers.push_back(std::make_unique<KeepScale>(scales));
  run_statistics(problem, inputs, std::move(observers), threads, scratch);
  return scales;
}

}  // namespace rapt
