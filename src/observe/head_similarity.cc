#include "rapt/head_similarity.h"

#include <atomic>
#include <bit>
#include <cmath>

#include "base/check.h"
#include "base/memory.h"
#include "observe/fixed_sum.h"
#include "observe/observed_inputs.h"
#include "observe/row_scales.h"
#include "observe/run_tasks.h"

namespace rapt {
namespace {

/// Queries whose weights of all heads over a chunk are in memory together.
constexpr std::int64_t kQueries = 24;

/// Weights of kQueries queries, of all heads, over one chunk, and sums over the chunks before it.
class Comparison {
 public:
  explicit Comparison(std::int64_t heads)
      : heads_(heads),
        lines_(static_cast<std::size_t>(heads * kQueries)),
        sums_(static_cast<std::size_t>(heads * heads * kQueries)) {}

  WeightLine& line(std::int64_t h, std::int64_t n) {
    return lines_[static_cast<std::size_t>(h * kQueries + n)];
  }
  PairSums& sums(std::int64_t a, std::int64_t b, std::int64_t n) {
    return sums_[static_cast<std::size_t>((a * heads_ + b) * kQueries + n)];
  }

  void begin_queries() { std::fill(sums_.begin(), sums_.end(), PairSums{}); }
  void begin_chunk() {
    for (WeightLine& line : lines_) line.seen = 0;
  }

  /// Adds the chunk to the sums of all pairs a <= b.
  void end_chunk(const ObserveKernels& kernels, std::int64_t queries) {
    for (WeightLine& line : lines_)
      if (line.seen == 0) clear(line, ~0u);
    for (std::int64_t n = 0; n < queries; ++n)
      for (std::int64_t a = 0; a < heads_; ++a)
        for (std::int64_t b = a; b < heads_; ++b)
          if ((line(a, n).seen | line(b, n).seen) != 0)
            kernels.compare(line(a, n), line(b, n), sums(a, b, n));
  }

  /// What is not seen in `groups`: no weight, infinitely far below.
  static void clear(WeightLine& line, std::uint32_t groups) {
    for (std::uint32_t left = groups; left != 0; left &= left - 1) {
      const int first = std::countr_zero(left) * kGroupKeys;
      std::fill_n(line.weights + first, kGroupKeys, 0.0f);
      std::fill_n(line.roots + first, kGroupKeys, 0.0f);
      std::fill_n(line.gaps + first, kGroupKeys, -std::numeric_limits<float>::infinity());
    }
  }

 private:
  std::int64_t heads_;
  std::vector<WeightLine> lines_;  // [heads, kQueries]
  std::vector<PairSums> sums_;     // [heads, heads, kQueries]
};

/// Puts the weights of each row where its queries are compared.
class Weighing final : public StripObserver {
 public:
  Weighing(const Problem& problem, const RowScales& scales)
      : problem_(problem),
        order_(problem),
        scales_(scales),
        attention_(attention_kernels(active_isa())),
        kernels_(observe_kernels(active_isa())),
        blocks_(ceil_div(problem.q_tokens, kQueries)),
        comparisons_(static_cast<std::size_t>(problem.batch * blocks_)) {}

  std::int64_t blocks() const { return blocks_; }

  /// Who compares a block of queries; no other worker computes its rows.
  void set_comparison(std::int64_t b, std::int64_t block, Comparison* comparison) {
    comparisons_[static_cast<std::size_t>(b * blocks_ + block)] = comparison;
  }

  std::int64_t columns() const override { return 16; }

  void observe(const ObservedStrip& strip) const noexcept override {
    const AttentionTile& tile = strip.tile;
    std::int64_t i = order_.query(strip.row), g = order_.head_of_group(strip.row);
    for (int r = 0; r < tile.rows; ++r, order_.advance(i, g)) {
      tile.m[r] = -std::numeric_limits<float>::infinity();  // nothing of a row is left to merge
      tile.l[r] = 0.0f;
      const std::int64_t h = strip.kv_head * problem_.group() + g;
      Comparison& comparison =
          *comparisons_[static_cast<std::size_t>(strip.sequence * blocks_ + i / kQueries)];
      WeightLine& line = comparison.line(h, i % kQueries);
      const std::size_t at = scales_.at(strip.sequence, h, i);
      const float* s = tile.s + r * kScoreStride;
      line.seen = tile.seen[r];
      Comparison::clear(line, ~line.seen);
      attention_.weights(s, line.seen, scales_.m[at], scales_.l[at], line.weights);
      kernels_.roots_and_gaps(s, scales_.m[at], line);
    }
    std::fill_n(tile.acc, tile.rows * columns(), 0.0f);
  }

