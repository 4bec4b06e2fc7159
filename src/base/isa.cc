#include "base/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdlib>
#include <string>

#include "rapt/error.h"

namespace rapt {
namespace {

constexpr Isa kAll[] = {Isa::kAvx512Bf16, Isa::kAvx512, Isa::kAvx2, Isa::kNeon, Isa::kScalar};

#if defined(__x86_64__)
// __builtin_cpu_supports of clang 14 does not know it.
bool cpu_has_f16c() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

[[maybe_unused]] bool cpu_has_avx512bf16() {
  constexpr unsigned kBit = 1u << 5;  // of leaf 7, subleaf 1
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & kBit) != 0;
}
#endif

bool cpu_has(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return true;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpu_has_f16c();
    case Isa::kAvx512:
#if defined(RAPT_EMULATE_AVX512)
      return cpu_has(Isa::kAvx2);
#else
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    case Isa::kAvx512Bf16:
#if defined(RAPT_EMULATE_AVX512)
      return cpu_has(Isa::kAvx2);
#else
      return cpu_has(Isa::kAvx512) && cpu_has_avx512bf16();
#endif
#elif defined(__aarch64__)
    case Isa::kNeon:
      return true;
#endif
    default:
      return false;
  }
}

}  // namespace

const char* name(Isa isa) noexcept {
  switch (isa) {
    case Isa::kAvx512Bf16:
      return "avx512bf16";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kNeon:
      return "neon";
    case Isa::kScalar:
      return "scalar";
  }
  return "unknown";
}

const std::vector<Isa>& supported_isas() {
  static const std::vector<Isa> supported = [] {
    std::vector<Isa> found;
    for (Isa isa : kAll)
      if (cpu_has(isa)) found.push_back(isa);
    return found;
  }();
  return supported;
}

Isa active_isa() {
  const char* forced = std::getenv("RAPT_FORCE_ISA");
  if (forced == nullptr || *forced == '\0') return supported_isas().front();
  for (Isa isa : supported_isas())
    if (std::string(forced) == name(isa)) return isa;
  std::string known, here;
  for (Isa isa : kAll) known += std::string(known.empty() ? "" : ", ") + name(isa);
  for (Isa isa : supported_isas()) here += std::string(here.empty() ? "" : ", ") + name(isa);
  throw Error(ErrorCode::kUnsupported, "RAPT_FORCE_ISA: expected one of " + known +
                                           " that this machine runs (" + here + "), got '" +
                                           forced + "'");
}

}  // namespace rapt
