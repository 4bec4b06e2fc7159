#include "model/pool_heads.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "model/checkpoint.h"
#include "model/model_test_files.h"
#include "rapt/session.h"
#include "util.h"

namespace rapt::test {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kHeads = 4, kDim = 2, kHidden = 8;

const auto kSilent = [](std::int64_t, std::int64_t) {};

nlohmann::json config_of(std::int64_t kv_heads, bool bias) {
  nlohmann::json config = small_config();
  config["num_hidden_layers"] = 2;
  config["num_attention_heads"] = kHeads;
  config["num_key_value_heads"] = kv_heads;
  config["attention_bias"] = bias;
  return config;
}

template <class T>
std::string stored(const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) {
    const T element = from_float<T>(value);
    bytes.append(reinterpret_cast<const char*>(&element), sizeof element);
  }
  return bytes;
}

struct Named {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<float> values;

  bool is_pooled() const {
    return name.find("k_proj") != std::string::npos || name.find("v_proj") != std::string::npos;
  }
};

/// Multiples of 1/64 below 1/2: their means over 2 and 4 are exact in every type.
std::vector<Named> small_weights(bool bias) {
  std::vector<Named> weights;
  Rng rng(5);
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    std::int64_t size = 1;
    for (const std::int64_t extent : shape) size *= extent;
    std::vector<float> values;
    for (std::int64_t n = 0; n < size; ++n)
      values.push_back(static_cast<float>(rng.below(64) - 32) / 64);
    weights.push_back({name, std::move(shape), std::move(values)});
  };
  add("model.embed_tokens.weight", {300, kHidden});
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    for (const std::string projection : {"q", "k", "v", "o"}) {
      add(layer + "self_attn." + projection + "_proj.weight", {kHeads * kDim, kHidden});
      if (bias) add(layer + "self_attn." + projection + "_proj.bias", {kHeads * kDim});
    }
    add(layer + "mlp.gate_proj.weight", {12, kHidden});
    add(layer + "mlp.up_proj.weight", {12, kHidden});
    add(layer + "mlp.down_proj.weight", {kHidden, 12});
    add(layer + "input_layernorm.weight", {kHidden});
    add(layer + "post_attention_layernorm.weight", {kHidden});
  }
  add("model.norm.weight", {kHidden});
  return weights;
}

/// A tensor as it is to be, by its rows: row d of the new head g is the mean of rows d of the heads
/// of its group.
Named pooled_by_hand(Named tensor, std::int64_t kv_heads) {
  const std::int64_t group = kHeads / kv_heads;
  const std::int64_t width = std::ssize(tensor.values) / (kHeads * kDim);
  std::vector<float> values;
  for (std::int64_t row = 0; row < kv_heads * kDim; ++row)
    for (std::int64_t e = 0; e < width; ++e) {
      float sum = 0;
      for (std::int64_t m = 0; m < group; ++m) {
        const std::int64_t head = row / kDim * group + m;
        sum += tensor.values[(head * kDim + row % kDim) * width + e];
      }
      values.push_back(sum / static_cast<float>(group));
    }
  tensor.values = values;
  tensor.shape[0] = kv_heads * kDim;
  return tensor;
}

template <class T>
std::vector<TensorFields> fields_of(const std::vector<Named>& weights, const char* dtype) {
  std::vector<TensorFields> fields;
  for (const Named& tensor : weights)
    fields.push_back({tensor.name, dtype, tensor.shape, stored<T>(tensor.values)});
  return fields;
}

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<float> logits_of(const fs::path& directory) {
  Session session(Model::load(directory), Threads(1));
  const std::int32_t tokens[] = {1, 70, 71, 299, 5, 5};
  const ConstTensor logits = session.prefill(tokens);
  return {logits.data, logits.data + logits.extents[3]};
}

template <class T>
void expect_logits_of_pooled(const char* dtype, std::int64_t kv_heads, bool bias) {
  const Directory from, by_hand, parent;
  std::vector<Named> weights = small_weights(bias);
  from.write("config.json", config_of(kHeads, bias).dump());
  from.write("model.safetensors", safetensors(fields_of<T>(weights, dtype)));
  for (Named& tensor : weights)
    if (tensor.is_pooled()) tensor = pooled_by_hand(tensor, kv_heads);
  by_hand.write("config.json", config_of(kv_heads, bias).dump());
  by_hand.write("model.safetensors", safetensors(fields_of<T>(weights, dtype)));

  const fs::path to = parent.path() / "to";
  pool_kv_heads(from.path(), to, kv_heads, kSilent);
  const std::vector<float> logits = logits_of(to);
  EXPECT_EQ(logits, logits_of(by_hand.path()));
  EXPECT_EQ(logits == logits_of(from.path()), kv_heads == kHeads);
  const Checkpoint pooled(to);
  for (const TensorFields& tensor : fields_of<T>(weights, dtype)) {
    const auto bytes = pooled.tensor(tensor.name).tensor->bytes;
    EXPECT_TRUE(std::ranges::equal(bytes, bytes_of(tensor.bytes))) << tensor.name;
  }
}

