#pragma once

// What a test of bad input expects: an Error that names what was rejected.

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "rapt/error.h"

namespace rapt::test {

inline constexpr auto kArgument = ErrorCode::kBadArgument;
inline constexpr auto kShape = ErrorCode::kBadShape;

/// Whether `f` throws an Error of `code` whose message starts with the rejected name.
inline testing::AssertionResult rejects(const std::string& what, ErrorCode code,
                                        const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    const std::string message = error.what();
    if (error.code() != code)
      return testing::AssertionFailure() << "code " << name(error.code()) << ": " << message;
    if (message.rfind(what + ": expected ", 0) != 0 || message.find(", got ") == std::string::npos)
      return testing::AssertionFailure() << "message: " << message;
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << "nothing was thrown";
}

}  // namespace rapt::test
