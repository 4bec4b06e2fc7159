#include <vector>

#include "kv/layout.h"
#include "observe/observers.h"

namespace rapt {
namespace {

/// Mass on the keys of a class.
class TokenClass final : public RowObserver {
 public:
  TokenClass(const Problem& problem, const ObserveOptions& options) {
    require_tokens(options.token_class.size(), problem.kv_tokens, problem.batch,
                   "ObserveOptions.token_class");
    const bool shared = std::ssize(options.token_class) == problem.kv_tokens;
    for (std::int64_t b = 0; b < problem.batch; ++b) {
      const Range keys = problem.kv_range(b);
      const std::uint8_t* of_token =
          options.token_class.data() + (shared ? 0 : b * problem.kv_tokens) + keys.begin;
      std::vector<KeyBits> chunks(static_cast<std::size_t>(chunks_of(keys.size())));
      for (std::int64_t slot = 0; slot < keys.size(); ++slot)
        if (of_token[slot] != 0)
          chunks[static_cast<std::size_t>(slot / kChunkKeys)].words[slot % kChunkKeys / 64] |=
              std::uint64_t{1} << slot % 64;
      keys_.push_back(std::move(chunks));
    }
  }

  int columns() const override { return 1; }
  void add(const WeightStrip& strip, float* sums, std::int64_t stride) const noexcept override {
    const KeyBits& keys =
        keys_[static_cast<std::size_t>(strip.sequence)][static_cast<std::size_t>(strip.chunk)];
    for (int r = 0; r < strip.tile.rows; ++r)
      sums[r * stride] = strip.kernels.mass_of(strip.p(r), strip.tile.seen[r], keys);
  }
  void values(const RowSums& row, const float* sums, double* out) const noexcept override {
    *out = row.mass(sums[0]);
  }

 private:
  std::vector<std::vector<KeyBits>> keys_;  // [B][chunks]
};

}  // namespace

std::unique_ptr<RowObserver> make_token_class(const Problem& problem,
                                              const ObserveOptions& options) {
  return std::make_unique<TokenClass>(problem, options);
}

}  // namespace rapt
