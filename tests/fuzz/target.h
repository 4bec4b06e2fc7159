#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "rapt/error.h"

/// libFuzzer's entry function, which each target defines. It returns 0, or the program ends.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace rapt::fuzz {

/// Ends the program unless `holds`.
inline void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "expected %s\n", what);
  std::abort();
}

/// Calls `read`, which may refuse what it reads: by an Error of a file that begins with "FILE", and
/// in no other way.
template <class F>
void read_or_refuse(F&& read) {
  try {
    read();
  } catch (const Error& error) {
    expect(error.code() == ErrorCode::kBadFile || error.code() == ErrorCode::kUnsupported,
           error.what());
    expect(std::string_view(error.what()).starts_with("FILE"), error.what());
  }
}

}  // namespace rapt::fuzz
