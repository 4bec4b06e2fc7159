#pragma once

#include <string>

#include "rapt/model_audit.h"

namespace rapt::cli {

/// What was audited.
struct AuditedText {
  std::string model, text;  ///< for people: "FILE, the first 512 of 900 tokens"
  std::int64_t tokens = 0;
  double seconds = 0;
};

/// Prints the report.
/// @throws CLI::RuntimeError{kLeak} if the audit has found one; as `print`.
void report_audit(const AuditedText& audited, const ModelAudit& audit, bool json);

}  // namespace rapt::cli
