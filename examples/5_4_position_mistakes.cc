// Topic 5.4, what goes wrong with positions: nothing fails, but weight moves to other keys. Printed
// is the share of the last query's weight that is not where it should be.

#include <rapt/positions.h>
#include <rapt/rotary.h>

#include <numeric>

#include "example.h"

using namespace example;

namespace {

using Positions = std::vector<std::int64_t>;
constexpr std::int64_t kTokens = 512;

Positions count_from(std::int64_t first) {
  Positions positions(kTokens);
  std::iota(positions.begin(), positions.end(), first);
  return positions;
}

Tensor turn(const rapt::Rotary& rotary, Tensor x, const Positions& positions, int length = 0) {
  rapt::apply_rotary(rapt::Threads(1), rotary.table(positions, {length}), x, x);
  return x;
}

Tensor learned(Tensor x, Positions positions) {
  for (std::int64_t& p : positions) p = std::max<std::int64_t>(p, 0);  // padding: any row
  const Tensor table = random({1, 1, kTokens, 64}, 3);
  rapt::add_positions(rapt::Threads(1), table, positions, {x.data.data(), {1, 1, kTokens, 64}});
  return x;
}

/// Weights of the last query; tokens before `first` are padding. With ALiBi if it stands at `alibi`.
std::vector<float> row(const Tensor& q, const Tensor& k, std::int64_t first = 0, int alibi = -1) {
  rapt::Problem p = problem_of(q, k, k);
  p.q_ranges = p.kv_ranges = {{first, kTokens}};
  if (alibi >= 0) p.modifiers.alibi_slopes = rapt::alibi_slopes(1);
  if (alibi >= 0) p.q_positions = Positions(kTokens, alibi);
  const Tensor a = weights(p, {q, k, k});
  return {a.data.end() - kTokens, a.data.end()};
}

}  // namespace

int main() {
  Proof proof;
  const Tensor q = random({1, kTokens, 1, 64}, 1), k = random(q.extents, 2);
  print_shape("q, k", q.extents);
  const auto show = [&](const std::vector<float>& right, const std::vector<float>& wrong,
                        double least, double most, const std::string& what) {
    double moved = 0;
    for (std::int64_t j = 0; j < kTokens; ++j) moved += std::abs(right[j] - wrong[j]) / 2;
    proof(moved >= least && moved <= most, percent(moved) + " moves: " + what);
  };
  const rapt::Rotary half(64), pairs(64, 10000, rapt::RotaryStyle::kInterleaved);
  const rapt::Rotary ntk({.dims = 64, .scaling = rapt::DynamicNtkScaling{4, 128}});
  const Positions all = count_from(0), real = count_from(-100);
  const std::vector<float> right = row(turn(half, q, all), turn(half, k, all));
  show(right, row(turn(half, q, Positions(kTokens, 0)), turn(half, k, all)), 0.1, 1,
       "rotary, decode: the query turned as token 0, not 511");
  show(right, row(turn(pairs, q, all), turn(pairs, k, all)), 0.1, 1,
       "rotary: interleaved pairs where the weights are for halves");
  show(row(turn(ntk, q, all, 512), turn(ntk, k, all, 512)),
       row(turn(ntk, q, all, 512), turn(ntk, k, all, 128)), 0.1, 1,
       "dynamic NTK: keys turned for 128 tokens, the query for 512");
  const std::vector<float> padded = row(turn(half, q, real), turn(half, k, real), 100);
  show(padded, row(turn(half, q, all), turn(half, k, all), 100), 0, 1e-4,
       "rotary, 100 tokens of padding: all counted from the padding");
  show(padded, row(turn(half, q, all), turn(half, k, real), 100), 0.1, 1,
       "rotary, 100 tokens of padding: only queries counted from the padding");
  show(row(learned(q, real), learned(k, real), 100), row(learned(q, all), learned(k, all), 100),
       0.1, 1, "learned, 100 tokens of padding: all counted from the padding");
  show(row(q, k, 0, 511), row(q, k, 0, 0), 0.1, 1,
       "ALiBi, decode: the query at 0, its index in the chunk, not at 511");
  return proof.exit_code();
}
