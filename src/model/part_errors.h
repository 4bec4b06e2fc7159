#pragma once

#include <string>

#include "rapt/error.h"

namespace rapt {

/// make(), whose errors begin with `name`: a part of a model that its files describe wrongly.
template <class F>
auto named(const std::string& name, F&& make) {
  try {
    return make();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kBadArgument) throw;
    throw Error(ErrorCode::kBadFile, name + ": " + error.what());
  }
}

}  // namespace rapt
