#include "observe/observers.h"

namespace rapt {
namespace {

/// The largest weight, 2^(largest score - m) / l.
class Confidence final : public RowObserver {
 public:
  bool needs(StatisticColumn column) const override { return column == kLargestColumn; }
  void values(const RowSums& row, const float*, double* out) const noexcept override {
    *out = row.share * elementary::exp(RowSums::kLn2 * (row.largest - row.m)) / row.l;
  }
};

}  // namespace

std::unique_ptr<RowObserver> make_confidence(const Problem&, const ObserveOptions&) {
  return std::make_unique<Confidence>();
}

}  // namespace rapt
