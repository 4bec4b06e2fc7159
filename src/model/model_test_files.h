#pragma once

// Small well-formed files for the tests of this room, to be damaged one field at a time.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

namespace rapt::test {

inline nlohmann::json small_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", 300},
          {"hidden_size", 8},
          {"intermediate_size", 12},
          {"num_hidden_layers", 1},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 1},
          {"max_position_embeddings", 16},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"rope_scaling", nullptr},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", true},
          {"bos_token_id", 1},
          {"eos_token_id", {2, 3}}};
}

/// <unk> <s> </s>, 256 bytes, then "▁", a, b, c, "ab", "▁ab", "abc".
inline nlohmann::json small_tokenizer() {
  nlohmann::json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", byte);
    vocab[text] = 3 + byte;
  }
  int next = 259;
  for (const char* text : {"▁", "a", "b", "c", "ab", "▁ab", "abc"}) vocab[text] = next++;
  const auto added = [](int id, const char* content) {
    return nlohmann::json{{"id", id}, {"content", content}, {"special", true}};
  };
  const auto replace = [](const char* from, const char* to) {
    return nlohmann::json{{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
  };
  return {{"added_tokens", {added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")}},
          {"normalizer",
           {{"type", "Sequence"},
            {"normalizers", {{{"type", "Prepend"}, {"prepend", "▁"}}, replace(" ", "▁")}}}},
          {"pre_tokenizer", nullptr},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
            {"special_tokens", {{"<s>", {{"ids", {1}}}}}}}},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {replace("▁", " "),
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}},
              {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
          {"model",
           {{"type", "BPE"},
            {"byte_fallback", true},
            {"vocab", vocab},
            {"merges", {"a b", "▁ ab", "ab c"}}}}};
}

/// Length, header and data of a safetensors file.
inline std::string safetensors(const std::string& header, const std::string& data) {
  std::string file(8, '\0');
  for (int byte = 0; byte < 8; ++byte)
    file[byte] = static_cast<char>(header.size() >> (8 * byte) & 0xFF);
  return file + header + data;
}

/// What a tensor of a safetensors file says in the header, and its bytes.
struct TensorFields {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};

/// A safetensors file of these tensors, one after the other.
inline std::string safetensors(const std::vector<TensorFields>& tensors) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const TensorFields& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  return safetensors(header.dump(), data);
}

/// A directory of files, gone at the end.
class Directory {
 public:
  Directory() {
    std::string name = testing::TempDir() + "/rapt_XXXXXX";  // tests run at the same time
    path_ = mkdtemp(name.data());
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }

 private:
  std::filesystem::path path_;
};

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace rapt::test
