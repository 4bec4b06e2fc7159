#pragma once

#include <memory>

#include "attention/mask_node.h"

namespace rapt {

std::shared_ptr<const MaskNode> make_and(std::shared_ptr<const MaskNode> a,
                                         std::shared_ptr<const MaskNode> b);
std::shared_ptr<const MaskNode> make_or(std::shared_ptr<const MaskNode> a,
                                        std::shared_ptr<const MaskNode> b);
std::shared_ptr<const MaskNode> make_not(std::shared_ptr<const MaskNode> a);

}  // namespace rapt