TEST(PoolHeads, LogitsAreThoseOfWeightsPooledByHand) {
  for (const std::int64_t kv_heads : {4, 2, 1})
    for (const bool bias : {false, true}) {
      expect_logits_of_pooled<float>("F32", kv_heads, bias);
      expect_logits_of_pooled<BF16>("BF16", kv_heads, bias);
      expect_logits_of_pooled<F16>("F16", kv_heads, bias);
    }
}

/// The mean of four heads that hold one value each.
template <class T>
T mean_of(const std::vector<float>& heads, const char* dtype) {
  std::vector<Named> weights = small_weights(false);
  for (Named& tensor : weights)
    if (tensor.is_pooled())
      for (std::size_t n = 0; n < tensor.values.size(); ++n)
        tensor.values[n] = heads[n / (kDim * kHidden)];
  const Directory from, parent;
  from.write("config.json", config_of(kHeads, false).dump());
  from.write("model.safetensors", safetensors(fields_of<T>(weights, dtype)));
  pool_kv_heads(from.path(), parent.path() / "to", 1, kSilent);
  const Checkpoint pooled(parent.path() / "to");
  T mean;
  std::memcpy(&mean, pooled.tensor("model.layers.1.self_attn.v_proj.weight").tensor->bytes.data(),
              sizeof mean);
  return mean;
}

TEST(PoolHeads, MeansAreRoundedOnce) {
  const auto bf16 = [](std::vector<float> heads) { return to_float(mean_of<BF16>(heads, "BF16")); };
  const auto f16 = [](std::vector<float> heads) { return to_float(mean_of<F16>(heads, "F16")); };
  // Beside a tie by less than f32 has; f32 between would make ties of them.
  for (const float sign : {1.0f, -1.0f}) {
    EXPECT_EQ(bf16({sign * (2 + 0x1p-6f), sign * 2, 0, 0}), sign);
    EXPECT_EQ(bf16({sign * (2 + 0x1p-6f), sign * 2, sign * 0x1p-28f, 0}), sign * (1 + 0x1p-7f));
    EXPECT_EQ(bf16({sign * (2 + 0x3p-6f), sign * 2, sign * -0x1p-28f, 0}), sign * (1 + 0x1p-7f));
    EXPECT_EQ(f16({sign * (2 + 0x1p-9f), sign * 2, sign * 0x1p-24f, 0}), sign * (1 + 0x1p-10f));
    EXPECT_EQ(f16({sign * (2 + 0x3p-9f), sign * 2, sign * -0x1p-24f, 0}), sign * (1 + 0x1p-10f));
  }
  const float large = std::numeric_limits<float>::max(), inf = large * 2;
  EXPECT_EQ((mean_of<float>({large, large, large, large}, "F32")), large);  // sums pass f32
  EXPECT_EQ((mean_of<float>({0x1p-149f, 0x1p-149f, 0x1p-149f, 0x1p-149f}, "F32")), 0x1p-149f);
  EXPECT_EQ(bf16({inf, 1, 1, 1}), inf);
  EXPECT_TRUE(std::isnan(bf16({inf, -inf, 1, 1})));
  EXPECT_TRUE(std::isnan(f16({std::nanf(""), 1, 1, 1})));
  EXPECT_TRUE(std::signbit(bf16({-0.0f, -0.0f, -0.0f, -0.0f})));
}

/// A model of `small_weights`, with all that a directory may have.
void write_model(const Directory& directory) {
  directory.write("config.json",
                  R"({"hidden_size": 8, "zebra": null, "architectures": )"
                  R"(["LlamaForCausalLM"], "vocab_size": 300, "rms_norm_eps": 1e-05,)"
                  R"( "intermediate_size": 12, "num_hidden_layers": 2, )"
                  R"("num_attention_heads": 4, "max_position_embeddings": 16, )"
                  R"("tie_word_embeddings": true})");
  directory.write("model.safetensors", safetensors(fields_of<float>(small_weights(false), "F32")));
  directory.write("tokenizer.json", small_tokenizer().dump());
  directory.write("merges.txt", "a b\n");
  directory.write("notes.md", "not of the model");
}

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