  void merge(std::int64_t, const StateRows*, int, const StateRows&) const noexcept override {}
  void finish(std::int64_t, std::int64_t, std::int64_t, float, float,
              const float*) const noexcept override {}

 private:
  const Problem& problem_;
  const RowOrder order_;
  const RowScales& scales_;
  const AttentionKernels& attention_;
  const ObserveKernels& kernels_;
  std::int64_t blocks_;
  std::vector<Comparison*> comparisons_;  // [B, blocks]
};

/// Sums over rows of every pair of heads.
struct Totals {
  explicit Totals(std::int64_t heads)
      : bhattacharyya(static_cast<std::size_t>(heads * heads)),
        cosine(bhattacharyya.size()),
        kl(bhattacharyya.size()),
        rows(bhattacharyya.size()) {}

  std::vector<UnboundedSum> bhattacharyya, cosine, kl;
  std::vector<std::atomic<std::int64_t>> rows;
};

class Similarity {
 public:
  Similarity(const PlanDetail& plan, const Inputs& inputs, const RowScales& scales,
             Weighing& weighing)
      : plan_(without_waves(plan)),
        inputs_(inputs),
        scales_(scales),
        weighing_(weighing),
        totals_(plan_.problem.q_heads) {
    plan_.block_rows = std::min<std::int64_t>(kTileQueries, plan_.block_rows);
  }

  void run(Scratch& scratch) {
    std::vector<Comparison> comparisons;
    comparisons.reserve(static_cast<std::size_t>(plan_.workers));
    for (int worker = 0; worker < plan_.workers; ++worker)
      comparisons.emplace_back(plan_.problem.q_heads);
    run_tasks(plan_, plan_.problem.batch * weighing_.blocks(), scratch,
              [&](BlockRunner& runner, int worker, std::int64_t task) {
                compare(runner, comparisons[static_cast<std::size_t>(worker)],
                        task / weighing_.blocks(), task % weighing_.blocks());
              });
  }

  HeadSimilarity result() const {
    const std::int64_t heads = plan_.problem.q_heads;
    HeadSimilarity out;
    out.heads = heads;
    for (std::size_t n = 0; n < totals_.rows.size(); ++n) {
      const std::int64_t rows = totals_.rows[n].load();
      out.rows.push_back(rows);
      for (const auto& [sum, to] : {std::pair{&totals_.bhattacharyya, &out.bhattacharyya},
                                    {&totals_.cosine, &out.cosine},
                                    {&totals_.kl, &out.kl}})
        to->push_back((*sum)[n].value() / static_cast<double>(rows));  // 0 / 0 is NaN
    }
    return out;
  }

 private:
  void compare(BlockRunner& runner, Comparison& comparison, std::int64_t b, std::int64_t block) {
    const std::int64_t first = block * kQueries;
    const std::int64_t end = std::min(first + kQueries, plan_.problem.q_tokens);
    const KvReader reader(plan_, inputs_, nullptr, nullptr, 0);
    weighing_.set_comparison(b, block, &comparison);
    comparison.begin_queries();
    const std::int64_t chunks = chunks_of(plan_.problem.kv_range(b).size());
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      comparison.begin_chunk();
      bool any = false;
      for_each_item(b, first, end, chunk, [&](const WorkItem& item) {
        any = true;
        runner.attend(item, inputs_, reader, [](std::int64_t, int, const StateRows&) {});
      });
      if (any) comparison.end_chunk(observe_kernels(active_isa()), end - first);
    }
    for (std::int64_t n = 0; n < end - first; ++n) add_row(comparison, b, first + n, n);
  }

