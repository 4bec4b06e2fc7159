#include "observe/observers.h"

namespace rapt {
namespace {

/// H = ln l - ln 2 u / l with u = sum p (s - m), in units of log2. Centred by m, so that a large
/// offset of all scores loses nothing.
class Entropy : public RowObserver {
 public:
  bool needs(StatisticColumn column) const override { return column == kEntropyColumn; }
  void values(const RowSums& row, const float*, double* out) const noexcept override {
    *out = row.entropy();
  }
};

class NormalisedEntropy final : public Entropy {
 public:
  bool needs(StatisticColumn column) const override {
    return column == kEntropyColumn || column == kVisibleColumn;
  }
  bool counts(const RowSums& row) const noexcept override { return row.visible > 1.0; }
  void values(const RowSums& row, const float*, double* out) const noexcept override {
    *out = row.entropy() / elementary::log(row.visible);
  }
};

class Support final : public Entropy {
 public:
  void values(const RowSums& row, const float*, double* out) const noexcept override {
    *out = elementary::exp(row.entropy());
  }
};

}  // namespace

std::unique_ptr<RowObserver> make_entropy(const Problem&, const ObserveOptions&) {
  return std::make_unique<Entropy>();
}
std::unique_ptr<RowObserver> make_normalised_entropy(const Problem&, const ObserveOptions&) {
  return std::make_unique<NormalisedEntropy>();
}
std::unique_ptr<RowObserver> make_support(const Problem&, const ObserveOptions&) {
  return std::make_unique<Support>();
}

}  // namespace rapt
