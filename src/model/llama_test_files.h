#pragma once

// Models of the Llama family whose weights a test sets one by one.

#include <cstdint>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/splitmix64.h"
#include "model/model_test_files.h"
#include "rapt/model.h"

namespace rapt::test {

/// A matrix [rows, columns] of a checkpoint, or a vector of one column.
struct TestWeight {
  std::int64_t rows = 0, columns = 0;
  std::vector<float> values;

  float& at(std::int64_t row, std::int64_t column) { return values[row * columns + column]; }
};

/// All weights of small_config(), with `layers` of them: zeros, and norms of ones.
class LlamaFiles {
 public:
  explicit LlamaFiles(std::int64_t layers, nlohmann::json config = small_config())
      : config_(std::move(config)) {
    config_["num_hidden_layers"] = layers;
    const std::int64_t width = config_["hidden_size"], mlp = config_["intermediate_size"],
                       q_heads = config_["num_attention_heads"],
                       kv_heads = config_["num_key_value_heads"];
    const std::int64_t dim = config_.value("head_dim", width / q_heads);
    add("model.embed_tokens", config_["vocab_size"], width);
    add("model.norm", width, 1, 1);
    for (std::int64_t n = 0; n < layers; ++n) {
      add(name(n, "input_layernorm"), width, 1, 1);
      add(name(n, "self_attn.q_proj"), q_heads * dim, width);
      add(name(n, "self_attn.k_proj"), kv_heads * dim, width);
      add(name(n, "self_attn.v_proj"), kv_heads * dim, width);
      add(name(n, "self_attn.o_proj"), width, q_heads * dim);
      add(name(n, "post_attention_layernorm"), width, 1, 1);
      add(name(n, "mlp.gate_proj"), mlp, width);
      add(name(n, "mlp.up_proj"), mlp, width);
      add(name(n, "mlp.down_proj"), width, mlp);
    }
  }

  static std::string name(std::int64_t layer, const std::string& part) {
    return "model.layers." + std::to_string(layer) + "." + part;
  }

  TestWeight& operator[](const std::string& name) { return weights_.at(name); }

  /// Numbers in [-size, size) in every matrix.
  void randomise(float size) {
    std::uint64_t drawn = 0;
    for (auto& [name, weight] : weights_)
      if (weight.columns > 1)
        for (float& value : weight.values)
          value = size * (static_cast<float>(splitmix64(1, ++drawn) >> 40) * 0x1p-23f - 1.0f);
  }

  Model load() const {
    const Directory directory;  // what is mapped outlives its names
    write(directory);
    return Model::load(directory.path());
  }

  void write(const Directory& directory) const {
    std::vector<TensorFields> tensors;
    for (const auto& [name, weight] : weights_) {
      std::string bytes(weight.values.size() * sizeof(float), '\0');
      std::memcpy(bytes.data(), weight.values.data(), bytes.size());
      std::vector<std::int64_t> shape = {weight.rows};
      if (weight.columns > 1) shape.push_back(weight.columns);
      tensors.push_back({name + ".weight", "F32", shape, bytes});
    }
    directory.write("config.json", config_.dump());
    directory.write("model.safetensors", safetensors(tensors));
  }

 private:
  void add(const std::string& name, std::int64_t rows, std::int64_t columns, float value = 0) {
    weights_[name] = {rows, columns, std::vector<float>(rows * columns, value)};
  }

  nlohmann::json config_;
  std::map<std::string, TestWeight> weights_;
};

}  // namespace rapt::test
