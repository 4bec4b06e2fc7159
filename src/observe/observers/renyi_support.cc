#include "observe/observers.h"

namespace rapt {
namespace {

/// 1 / sum A^2 = l^2 / q with q = sum p^2.
class RenyiSupport final : public RowObserver {
 public:
  bool needs(StatisticColumn column) const override { return column == kSquaresColumn; }
  void values(const RowSums& row, const float*, double* out) const noexcept override {
    *out = row.l * row.l / row.squares;
  }
};

}  // namespace

std::unique_ptr<RowObserver> make_renyi_support(const Problem&, const ObserveOptions&) {
  return std::make_unique<RenyiSupport>();
}

}  // namespace rapt
