#pragma once

// The test vectors of ONNX operators: index.json names each case's operator, attributes and files.

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/mapped_file.h"
#include "npy.h"
#include "rapt/tensor.h"

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

/// A tensor as [B, T, H, D]: of four axes it is [B, H, T, D], of three [B, T, H D].
template <class T>
TensorView<T> heads_of(const std::vector<std::int64_t>& shape, std::int64_t heads, T* data) {
  if (shape.size() == 3) return {data, {shape[0], shape[1], heads, shape[2] / heads}};
  const std::int64_t h = shape[1], t = shape[2], d = shape[3];
  return {data, {shape[0], t, h, d}, {h * t * d, d, t * d, 1}};
}

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