TEST(PoolHeads, OtherFilesAreCopiedAndConfigSaysTheHeads) {
  const Directory from, parent;
  write_model(from);
  const fs::path to = parent.path() / "to";
  pool_kv_heads(from.path(), to / "", 2, kSilent);
  EXPECT_EQ(names_in(parent.path()), std::vector<std::string>{"to"});
  EXPECT_EQ(names_in(to), (std::vector<std::string>{"config.json", "merges.txt",
                                                    "model.safetensors", "tokenizer.json"}));
  for (const char* name : {"merges.txt", "tokenizer.json"})
    EXPECT_EQ(content(to / name), content(from.path() / name)) << name;

  auto config = nlohmann::ordered_json::parse(content(from.path() / "config.json"));
  config["num_key_value_heads"] = 2;  // was not there: multi-head
  EXPECT_EQ(content(to / "config.json"), config.dump(2) + "\n");
  EXPECT_NE(fs::status(to).permissions() & fs::perms::group_read, fs::perms::none);
}

TEST(PoolHeads, MetadataAndTensorsOfOtherTypesStay) {
  const Directory from, parent;
  write_model(from);
  std::vector<TensorFields> tensors = fields_of<float>(small_weights(false), "F32");
  tensors.push_back({"buffer", "I64", {1, 2}, "0123456789abcdef"});
  tensors.push_back({"nothing", "F8_E4M3", {3, 0}, ""});
  tensors.push_back({"bits", "BOOL", {3}, std::string("\1\0\1", 3)});
  std::string file = safetensors(tensors);
  const std::string header = file.substr(8, file.find("}}") + 2 - 8);
  file = safetensors(R"({"__metadata__":{"format":"pt","note":"ü"},)" + header.substr(1),
                     file.substr(8 + header.size()));
  from.write("model.safetensors", file);
  pool_kv_heads(from.path(), parent.path() / "to", 2, kSilent);

  const SafetensorsFile pooled(parent.path() / "to" / "model.safetensors");
  EXPECT_EQ(pooled.metadata(),
            (std::map<std::string, std::string>{{"format", "pt"}, {"note", "ü"}}));
  EXPECT_EQ(pooled.tensors().size(), tensors.size());
  const SafetensorsFile before(from.path() / "model.safetensors");
  for (const char* name : {"buffer", "nothing", "bits", "model.norm.weight"}) {
    const FileTensor &now = pooled.tensor(name), &was = before.tensor(name);
    EXPECT_EQ(now.dtype, was.dtype);
    EXPECT_EQ(now.shape, was.shape);
    EXPECT_TRUE(std::ranges::equal(now.bytes, was.bytes)) << name;
  }
  const std::string whole = content(parent.path() / "to" / "model.safetensors");
  EXPECT_EQ(static_cast<unsigned char>(whole[0]) % 8, 0);  // the data is aligned
}

TEST(PoolHeads, ShardsStayShards) {
  const Directory from, parent;
  write_model(from);
  fs::remove(from.path() / "model.safetensors");
  std::vector<TensorFields> shards[2];
  nlohmann::json map;
  std::size_t size_bytes = 0;
  for (const TensorFields& tensor : fields_of<float>(small_weights(false), "F32")) {
    const int shard = size_bytes % 3 == 0 ? 1 : 0;
    size_bytes += tensor.bytes.size();
    shards[shard].push_back(tensor);
    map[tensor.name] = shard == 0 ? "zero.safetensors" : "one.safetensors";
  }
  from.write("zero.safetensors", safetensors(shards[0]));
  from.write("one.safetensors", safetensors(shards[1]));
  const nlohmann::json metadata = {{"total_size", size_bytes},
                                   {"total_parameters", size_bytes / 4}};
  from.write("model.safetensors.index.json",
             nlohmann::json{{"metadata", metadata}, {"weight_map", map}}.dump());
  const fs::path to = parent.path() / "to";
  pool_kv_heads(from.path(), to, 1, kSilent);

  const auto index = nlohmann::json::parse(content(to / "model.safetensors.index.json"));
  EXPECT_EQ(index["weight_map"], map);
  const std::size_t removed = 4 * (kHeads - 1) * kDim * kHidden;  // k and v of two layers
  EXPECT_EQ(index["metadata"]["total_parameters"], size_bytes / 4 - removed);
  EXPECT_EQ(index["metadata"]["total_size"], size_bytes - removed * 4);

  const Directory single;
  write_model(single);
  pool_kv_heads(single.path(), parent.path() / "single", 1, kSilent);
  EXPECT_EQ(logits_of(to), logits_of(parent.path() / "single"));
}

class PoolHeadsRefuses : public testing::Test {
 protected:
  PoolHeadsRefuses() { write_model(from_); }

