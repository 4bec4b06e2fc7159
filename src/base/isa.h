#pragma once

#include <vector>

namespace rapt {

/// Instruction sets that kernels are written for; those of one CPU ascend.
/// kAvx512Bf16 is AVX-512 with the bf16 dot product, which native bf16 alone uses.
enum class Isa { kScalar, kNeon, kAvx2, kAvx512, kAvx512Bf16 };

const char* name(Isa isa) noexcept;

/// Instruction sets that this build contains and this CPU runs, best first; scalar is always last.
const std::vector<Isa>& supported_isas();

/// The instruction set to use: the best supported one, or the one that the environment variable
/// RAPT_FORCE_ISA names ("scalar", "neon", "avx2", "avx512", "avx512bf16"). Read anew by every
/// call, so that a test can change it; this is the only place that reads it.
///
/// @throws Error{kUnsupported} that lists the known names, if it is none of them or not supported
///         here.
Isa active_isa();

/// First entry of a best-first kernel table that runs on `isa`.
template <class Table>
const auto& entry_for(const Table& table, Isa isa) {
  for (const auto& entry : table)
    if (entry.isa <= isa) return entry;
  return table.back();
}

}  // namespace rapt
