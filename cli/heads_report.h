#pragma once

#include <string>
#include <vector>

#include "cli/texts.h"
#include "rapt/head_interventions.h"
#include "rapt/head_roles.h"

namespace rapt::cli {

/// What was looked at.
struct HeadsRun {
  std::string model;
  std::string without;  ///< the heads that were taken away for `after`, as they were named
  std::vector<Text> texts = {};
  std::vector<HeadScores> before = {}, after = {};  ///< a text each; `after` may be empty
  std::vector<double> copying = {};                 ///< [L, Hq], or empty
  double seconds = 0;
};

/// Prints the roles, the entropies, and what taking heads away does to the others' roles.
void report_heads(const HeadsRun& run, const std::vector<HeadIndex>& without, bool json);

}  // namespace rapt::cli
