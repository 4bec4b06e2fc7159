#pragma once

#include <memory>

#include "attention/mask_node.h"
#include "rapt/block_mask.h"

namespace rapt {

/// The last parents[b].size() slots are a tree: Mask::tree.
std::unique_ptr<MaskNode> make_tree(PerSequence<std::int64_t> parents);

/// Visible where the block is set: Mask::blocks.
std::unique_ptr<MaskNode> make_blocks(BlockMask blocks);

/// Visible where a bit is set, by token: Mask::dense.
std::unique_ptr<MaskNode> make_dense(const TensorView<const std::uint8_t>& bits);

}  // namespace rapt
