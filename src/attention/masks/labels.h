#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attention/mask_node.h"

namespace rapt {

/// Labels of a sequence's slots, as runs of equal ones.
class LabelList {
 public:
  /// `count` more slots.
  void append(std::int64_t label, std::int64_t count) {
    if (count == 0) return;
    if (runs_.empty() || runs_.back().label != label) {
      ascending_ = ascending_ && (runs_.empty() || runs_.back().label < label);
      runs_.push_back({size_, label});
    }
    size_ += count;
  }

  bool operator==(const LabelList&) const = default;

  std::int64_t size() const { return size_; }
  bool ascending() const { return ascending_; }

  /// Calls f(first slot, end, label) for the runs that meet [begin, end); slots at or beyond the
  /// list are one run of `beyond`.
  template <class F>
  void for_each(Range slots, std::int64_t beyond, F&& f) const {
    std::int64_t begin = slots.begin;
    const std::int64_t listed = std::min(slots.end, size_);
    if (begin < listed)
      for (auto run = run_of(begin); begin < listed; ++run) {
        const std::int64_t end = std::min(listed, end_of(run));
        f(begin, end, run->label);
        begin = end;
      }
    if (begin < slots.end) f(begin, slots.end, beyond);
  }

  std::int64_t at(std::int64_t slot, std::int64_t beyond) const {
    return slot < size_ ? run_of(slot)->label : beyond;
  }

  /// Slots from the first to the last with a label in [low, high], if labels ascend.
  Range between(std::int64_t low, std::int64_t high) const {
    const auto first =
        std::lower_bound(runs_.begin(), runs_.end(), low,
                         [](const Run& run, std::int64_t x) { return run.label < x; });
    const auto last = std::upper_bound(
        first, runs_.end(), high, [](std::int64_t x, const Run& run) { return x < run.label; });
    return {first == runs_.end() ? size_ : first->begin, last == runs_.end() ? size_ : last->begin};
  }

 private:
  struct Run {
    std::int64_t begin, label;
    bool operator==(const Run&) const = default;
  };
  using Iterator = std::vector<Run>::const_iterator;

  Iterator run_of(std::int64_t slot) const {
    return std::upper_bound(runs_.begin(), runs_.end(), slot,
                            [](std::int64_t x, const Run& run) { return x < run.begin; }) -
           1;
  }
  std::int64_t end_of(Iterator run) const {
    return run + 1 == runs_.end() ? size_ : (run + 1)->begin;
  }

  std::vector<Run> runs_;
  std::int64_t size_ = 0;
  bool ascending_ = true;
};

/// Visible where the labels of the query's place and of the key's slot are equal.
std::unique_ptr<MaskNode> make_same_label(std::vector<LabelList> labels, std::string name);

/// Visible where bit y of table[x] is set, x the label of the query's place and y that of the slot;
/// at most 64 labels. Slots beyond a list have the label `beyond`; without it a list that is too
/// short is an error.
std::unique_ptr<MaskNode> make_label_table(std::vector<LabelList> labels,
                                           std::vector<std::uint64_t> table, std::string name,
                                           std::int64_t beyond = -1);

}  // namespace rapt
