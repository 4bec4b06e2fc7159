#pragma once

#include <stdexcept>
#include <string>

namespace rapt {

/// What went wrong, for programs; `Error::what()` is the sentence for people.
enum class ErrorCode {
  kBadArgument,  ///< a value is outside its range
  kBadShape,     ///< extents or strides disagree
  kUnsupported,  ///< well formed, but not served by this build or machine
  kBadFile,      ///< a file's content is malformed
  kIo,           ///< the operating system refused
  kOutOfMemory,  ///< an allocation failed
};

/// The only exception that rapt throws.
///
/// The message reads "where: expected …, got …", for example
/// `Problem.q_heads: expected a multiple of kv_heads (4), got 6`.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

/// Stable lower-case name of `code`, for example "bad_shape".
const char* name(ErrorCode code) noexcept;

}  // namespace rapt