  /// Rows of some queries of all heads that see something of a chunk, a tile's at a time.
  template <class F>
  void for_each_item(std::int64_t b, std::int64_t first, std::int64_t end, std::int64_t chunk,
                     F&& f) const {
    const auto rows = [&](std::int64_t kv_head, std::int64_t begin, std::int64_t rows_end) {
      for (std::int64_t row = begin, next; row < rows_end; row = next) {
        next = std::min(rows_end, (row / kTileQueries + 1) * kTileQueries);
        const Range seen = plan_.tiles.chunks(b, kv_head, row, next);
        if (chunk >= seen.begin && chunk < seen.end)
          f(WorkItem{b, kv_head, row, next, chunk, chunk + 1, 0});
      }
    };
    const std::int64_t group = plan_.problem.group();
    for (std::int64_t kv_head = 0; kv_head < plan_.problem.kv_heads; ++kv_head)
      if (!plan_.order.apart)
        rows(kv_head, first * group, end * group);
      else
        for (std::int64_t g = 0; g < group; ++g)
          rows(kv_head, plan_.order.row(first, g), plan_.order.row(end - 1, g) + 1);
  }

  void add_row(Comparison& comparison, std::int64_t b, std::int64_t i, std::int64_t n) {
    const std::int64_t heads = plan_.problem.q_heads;
    for (std::int64_t x = 0; x < heads; ++x)
      for (std::int64_t y = x; y < heads; ++y) {
        const double l_x = scales_.l[scales_.at(b, x, i)], l_y = scales_.l[scales_.at(b, y, i)];
        if (l_x == 0.0 || l_y == 0.0) continue;
        const PairSums& sums = comparison.sums(x, y, n);
        const PairSums &of_x = comparison.sums(x, x, n), &of_y = comparison.sums(y, y, n);
        const double log_l = elementary::log(l_y) - elementary::log(l_x);
        const double cosine = sums.products / std::sqrt(of_x.products * of_y.products);
        add(x, y, sums.roots, cosine, divergence(of_x.cross, sums.cross, log_l));
        if (x != y) add(y, x, sums.roots, cosine, divergence(of_y.cross, sums.cross_back, -log_l));
      }
  }

  /// sum A ln(A / B) of sum A t_a and sum A t_b, ln A = ln 2 t - ln l.
  static double divergence(double own, double cross, double log_l) {
    const double kl = RowSums::kLn2 * (own - cross) + log_l;
    return kl < 0.0 ? 0.0 : kl;  // by rounding; NaN stays
  }

  void add(std::int64_t x, std::int64_t y, double bhattacharyya, double cosine, double kl) {
    const auto at = static_cast<std::size_t>(x * plan_.problem.q_heads + y);
    totals_.bhattacharyya[at].add(bhattacharyya);
    totals_.cosine[at].add(cosine);
    totals_.kl[at].add(kl);
    totals_.rows[at].fetch_add(1, std::memory_order_relaxed);
  }

  PlanDetail plan_;
  const Inputs& inputs_;
  const RowScales& scales_;
  Weighing& weighing_;
  Totals totals_;
};

}  // namespace

HeadSimilarity head_similarity(const Problem& problem, const Inputs& inputs, const Threads& threads,
                               Scratch& scratch) {
  problem.validate();
  require(problem.batch * problem.q_tokens <= std::int64_t{1} << 22, ErrorCode::kBadArgument,
          "Problem.q_tokens", "at most 2^22 rows to compare", problem.batch * problem.q_tokens);
  return with_memory("head_similarity", [&] {
    Problem keys = problem;
    keys.modifiers.sinks.clear();
    const RowScales scales = row_scales(keys, inputs, threads, scratch);
    const ObservedInputs observed(keys, inputs);
    Weighing weighing(observed.problem, scales);
    const Plan plan = observed.plan(threads, weighing);
    Similarity similarity(plan.detail(), observed.inputs, scales, weighing);
    similarity.run(scratch);
    return similarity.result();
  });
}

}  // namespace rapt
