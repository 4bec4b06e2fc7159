#include "attention/tile_rows.h"

#include <algorithm>
#include <limits>

namespace rapt {
namespace {

constexpr float kHides = -std::numeric_limits<float>::infinity();

/// Bit g of the result: some of bits 16 g .. 16 g + 15 is set.
std::uint32_t any_of_groups(std::uint64_t word) {
  word |= word >> 8;
  word |= word >> 4;
  word |= word >> 2;
  word |= word >> 1;
  // Bits 0, 16, 32 and 48 meet in the upper bits of the product.
  word &= 0x0001000100010001;
  return static_cast<std::uint32_t>(word * 0x0001000200040008 >> 48) & 0xF;
}

/// A view whose axes of extent 1 are broadcast.
ConstTensor broadcast(ConstTensor view) {
  for (std::size_t axis = 0; axis < view.extents.size(); ++axis)
    if (view.extents[axis] == 1) view.strides[axis] = 0;
  return view;
}

}  // namespace

TileRows::TileRows(const PlanDetail& plan, Carver& carver) : plan_(plan) {
  seen_ = carver.take<std::uint32_t>(kMostStripQueries);
  whole_ = carver.take<std::uint32_t>(kMostStripQueries);
  visible_ = carver.take<KeyBits>(kMostStripQueries);
  const Problem& problem = plan.problem;
  changes_.softcap = problem.modifiers.softcap.value_or(0.0f);
  if (!plan.slopes.empty()) {
    slopes_ = carver.take<float>(kMostStripQueries);
    q_positions_ = carver.take<float>(kMostStripQueries);
    kv_positions_ = carver.take<float>(kChunkKeys);
    changes_.slope = slopes_;
    changes_.q_position = q_positions_;
    changes_.k_position = kv_positions_;
  }
  if (problem.modifiers.relative_bias) {
    relative_ = carver.take<const float*>(kMostStripQueries);
    relative_lines_ = carver.take<float>(kMostStripQueries * kChunkKeys);
    changes_.relative_bias = relative_;
  }
  if (problem.modifiers.additive_bias) {
    additive_ = carver.take<const float*>(kMostStripQueries);
    additive_lines_ = carver.take<float>(kMostStripQueries * kChunkKeys);
    changes_.additive_bias = additive_;
  }
}

void TileRows::enter(std::int64_t b, std::int64_t chunk) {
  if (kv_positions_ == nullptr) return;
  const MaskSequence sequence(plan_.problem, b);
  const std::int64_t first = chunk * kChunkKeys, last = sequence.slots() - 1;
  for (std::int64_t j = 0; j < kChunkKeys; ++j)  // kernels read whole groups
    kv_positions_[j] = static_cast<float>(sequence.kv_position(std::min(first + j, last)));
}

void TileRows::prepare(const WorkItem& item, std::int64_t row, int count, std::int64_t chunk,
                       Coverage coverage, const Inputs& inputs) {
  const Problem& problem = plan_.problem;
  const MaskSequence sequence(problem, item.sequence);
  const std::int64_t first = chunk * kChunkKeys;
  const std::int64_t keys = std::min<std::int64_t>(kChunkKeys, sequence.slots() - first);
  const bool all = coverage == Coverage::kFull && !problem.modifiers.additive_bias;
  if (all) see_all(count, keys);
  if (all && !problem.modifiers.changes_scores()) return;

  const ConstTensor bias = broadcast(inputs.bias);
  const MaskNode& mask = problem.mask.node();
  const std::int64_t first_head = item.kv_head * problem.group();
  std::int64_t i = plan_.order.query(row), g = plan_.order.head_of_group(row);
  std::int64_t like = -1, like_i = 0, like_h = 0;  // a row before that has the mask's bits alone
  for (int r = 0; r < count; ++r, plan_.order.advance(i, g)) {
    const std::int64_t h = first_head + g;
    const MaskRow mask_row{sequence, h, i};
    if (slopes_ != nullptr) {
      slopes_[r] = plan_.slopes[static_cast<std::size_t>(h)];
      q_positions_[r] = static_cast<float>(mask_row.position());
    }
    if (relative_ != nullptr) relative_[r] = relative_biases(r, mask_row, first, keys);
    if (all) continue;
    if (like >= 0 && see_the_same(mask, {sequence, like_h, like_i}, mask_row)) {
      visible_[r] = visible_[like];
      seen_[r] = seen_[like];
      whole_[r] = whole_[like];
      continue;
    }
    visible_[r] = visible_keys(mask, mask_row, chunk);
    if (additive_ != nullptr)
      additive_[r] = additive_biases(r, mask_row, first, keys, bias, visible_[r]);
    else
      like = r, like_i = i, like_h = h;
    find_groups(r);
  }
}

void TileRows::see_all(int count, std::int64_t keys) {
  const std::uint32_t groups = ~std::uint32_t{0} >> (32 - keys / kGroupKeys);
  std::fill_n(seen_, count, groups);
  std::fill_n(whole_, count, groups);
}

void TileRows::find_groups(int r) {
  const KeyBits& bits = visible_[r];
  std::uint32_t seen = 0, not_whole = 0;
  for (int n = 0; n < kChunkKeys / 64; ++n) {
    seen |= any_of_groups(bits.words[n]) << (4 * n);
    not_whole |= any_of_groups(~bits.words[n]) << (4 * n);
  }
  seen_[r] = seen;
  whole_[r] = ~not_whole;
}

const float* TileRows::relative_biases(int r, const MaskRow& row, std::int64_t first,
                                       std::int64_t keys) {
  const DistanceTable& table = plan_.relative_bias;
  const MaskSequence& sequence = row.sequence;
  const std::int64_t position = row.position();
  if (row.is_padding())
    keys = 0;  // a padded query has no distance
  else if (sequence.q_positions == nullptr && sequence.kv_positions == nullptr)
    return table.at(row.head, first - position);
  float* line = relative_lines_ + r * kChunkKeys;
  for (std::int64_t j = 0; j < keys; ++j)
    line[j] = *table.at(row.head, std::clamp(sequence.kv_position(first + j) - position,
                                             table.lowest, table.highest));
  std::fill(line + keys, line + kChunkKeys, 0.0f);
  return line;
}

const float* TileRows::additive_biases(int r, const MaskRow& row, std::int64_t first,
                                       std::int64_t keys, const ConstTensor& bias, KeyBits& bits) {
  float* line = additive_lines_ + r * kChunkKeys;
  const float* from =
      &bias.at(row.sequence.b, row.head, row.query, row.sequence.keys.begin + first);
  bool hides = false;
  for (std::int64_t j = 0; j < keys; ++j) {
    line[j] = from[j * bias.strides[3]];
    hides |= line[j] == kHides;
  }
  std::fill(line + keys, line + kChunkKeys, 0.0f);
  if (hides)
    for (std::int64_t j = 0; j < keys; ++j)
      if (line[j] == kHides) bits.words[j / 64] &= ~(std::uint64_t{1} << (j % 64));
  return line;
}

}  // namespace rapt
