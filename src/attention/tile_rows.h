#pragma once

#include <cstdint>

#include "attention/plan_detail.h"
#include "base/carver.h"

namespace rapt {

/// What the rows of one strip see of one chunk, and what changes their scores: the mask and the
/// modifiers, as the kernels take them.
class TileRows {
 public:
  TileRows(const PlanDetail& plan, Carver& carver);

  /// Comes to a chunk of a sequence: its positions are the same for every row.
  void enter(std::int64_t b, std::int64_t chunk);

  /// Rows [row, row + count) of a kv head against that chunk, which covers them so.
  void prepare(const WorkItem& item, std::int64_t row, int count, std::int64_t chunk,
               Coverage coverage, const Inputs& inputs);

  const std::uint32_t* seen() const { return seen_; }
  const std::uint32_t* whole() const { return whole_; }
  const KeyBits* visible() const { return visible_; }
  const ScoreChanges& changes() const { return changes_; }

 private:
  void see_all(int count, std::int64_t keys);
  void find_groups(int r);
  const float* relative_biases(int r, const MaskRow& row, std::int64_t first, std::int64_t keys);
  const float* additive_biases(int r, const MaskRow& row, std::int64_t first, std::int64_t keys,
                               const ConstTensor& bias, KeyBits& bits);

  const PlanDetail& plan_;
  std::uint32_t* seen_;
  std::uint32_t* whole_;
  KeyBits* visible_;
  ScoreChanges changes_;
  float* slopes_ = nullptr;
  float* q_positions_ = nullptr;
  float* kv_positions_ = nullptr;
  const float** relative_ = nullptr;
  const float** additive_ = nullptr;
  float* relative_lines_ = nullptr;  // [kMostStripQueries, kChunkKeys]
  float* additive_lines_ = nullptr;  // [kMostStripQueries, kChunkKeys]
};

}  // namespace rapt
