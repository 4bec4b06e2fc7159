#include "rapt/mask.h"

#include <algorithm>

#include "base/check.h"

namespace rapt {

Mask Mask::sliding_window(std::int64_t tokens) {
  require(tokens >= 1, ErrorCode::kBadArgument, "Mask::sliding_window tokens", "at least 1",
          tokens);
  return Mask(tokens - 1, 0);
}

Mask Mask::window(std::int64_t before, std::int64_t after) {
  require(before >= 0, ErrorCode::kBadArgument, "Mask::window before", "at least 0", before);
  require(after >= 0, ErrorCode::kBadArgument, "Mask::window after", "at least 0", after);
  return Mask(before, after);
}

Mask Mask::operator&(const Mask& other) const {
  return Mask(std::min(before_, other.before_), std::min(after_, other.after_));
}

Range Mask::visible(std::int64_t position, std::int64_t kv_tokens) const {
  if (kv_tokens <= 0) return {};
  // A difference or sum is taken only where it cannot overflow.
  const std::int64_t begin = before_ >= position ? 0 : position - before_;
  const bool to_the_end = position >= 0 && after_ >= kv_tokens - position;
  const std::int64_t end = to_the_end ? kv_tokens : std::min(kv_tokens, position + after_ + 1);
  return begin < end ? Range{begin, end} : Range{};
}

std::string Mask::describe() const {
  if (before_ == kUnbounded && after_ == kUnbounded) return "none";
  if (before_ == kUnbounded && after_ == 0) return "causal";
  if (after_ == 0) return "causal, window " + std::to_string(before_ + 1);
  const auto side = [](std::int64_t keys) {
    return keys == kUnbounded ? "all" : std::to_string(keys);
  };
  return "window, " + side(before_) + " before and " + side(after_) + " after";
}

}  // namespace rapt
