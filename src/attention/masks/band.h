#pragma once

#include <memory>

#include "attention/mask_node.h"

namespace rapt {

/// Far beyond every distance of positions, and far from overflow.
inline constexpr std::int64_t kUnbounded = std::int64_t{1} << 60;

/// Visible where -after <= query - key <= before, by position or counted from the first tokens.
std::unique_ptr<MaskNode> make_band(std::int64_t before, std::int64_t after, bool top_left = false);

/// Visible where query - key, by position, is a multiple of `stride` > 1.
std::unique_ptr<MaskNode> make_strided(std::int64_t stride);

/// Visible where the slot is below lengths[b].
std::unique_ptr<MaskNode> make_prefix(std::vector<std::int64_t> lengths);

}  // namespace rapt
