#include <cstdio>

#include "c/guard.h"

namespace rapt::c {
namespace {

thread_local char last_message[512];

constexpr struct {
  ErrorCode code;
  rapt_status status;
} kCodes[] = {{ErrorCode::kBadArgument, RAPT_BAD_ARGUMENT},
              {ErrorCode::kBadShape, RAPT_BAD_SHAPE},
              {ErrorCode::kUnsupported, RAPT_UNSUPPORTED},
              {ErrorCode::kBadFile, RAPT_BAD_FILE},
              {ErrorCode::kIo, RAPT_IO},
              {ErrorCode::kOutOfMemory, RAPT_OUT_OF_MEMORY}};

}  // namespace

rapt_status fail(rapt_status status, const char* message) noexcept {
  std::snprintf(last_message, sizeof last_message, "%s", message);
  return status;
}

rapt_status status_of(ErrorCode code) noexcept {
  for (const auto& [own, status] : kCodes)
    if (own == code) return status;
  return RAPT_INTERNAL;
}

}  // namespace rapt::c

const char* rapt_error_message(void) { return rapt::c::last_message; }

const char* rapt_status_name(rapt_status status) {
  if (status == RAPT_OK) return "ok";
  if (status == RAPT_INTERNAL) return "internal";
  for (const auto& [own, known] : rapt::c::kCodes)
    if (known == status) return name(own);
  return "unknown";
}

int32_t rapt_version(void) {
  return 10000 * RAPT_VERSION_MAJOR + 100 * RAPT_VERSION_MINOR + RAPT_VERSION_PATCH;
}

#define RAPT_TEXT_OF(x) #x
#define RAPT_TEXT(x) RAPT_TEXT_OF(x)
const char* rapt_version_string(void) {
  return RAPT_TEXT(RAPT_VERSION_MAJOR) "." RAPT_TEXT(RAPT_VERSION_MINOR) "." RAPT_TEXT(
      RAPT_VERSION_PATCH);
}
