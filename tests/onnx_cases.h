#pragma once

// The test vectors of ONNX operators: index.json names each case's operator, attributes and files.

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/mapped_file.h"
#include "npy.h"

namespace rapt::test {

struct OnnxCase {
  std::string name;
  nlohmann::json attributes;
  std::map<std::string, NpyArray> inputs, outputs;  ///< those that are given

  bool has(const std::string& input) const { return inputs.contains(input); }
  std::int64_t attribute(const char* key, std::int64_t fallback) const {
    return attributes.value(key, fallback);
  }
};

/// Where the vectors are; they are no part of the project.
inline std::filesystem::path onnx_directory() {
  return std::filesystem::path(RAPT_TEST_DATA) / "onnx-attention";
}

/// The cases of one operator.
inline std::vector<OnnxCase> onnx_cases(const std::string& op) {
  std::vector<OnnxCase> cases;
  for (const auto& entry : nlohmann::json::parse(read_text(onnx_directory() / "index.json"))) {
    if (entry["op"] != op) continue;
    OnnxCase one{entry["case"], entry["attributes"], {}, {}};
    const auto read = [&](const char* side, std::map<std::string, NpyArray>& arrays) {
      for (const auto& tensor : entry[side])
        if (!tensor.is_null())
          arrays[tensor["name"]] =
              read_npy(onnx_directory() / one.name / tensor["file"].get<std::string>());
    };
    read("inputs", one.inputs);
    read("outputs", one.outputs);
    cases.push_back(std::move(one));
  }
  return cases;
}

}  // namespace rapt::test
