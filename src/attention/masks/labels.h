#pragma once

#include <memory>
#include <string>
#include <vector>

#include "attention/mask_node.h"

namespace rapt {

/// Visible where the labels of the query's place and of the key's slot are equal.
std::unique_ptr<MaskNode> make_same_label(PerSequence<std::int64_t> labels, std::string name);

/// Visible where bit y of table[x] is set, x the label of the query's place and y that of the slot;
/// at most 64 labels. Slots beyond a list have the label `beyond`; without it a list that is too
/// short is an error.
std::unique_ptr<MaskNode> make_label_table(PerSequence<std::int64_t> labels,
                                           std::vector<std::uint64_t> table, std::string name,
                                           std::int64_t beyond = -1);

}  // namespace rapt
