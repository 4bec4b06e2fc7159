#include "observe/pass.h"

#include <bit>
#include <cmath>

#include "attention/run.h"
#include "base/round.h"
#include "observe/observed_inputs.h"
#include "rapt/observe.h"

namespace rapt {
namespace {

int visible_keys_of(const AttentionTile& tile, int r) {
  int keys = std::popcount(tile.whole[r] & tile.seen[r]) * kGroupKeys;
  for (std::uint32_t left = tile.seen[r] & ~tile.whole[r]; left != 0; left &= left - 1)
    keys += std::popcount(tile.visible[r].group(std::countr_zero(left)));
  return keys;
}

}  // namespace

StatisticsPass::StatisticsPass(const Problem& problem,
                               std::vector<std::unique_ptr<RowObserver>> observers)
    : problem_(problem),
      order_(problem),
      attention_(attention_kernels(active_isa())),
      kernels_(observe_kernels(active_isa())),
      observers_(std::move(observers)) {
  columns_ = kLinearColumns;
  for (const auto& observer : observers_) {
    columns_ += observer->columns();
    outputs_ += observer->outputs();
    for (int column = 0; column < kLinearColumns; ++column)
      needed_[column] |= observer->needs(static_cast<StatisticColumn>(column));
  }
  columns_ = round_up(columns_, 16);
}

void StatisticsPass::observe(const ObservedStrip& strip) const noexcept {
  const AttentionTile& tile = strip.tile;
  if (needs(kEntropyColumn)) kernels_.keep_scores(tile, strip.scores);
  attention_.softmax(tile);
  std::fill_n(tile.acc, tile.rows * columns_, 0.0f);
  add_own(strip);

  std::int64_t query[kMostStripQueries], head[kMostStripQueries], offset[kMostStripQueries];
  const MaskSequence sequence(problem_, strip.sequence);
  std::int64_t i = order_.query(strip.row), g = order_.head_of_group(strip.row);
  for (int r = 0; r < tile.rows; ++r, order_.advance(i, g)) {
    query[r] = i;
    head[r] = strip.kv_head * problem_.group() + g;
    offset[r] = sequence.place(i) - strip.chunk * kChunkKeys;
  }
  const WeightStrip weights{tile, kernels_, strip.sequence, strip.chunk, query, head, offset};
  std::int64_t column = kLinearColumns;
  for (const auto& observer : observers_) {
    if (observer->columns() > 0) observer->add(weights, tile.acc + column, columns_);
    column += observer->columns();
  }
}

void StatisticsPass::add_own(const ObservedStrip& strip) const {
  const AttentionTile& tile = strip.tile;
  if (needs(kEntropyColumn))
    kernels_.entropy(tile, strip.scores, tile.acc + kEntropyColumn, columns_);
  if (needs(kSquaresColumn)) kernels_.squares(tile, tile.acc + kSquaresColumn, columns_);
  for (int r = 0; r < tile.rows; ++r) {
    float* sums = tile.acc + r * columns_;
    if (needs(kLargestColumn))
      sums[kLargestColumn] = *std::max_element(tile.lane_max + r * 16, tile.lane_max + r * 16 + 16);
    if (needs(kVisibleColumn)) sums[kVisibleColumn] = static_cast<float>(visible_keys_of(tile, r));
  }
}

void StatisticsPass::merge(std::int64_t rows, const StateRows* sides, int count,
                           const StateRows& into) const noexcept {
  kernels_.merge(rows, columns_, sides, count, into);
}

double StatisticsPass::share_of_keys(std::int64_t head, double m, double l) const {
  const std::vector<float>& sinks = problem_.modifiers.sinks;
  if (sinks.empty()) return 1.0;
  const double gap = static_cast<double>(sinks[static_cast<std::size_t>(head)]) - RowSums::kLn2 * m;
  return l / (l + elementary::exp(std::min(gap, 700.0)));
}

void StatisticsPass::finish(std::int64_t sequence, std::int64_t i, std::int64_t h, float m, float l,
                            const float* sums) const noexcept {
  const MaskSequence tokens(problem_, sequence);
  const RowSums row{sequence,
                    i,
                    h,
                    tokens.place(i),
                    tokens.slots(),
                    m,
                    l,
                    share_of_keys(h, m, l),
                    sums[kEntropyColumn],
                    sums[kSquaresColumn],
                    sums[kLargestColumn],
                    sums[kVisibleColumn]};
  const std::int64_t rows = problem_.batch * problem_.q_heads * problem_.q_tokens;
  const std::int64_t at = (sequence * problem_.q_heads + h) * problem_.q_tokens + i;
  double out[kDistanceBins];
  std::int64_t output = 0;
  sums += kLinearColumns;
  for (std::size_t n = 0; n < observers_.size(); ++n) {
    const RowObserver& observer = *observers_[n];
    const bool counts = l != 0.0f && observer.counts(row);
    if (counts) observer.values(row, sums, out);
    for (int k = 0; k < observer.outputs(); ++k) {
      const auto value = static_cast<float>(counts ? out[k] : 0.0);
      values_[(output + k) * rows + at] =
          std::isnan(value) ? std::numeric_limits<float>::quiet_NaN() : value;
    }
    if (observer.outputs() > 0) counts_[static_cast<std::int64_t>(n) * rows + at] = counts;
    output += observer.outputs();
    sums += observer.columns();
  }
}

void run_statistics(const Problem& problem, const Inputs& inputs,
                    std::vector<std::unique_ptr<RowObserver>> observers, const Threads& threads,
                    Scratch& scratch) {
  const ObservedInputs observed(problem, inputs);
  const StatisticsPass pass(observed.problem, std::move(observers));
  const Plan plan = observed.plan(threads, pass);
  run_in(plan.detail(), observed.inputs, scratch.reserve(plan.scratch_bytes()), {});
}

}  // namespace rapt
