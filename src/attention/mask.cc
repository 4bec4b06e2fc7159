#include "rapt/mask.h"

#include <utility>

#include "attention/masks/band.h"
#include "attention/masks/compose.h"
#include "attention/masks/labels.h"
#include "attention/masks/lists.h"
#include "base/check.h"
#include "base/memory.h"

namespace rapt {
namespace {

constexpr ErrorCode kBad = ErrorCode::kBadArgument;

/// @throws Error{kBadArgument} if there is no list, or f(b, n, value) says what was expected of one.
template <class F>
void check_lists(const PerSequence<std::int64_t>& lists, const std::string& where, F&& expected) {
  require(!lists.empty(), kBad, where, "a list", "none");
  for (std::size_t b = 0; b < lists.size(); ++b)
    for (std::size_t n = 0; n < lists[b].size(); ++n) {
      const std::string wish = expected(lists[b], n);
      require(wish.empty(), kBad, where + "[" + std::to_string(b) + "][" + std::to_string(n) + "]",
              wish, lists[b][n]);
    }
}

std::vector<LabelList> label_lists(const PerSequence<std::int64_t>& lists) {
  std::vector<LabelList> labels;
  for (const auto& list : lists) {
    LabelList& of_slots = labels.emplace_back();
    for (const std::int64_t label : list) of_slots.append(label, 1);
  }
  return labels;
}

}  // namespace

Mask Mask::none() {
  static const std::shared_ptr<const MaskNode> node = make_band(kUnbounded, kUnbounded);
  return Mask(node);
}

Mask Mask::causal() { return Mask(make_band(kUnbounded, 0)); }

Mask Mask::causal_top_left() { return Mask(make_band(kUnbounded, 0, true)); }

Mask Mask::sliding_window(std::int64_t tokens) {
  require(tokens >= 1, kBad, "Mask::sliding_window tokens", "at least 1", tokens);
  return Mask(make_band(tokens - 1, 0));
}

Mask Mask::window(std::int64_t before, std::int64_t after) {
  require(before >= 0, kBad, "Mask::window before", "at least 0", before);
  require(after >= 0, kBad, "Mask::window after", "at least 0", after);
  return Mask(make_band(before, after));
}

Mask Mask::strided(std::int64_t stride) {
  require_extent(stride, 1, "Mask::strided stride");
  return stride == 1 ? none() : Mask(make_strided(stride));
}

Mask Mask::dilated_window(std::int64_t tokens, std::int64_t dilation) {
  require(tokens >= 1, kBad, "Mask::dilated_window tokens", "at least 1", tokens);
  require_extent(dilation, 1, "Mask::dilated_window dilation");
  const std::int64_t before =
      tokens - 1 > kUnbounded / dilation ? kUnbounded : (tokens - 1) * dilation;
  return Mask(make_band(before, 0)) & strided(dilation);
}

Mask Mask::prefix(const std::vector<std::int64_t>& lengths) {
  require(!lengths.empty(), kBad, "Mask::prefix lengths", "a length", "none");
  for (const std::int64_t length : lengths)
    require(length >= 0, kBad, "Mask::prefix lengths", "lengths of at least 0", length);
  return Mask(make_prefix(lengths));
}

Mask Mask::documents(const PerSequence<std::int64_t>& ids) {
  check_lists(ids, "Mask::documents", [](const auto&, std::size_t) { return std::string(); });
  return Mask(make_same_label(label_lists(ids), "documents"));
}

Mask Mask::documents_from_offsets(const PerSequence<std::int64_t>& offsets) {
  const std::string where = "Mask::documents_from_offsets";
  check_lists(offsets, where, [](const auto& list, std::size_t n) {
    if (n == 0) return std::string(list[0] == 0 ? "" : "0");
    return list[n] >= list[n - 1] && list[n] <= std::int64_t{1} << 40
               ? std::string()
               : std::to_string(list[n - 1]) + " to 2^40";
  });
  std::vector<LabelList> ids;
  for (const auto& list : offsets) {
    LabelList& documents = ids.emplace_back();
    for (std::size_t n = 0; n + 1 < list.size(); ++n)
      documents.append(static_cast<std::int64_t>(n), list[n + 1] - list[n]);
  }
  return Mask(make_same_label(std::move(ids), "documents"));
}

Mask Mask::structure(const PerSequence<std::int64_t>& kinds,
                     const std::vector<std::vector<bool>>& visible) {
  const std::int64_t count = std::ssize(visible);
  require(count >= 1 && count <= 64, kBad, "Mask::structure visible", "1 to 64 kinds", count);
  std::vector<std::uint64_t> table;
  for (const std::vector<bool>& row : visible) {
    require(std::ssize(row) == count, kBad, "Mask::structure visible",
            std::to_string(count) + " kinds a row", row.size());
    std::uint64_t& seen = table.emplace_back(0);
    for (std::size_t y = 0; y < row.size(); ++y)
      if (row[y]) seen |= std::uint64_t{1} << y;
  }
  check_lists(kinds, "Mask::structure kinds", [&](const auto& list, std::size_t n) {
    return list[n] >= 0 && list[n] < count ? std::string() : "0 to " + std::to_string(count - 1);
  });
  return Mask(make_label_table(label_lists(kinds), std::move(table), "structure"));
}

Mask Mask::global(const PerSequence<std::int64_t>& slots) {
  check_lists(slots, "Mask::global", [](const auto& list, std::size_t n) {
    const std::int64_t low = n == 0 ? 0 : list[n - 1] + 1;
    return list[n] >= low && list[n] <= std::int64_t{1} << 40 ? std::string()
                                                              : std::to_string(low) + " to 2^40";
  });
  std::vector<LabelList> labels;
  for (const auto& list : slots) {
    LabelList& of_slots = labels.emplace_back();
    for (const std::int64_t slot : list) {
      of_slots.append(0, slot - of_slots.size());
      of_slots.append(1, 1);
    }
  }
  return Mask(make_label_table(std::move(labels), {0b10, 0b11}, "global", 0));
}

Mask Mask::tree(const PerSequence<std::int64_t>& parents) {
  check_lists(parents, "Mask::tree parents", [](const auto& list, std::size_t n) {
    return list[n] >= -1 && list[n] < static_cast<std::int64_t>(n)
               ? std::string()
               : "-1 to " + std::to_string(static_cast<std::int64_t>(n) - 1);
  });
  return Mask(make_tree(parents));
}

Mask Mask::blocks(const BlockMask& blocks) { return Mask(make_blocks(blocks)); }

Mask Mask::dense(const TensorView<const std::uint8_t>& bits) {
  for (const std::int64_t extent : bits.extents) require_extent(extent, 0, "Mask::dense bits");
  double bytes = 1.0;
  for (const std::int64_t extent : bits.extents) bytes *= static_cast<double>(extent);
  require(bytes <= 0x1p43, kBad, "Mask::dense bits", "at most 2^43 of them", bytes);
  const bool empty = std::count(bits.extents.begin(), bits.extents.end(), 0) > 0;
  require(empty || bits.data != nullptr, kBad, "Mask::dense bits", "a view with data",
          "a null pointer");
  return with_memory("Mask::dense", [&] { return Mask(make_dense(bits)); });
}

Mask Mask::operator&(const Mask& other) const {
  const std::shared_ptr<const MaskNode> all = none().node_;
  if (node_ == all) return other;
  if (other.node_ == all) return *this;
  return Mask(make_and(node_, other.node_));
}

Mask Mask::operator|(const Mask& other) const { return Mask(make_or(node_, other.node_)); }

Mask Mask::operator~() const { return Mask(make_not(node_)); }

bool Mask::operator==(const Mask& other) const { return same_node(node_, other.node_); }

std::string Mask::describe() const { return node_->describe(); }

}  // namespace rapt
