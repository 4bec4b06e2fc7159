#pragma once

#include <string>

#include "cli/ablation.h"

namespace rapt::cli {

/// Prints what was measured: intervals and tests where there are enough texts for them.
/// @pre    all of it was measured.
void report_ablation(const std::string& model, const AblationPlan& plan,
                     const std::vector<TextLosses>& losses, double seconds, bool json);

}  // namespace rapt::cli
