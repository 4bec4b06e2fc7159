#include "rapt/error.h"

namespace rapt {

const char* name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kBadArgument:
      return "bad_argument";
    case ErrorCode::kBadShape:
      return "bad_shape";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kBadFile:
      return "bad_file";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kOutOfMemory:
      return "out_of_memory";
  }
  return "unknown";
}

}  // namespace rapt
