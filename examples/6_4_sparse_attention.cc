// Topic 6.4, sparse and local attention: a query sees fewer keys, and time follows the tiles that
// hold any of them. Rows that lose no key keep their bits; what others lose: 6_4_kept_mass.

#include <chrono>

#include "sparse.h"

using namespace example;
using rapt::Mask;

namespace {

struct Pattern {
  const char* name;
  Mask small, large;  // on 16 tokens, on 8,192
};

std::vector<Pattern> patterns(const Tensor& q, const Tensor& k, const Tensor& q16,
                              const Tensor& k16) {
  const Mask causal = Mask::causal(), window = Mask::sliding_window(512);
  return {
      {"causal", causal, causal},
      {"window", Mask::sliding_window(4), window},
      {"window and global tokens", (Mask::sliding_window(4) | Mask::global({{0, 8}})) & causal,
       (window | Mask::global({{0, 1, 2, 3}})) & causal},
      {"top blocks", top_blocks(q16, k16, 2, 3), top_blocks(q, k, 64, 12)},
      {"dilated window", Mask::dilated_window(4, 2), Mask::dilated_window(512, 4)},
      {"window and strided", (Mask::sliding_window(3) | Mask::strided(4)) & causal,
       (Mask::sliding_window(512) | Mask::strided(64)) & causal},
  };
}

/// The shortest of three runs; `o` gets the output.
double seconds(const rapt::Plan& plan, const rapt::Inputs& inputs, Tensor& o) {
  rapt::Scratch scratch;
  double least = std::numeric_limits<double>::infinity();
  for (int repeat = 0; repeat < 3; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    rapt::run(plan, inputs, scratch, {.o = o, .lse = {}, .m = {}, .l = {}});
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    least = std::min(least, time.count());
  }
  return least;
}

}  // namespace

int main() {
  Proof proof;
  const Tensor q16 = random({1, 16, 1, 16}, 1), k16 = random(q16.extents, 2);
  const Tensor q = random({1, 8192, 1, 64}, 1), k = random(q.extents, 2), v = random(q.extents, 3);
  const std::vector<Pattern> all = patterns(q, k, q16, k16);
  for (const Pattern& pattern : all)
    print_mask(pattern.name, problem_of(q16, k16, k16, pattern.small));

  print_shape("q, k, v", q.extents);
  std::puts("                          pairs     time    tiles of 48 queries x 512 keys");
  double pairs = 0, time = 0;
  Tensor full(q.extents), o(q.extents);
  std::vector<std::int64_t> skipped;
  for (const auto& [name, small, mask] : all) {
    const rapt::Problem p = problem_of(q, k, v, mask);
    const rapt::Plan plan = rapt::make_plan(p, rapt::Threads(1));
    const double spent = seconds(plan, {q, k, v}, o), seen = double(p.visible_pairs());
    if (pairs == 0) pairs = seen, time = spent, full = o;
    const std::string tiles = plan.explain("tiles");
    std::printf("%-24s %5.1f%%  %6.1f%%    %s\n", name, 100 * seen / pairs, 100 * spent / time,
                tiles.c_str());
    skipped.push_back(std::stoll(tiles));
    if (std::string(name) == "window")
      proof(std::equal(o.data.begin(), o.data.begin() + 512 * 64, full.data.begin()),
            "the first 512 queries lose no key: the same bits");
  }
  proof(skipped[1] > skipped[0] && skipped[3] > skipped[0], "windows and blocks skip tiles");
  proof(skipped[5] == skipped[0], "keys strided through every tile skip none");
  return proof.exit_code();
}
