#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "base/round.h"
#include "observe/observers.h"
#include "observe/seen_rows.h"

namespace rapt {
namespace {

/// Mass on keys whose token, or the one before it, is the query's. Tokens are numbered by their first
/// slots, which are exact in f32.
class SameToken final : public RowObserver {
 public:
  SameToken(const Problem& problem, const ObserveOptions& options, int before)
      : before_(before), seen_(problem) {
    require_tokens(options.tokens.size(), problem.kv_tokens, problem.batch,
                   "ObserveOptions.tokens");
    require(problem.kv_tokens <= std::int64_t{1} << 24, ErrorCode::kBadArgument,
            "Problem.kv_tokens", "at most 2^24, to compare tokens", problem.kv_tokens);
    const bool shared = std::ssize(options.tokens) == problem.kv_tokens;
    for (std::int64_t b = 0; b < problem.batch; ++b)
      ids_.push_back(number(options.tokens.data() + (shared ? 0 : b * problem.kv_tokens),
                            problem.kv_range(b)));
  }

  int columns() const override { return 1; }
  void add(const WeightStrip& strip, float* sums, std::int64_t stride) const noexcept override {
    const std::vector<float>& ids = ids_[static_cast<std::size_t>(strip.sequence)];
    const float* chunk = ids.data() + kPad - before_ + strip.chunk * kChunkKeys;
    const std::int64_t first = strip.chunk * kChunkKeys;
    for (int r = 0; r < strip.tile.rows; ++r) {
      const std::int64_t place = first + strip.offset[r];
      const std::int64_t end = std::min<std::int64_t>(kChunkKeys, strip.offset[r] + before_);
      if (!repeats(ids, place)) continue;
      const float id = ids[static_cast<std::size_t>(kPad + place)];
      // An id is the token's first slot.
      const std::int64_t begin =
          std::max<std::int64_t>(static_cast<std::int64_t>(id) + before_ - first, 0);
      if (begin >= end) continue;
      const float mass = strip.kernels.mass_of_equal(strip.p(r), strip.tile.seen[r], chunk, id, 0,
                                                     static_cast<int>(end));
      if (mass > 0.0f || sees_equal(strip.tile, r, chunk, id, begin, end))
        seen_.set(strip.sequence, strip.head[r], strip.query[r]);
      sums[r * stride] = mass;
    }
  }
  bool counts(const RowSums& row) const noexcept override {
    return seen_.has(row.sequence, row.head, row.query);
  }
  void values(const RowSums& row, const float* sums, double* out) const noexcept override {
    *out = row.mass(sums[0]);
  }

 private:
  static constexpr std::int64_t kPad = 1;  // before slot 0, what precedes it: no token

  static std::vector<float> number(const std::int32_t* tokens, Range keys) {
    std::vector<float> ids(
        static_cast<std::size_t>(kPad + round_up(keys.size(), std::int64_t{kChunkKeys})), -1.0f);
    std::unordered_map<std::int32_t, std::int64_t> first_slot;
    for (std::int64_t slot = 0; slot < keys.size(); ++slot)
      ids[static_cast<std::size_t>(kPad + slot)] =
          static_cast<float>(first_slot.try_emplace(tokens[keys.begin + slot], slot).first->second);
    return ids;
  }

  /// Whether the token at a place was there before.
  static bool repeats(const std::vector<float>& ids, std::int64_t place) {
    if (place < 0 || kPad + place >= std::ssize(ids)) return false;
    const float first = ids[static_cast<std::size_t>(kPad + place)];
    return first >= 0.0f && static_cast<std::int64_t>(first) < place;
  }

  static bool sees_equal(const AttentionTile& tile, int r, const float* ids, float id,
                         std::int64_t begin, std::int64_t end) {
    for (std::int64_t key = begin; key < end; ++key)
      if (ids[key] == id && sees(tile, r, key)) return true;
    return false;
  }

  int before_;
  std::vector<std::vector<float>> ids_;  // [B][kPad + slots, in whole chunks]
  mutable SeenRows seen_;
};

}  // namespace

void require_tokens(std::size_t elements, std::int64_t tokens, std::int64_t batch,
                    const char* where) {
  const auto got = static_cast<std::int64_t>(elements);
  require(got == tokens || got == batch * tokens, ErrorCode::kBadArgument, where,
          std::to_string(tokens) + " or " + std::to_string(batch * tokens) + " elements", got);
}

std::unique_ptr<RowObserver> make_duplicate_token(const Problem& problem,
                                                  const ObserveOptions& options) {
  return std::make_unique<SameToken>(problem, options, 0);
}
std::unique_ptr<RowObserver> make_induction(const Problem& problem, const ObserveOptions& options) {
  return std::make_unique<SameToken>(problem, options, 1);
}

}  // namespace rapt
