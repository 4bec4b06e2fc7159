#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace rapt {

/// A half-open range [begin, end); empty when end <= begin.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end > begin ? end - begin : 0; }
  bool operator==(const Range&) const = default;
};

/// Which keys a query may see, by position: a predicate visible(i, j), applied before the softmax.
///
/// A mask is a value. It says nothing of padding, which `Problem::kv_ranges` takes away first, and
/// changes no score. Every kind here is a band of diagonals, so it classifies a tile in O(1).
///
///     causal()                 sliding_window(3)         none()
///          j 0 1 2 3 4              j 0 1 2 3 4            j 0 1 2 3 4
///     i 0    # . . . .         i 0    # . . . .       i 0    # # # # #
///       1    # # . . .           1    # # . . .         1    # # # # #
///       2    # # # . .           2    # # # . .         2    # # # # #
///       3    # # # # .           3    . # # # .         3    # # # # #
///       4    # # # # #           4    . . # # #         4    # # # # #
class Mask {
 public:
  /// Every key is visible (encoders, cross-attention).
  static Mask none() { return Mask(kUnbounded, kUnbounded); }

  /// The query's own key and all before it.
  static Mask causal() { return Mask(kUnbounded, 0); }

  /// The query's own key and the `tokens - 1` before it: `tokens` visible keys in all.
  /// @throws Error{kBadArgument} if tokens < 1.
  static Mask sliding_window(std::int64_t tokens);

  /// The query's own key, `before` keys before it and `after` keys after it.
  /// @throws Error{kBadArgument} if one is negative.
  static Mask window(std::int64_t before, std::int64_t after);

  /// Visible under both masks.
  Mask operator&(const Mask& other) const;

  /// Positions that a query at `position` sees, out of [0, kv_tokens).
  Range visible(std::int64_t position, std::int64_t kv_tokens) const;

  /// For people and for `explain()`, for example "causal, window 256".
  std::string describe() const;

  bool operator==(const Mask&) const = default;

 private:
  static constexpr std::int64_t kUnbounded = std::numeric_limits<std::int64_t>::max();

  Mask(std::int64_t before, std::int64_t after) : before_(before), after_(after) {}

  std::int64_t before_;  // keys visible before the query's position
  std::int64_t after_;   // keys visible after it
};

}  // namespace rapt
