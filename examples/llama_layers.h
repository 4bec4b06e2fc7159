#pragma once

// q, k and v of every layer of a Llama-family model in a text: the network written out in the public
// pieces of rapt, so that an example can look between them. Session is what runs models.

#include <rapt/activation.h>
#include <rapt/layer.h>
#include <rapt/model.h>
#include <rapt/norm.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "example.h"

namespace example {

/// Matrices of a BF16 model.safetensors: 8 bytes of header length, a JSON header, the data.
class Safetensors {
 public:
  explicit Safetensors(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::uint64_t size = 0;
    file.read(reinterpret_cast<char*>(&size), sizeof size);
    std::string text(size, ' ');
    file.read(text.data(), static_cast<std::streamsize>(size));
    header_ = nlohmann::json::parse(text);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
  }

  Tensor operator()(const std::string& name) const {
    const nlohmann::json& entry = header_.at(name + ".weight");
    const auto shape = entry.at("shape").get<std::vector<std::int64_t>>();
    Tensor t({1, 1, shape.size() == 1 ? 1 : shape[0], shape.back()});
    const char* data = &bytes_.at(entry.at("data_offsets").at(0).get<std::size_t>());
    for (std::size_t n = 0; n < t.data.size(); ++n)  // BF16 is the upper half of F32
      std::memcpy(reinterpret_cast<char*>(&t.data[n]) + 2, data + 2 * n, 2);
    return t;
  }

 private:
  nlohmann::json header_;
  std::string bytes_;
};

/// What attention gets in one layer: q [1, T, Hq, D], k and v [1, T, Hkv, D].
struct HeadInputs {
  Tensor q, k, v;
};

class LlamaLayers {
 public:
  explicit LlamaLayers(const std::string& directory, const rapt::ModelConfig& config)
      : file_(directory + "/model.safetensors"), c_(config) {}

  /// Those of every layer; `logits` becomes [1, 1, T, vocabulary]: a model with tied embedding.
  std::vector<HeadInputs> operator()(const std::vector<std::int32_t>& ids, Tensor& logits) {
    const std::int64_t tokens = std::ssize(ids), width = c_.hidden_size;
    const Tensor embedding = file_("model.embed_tokens");
    Tensor x({1, 1, tokens, width});
    for (std::int64_t t = 0; t < tokens; ++t)
      std::copy_n(&embedding.data[ids[t] * width], width, &x.data[t * width]);
    std::vector<HeadInputs> layers;
    for (std::int64_t n = 0; n < c_.num_hidden_layers; ++n) {
      const std::string name = "model.layers." + std::to_string(n) + ".";
      const Tensor normed = norm(x, name + "input_layernorm");
      layers.push_back({heads(normed, name + "self_attn.q_proj", true),
                        heads(normed, name + "self_attn.k_proj", true),
                        heads(normed, name + "self_attn.v_proj", false)});
      const auto& [q, k, v] = layers.back();
      Tensor o = attention(problem_of(q, k, v, rapt::Mask::causal()), {q, k, v});
      o.extents = {1, 1, tokens, o.extents[2] * o.extents[3]};
      add(x, linear(o, file_(name + "self_attn.o_proj")));
      add(x, mlp(norm(x, name + "post_attention_layernorm"), name + "mlp."));
    }
    logits = linear(norm(x, "model.norm"), embedding);
    return layers;
  }

 private:
  Tensor norm(const Tensor& x, const std::string& name) const {
    Tensor y(x.extents);
    rapt::rms_norm(threads_, x, file_(name), static_cast<float>(c_.rms_norm_eps), y);
    return y;
  }
  Tensor linear(const Tensor& x, const Tensor& weight) {
    Tensor y({1, 1, x.extents[2], weight.extents[2]});
    const rapt::Linear map(weight);
    map(threads_, x, y, scratch_);
    return y;
  }
  Tensor heads(const Tensor& x, const std::string& name, bool turn) {
    Tensor y = linear(x, file_(name));
    y.extents = {1, x.extents[2], y.extents[3] / c_.head_dim, c_.head_dim};
    std::vector<std::int64_t> positions(x.extents[2]);
    std::iota(positions.begin(), positions.end(), 0);
    if (turn) rapt::apply_rotary(threads_, rapt::Rotary(c_.rotary()).table(positions), y, y);
    return y;
  }
  Tensor mlp(const Tensor& x, const std::string& name) {
    Tensor gate = linear(x, file_(name + "gate_proj"));
    rapt::activate_gated(threads_, c_.hidden_act, gate, linear(x, file_(name + "up_proj")), gate);
    return linear(gate, file_(name + "down_proj"));
  }
  static void add(Tensor& x, const Tensor& y) {
    for (std::size_t n = 0; n < x.data.size(); ++n) x.data[n] += y.data[n];
  }

  Safetensors file_;
  rapt::ModelConfig c_;
  rapt::Threads threads_{1};
  rapt::Scratch scratch_;
};

}  // namespace example