  /// An error that begins with `message`, and nothing is left.
  void expect(ErrorCode code, const std::string& message, std::int64_t kv_heads = 2) {
    const auto before = names_in(parent_.path());
    try {
      pool_kv_heads(from_.path(), to_, kv_heads, kSilent);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_EQ(std::string(error.what()).find(message), 0u) << error.what();
    }
    EXPECT_EQ(names_in(parent_.path()), before);
  }

  const Directory from_, parent_;
  const fs::path to_ = parent_.path() / "to";
};

TEST_F(PoolHeadsRefuses, HeadsThatDoNotDivide) {
  for (const std::int64_t kv_heads : {3, 0, -1, 8})
    expect(
        ErrorCode::kBadArgument,
        "kv_heads: expected a divisor of num_key_value_heads (4), got " + std::to_string(kv_heads),
        kv_heads);
}

TEST_F(PoolHeadsRefuses, WhatExists) {
  const std::string message = to_.string() + ": expected a new directory, got one that exists";
  parent_.write("to", "mine");
  expect(ErrorCode::kIo, message);
  EXPECT_EQ(content(to_), "mine");
  fs::remove(to_);
  fs::create_directory(to_);
  expect(ErrorCode::kIo, message);
  fs::remove(to_);
  fs::create_symlink("nowhere", to_);
  expect(ErrorCode::kIo, message);
}

TEST_F(PoolHeadsRefuses, APlaceThatIsNot) {
  EXPECT_THROW(pool_kv_heads(from_.path(), to_ / "in" / "it", 2, kSilent), Error);
  EXPECT_FALSE(fs::exists(to_));
}

TEST_F(PoolHeadsRefuses, OtherModels) {
  const std::string weight = "model.layers.1.self_attn.v_proj.weight";
  const std::string where = (from_.path() / "model.safetensors").string();
  std::vector<TensorFields> tensors = fields_of<float>(small_weights(false), "F32");
  const auto found = std::ranges::find(tensors, weight, &TensorFields::name);
  const TensorFields good = *found;
  const auto write = [&](const TensorFields& tensor) {
    *found = tensor;
    from_.write("model.safetensors", safetensors(tensors));
  };
  write({"other", good.dtype, good.shape, good.bytes});
  expect(ErrorCode::kBadFile, where + ": expected a tensor " + weight);
  write({weight, "F32", {kHidden, 4}, good.bytes.substr(0, kHidden * 16)});
  expect(ErrorCode::kBadFile, where + " " + weight + ": expected shape [8, 8]");
  write({weight, "I32", good.shape, good.bytes});
  expect(ErrorCode::kUnsupported, where + " " + weight + ": expected F32, BF16 or F16");
  write(good);
  nlohmann::json config = config_of(4, false);
  config["architectures"] = {"OPTForCausalLM"};
  from_.write("config.json", config.dump());
  expect(ErrorCode::kUnsupported, (from_.path() / "config.json").string() + " architectures");
  for (const char* key : {"attention_bias", "mlp_bias"}) config.erase(key);
  config["architectures"] = {"Olmo2ForCausalLM"};
  config["model_type"] = "olmo2";  // a norm over the keys of all heads
  from_.write("config.json", config.dump());
  expect(ErrorCode::kUnsupported,
         "kv_heads: expected a family with rows of its own for each kv head, got Olmo2ForCausalLM");
}

TEST_F(PoolHeadsRefuses, AnIndexThatHasNoCounts) {
  fs::rename(from_.path() / "model.safetensors", from_.path() / "a.safetensors");
  nlohmann::json map;
  for (const Named& tensor : small_weights(false)) map[tensor.name] = "a.safetensors";
  from_.write(
      "model.safetensors.index.json",
      nlohmann::json{{"metadata", {{"total_parameters", "many"}}}, {"weight_map", map}}.dump());
  expect(ErrorCode::kBadFile, (from_.path() / "model.safetensors.index.json").string());
}

TEST_F(PoolHeadsRefuses, ToGoOnAfterProgressHasThrown) {
  std::vector<std::int64_t> done;
  std::int64_t total = 0;
  pool_kv_heads(from_.path(), to_, 2, [&](std::int64_t bytes, std::int64_t all) {
    done.push_back(bytes);
    total = all;
  });
  EXPECT_TRUE(std::ranges::is_sorted(done));
  EXPECT_EQ(done.back(), total);
  fs::remove_all(to_);
  for (const std::int64_t stop : done) {
    EXPECT_THROW(pool_kv_heads(from_.path(), to_, 2,
                               [&](std::int64_t bytes, std::int64_t) {
                                 if (bytes == stop) throw std::runtime_error("stop");
                               }),
                 std::runtime_error);
    EXPECT_TRUE(names_in(parent_.path()).empty());
  }
}

}  // namespace
}  // namespace rapt::test
