#include "model/pool_heads.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/float_env.h"
#include "model/checkpoint.h"
#include "model/families.h"
#include "model/json.h"
#include "model/mapped_file.h"
#include "model/output_file.h"
#include "model/safetensors_writer.h"
#include "model/weights.h"
#include "rapt/model.h"

namespace rapt {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kConfig = "config.json";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr std::size_t kPieceBytes = std::size_t{1} << 24;

/// What stands beside weights and config.json, where it does.
constexpr const char* kCopied[] = {
    "tokenizer.json",     "tokenizer.model",         "tokenizer_config.json", "vocab.json",
    "merges.txt",         "special_tokens_map.json", "added_tokens.json",     "chat_template.jinja",
    "chat_template.json", "generation_config.json"};

/// The nearest number of the type: by way of an f32 whose last bit is odd unless it is `x`, which is
/// on no boundary of a shorter type, so that rounding twice is rounding once.
template <class T>
T rounded(double x) {
  auto nearest = static_cast<float>(x);
  if constexpr (!std::is_same_v<T, float>) {
    auto bits = std::bit_cast<std::uint32_t>(nearest);
    if (std::abs(static_cast<double>(nearest)) > std::abs(x)) --bits;
    if (static_cast<double>(nearest) != x && !std::isnan(x)) bits |= 1;
    nearest = std::bit_cast<float>(bits);
  }
  return from_float<T>(nearest);
}

/// The mean of `heads`, one after the other in memory.
template <class T>
void pool(std::span<const std::byte> heads, std::int64_t count, std::vector<std::byte>& mean) {
  const CanonicalFloatEnv environment;
  mean.resize(heads.size() / static_cast<std::size_t>(count));
  for (std::size_t at = 0; at < mean.size(); at += sizeof(T)) {
    double sum = 0;
    for (std::int64_t n = 0; n < count; ++n) {
      T element;  // of a file: not aligned
      std::memcpy(&element, &heads[static_cast<std::size_t>(n) * mean.size() + at], sizeof element);
      const double x = to_float(element);
      sum = n == 0 ? x : sum + x;  // 0 + -0 is not -0
    }
    const T element = rounded<T>(sum / static_cast<double>(count));
    std::memcpy(&mean[at], &element, sizeof element);
  }
}

std::int64_t heads_in_one(const ModelConfig& config, std::int64_t kv_heads) {
  const std::int64_t heads = config.num_key_value_heads;
  require(kv_heads >= 1 && heads % kv_heads == 0, ErrorCode::kBadArgument, "kv_heads",
          "a divisor of num_key_value_heads (" + std::to_string(heads) + ")", kv_heads);
  return heads / kv_heads;
}

/// The tensors whose rows are those of kv heads.
/// @throws Error{kBadFile, kUnsupported} naming what is missing, or of another shape or type.
std::set<std::string> find_pooled(const ModelConfig& c, const Checkpoint& checkpoint) {
  require(find_family(c.architecture)->has_separate_kv_heads, ErrorCode::kUnsupported, "kv_heads",
          "a family with rows of its own for each kv head", c.architecture);
  const FileWeights weights(checkpoint);
  const std::int64_t rows = c.num_key_value_heads * c.head_dim;
  std::set<std::string> names;
  for (std::int64_t n = 0; n < c.num_hidden_layers; ++n)
    for (const char* projection : {".self_attn.k_proj", ".self_attn.v_proj"}) {
      const std::string name = "model.layers." + std::to_string(n) + projection;
      weights.matrix(*names.insert(name + ".weight").first, rows, c.hidden_size);
      if (checkpoint.has(name + ".bias")) weights.vector(*names.insert(name + ".bias").first, rows);
    }
  return names;
}

class Conversion {
 public:
  using Progress = std::function<void(std::int64_t done, std::int64_t total)>;

  Conversion(const fs::path& from, const fs::path& to, std::int64_t kv_heads,
             const Progress& progress)
      : from_(from),
        config_text_(read_text(from / kConfig)),
        config_(ModelConfig::parse(config_text_, (from / kConfig).string())),
        kv_heads_(kv_heads),
        group_(heads_in_one(config_, kv_heads)),
        checkpoint_(from),
        pooled_(find_pooled(config_, checkpoint_)),
        progress_(progress),
        to_(to) {}

  void run() {
    std::map<std::shared_ptr<const SafetensorsFile>, std::vector<std::string>> names;
    for (const auto& [name, file] : checkpoint_.files()) {
      names[file].push_back(name);
      total_bytes_ += std::ssize(file->tensor(name).bytes);
    }
    write_config();
    if (!fs::exists(from_ / kWeights)) write_index();
    for (const char* name : kCopied)
      if (fs::exists(from_ / name)) write_text(name, read_text(from_ / name));
    for (auto& [file, tensors] : names) write_tensors(*file, std::move(tensors));
    to_.commit();
  }

 private:
  void write_text(const char* name, const std::string& text) const {
    OutputFile file(to_.file(name));
    file.write(text);
    file.close();
  }
  void write_config() const;
  void write_index() const;
  void write_tensors(const SafetensorsFile& from, std::vector<std::string> names);
  void write_data(const SafetensorsFile& from, const std::string& name, SafetensorsWriter& to);

  const fs::path from_;
  const std::string config_text_;
  const ModelConfig config_;
  const std::int64_t kv_heads_, group_;
  const Checkpoint checkpoint_;
  const std::set<std::string> pooled_;
  const Progress& progress_;
  std::int64_t done_bytes_ = 0, total_bytes_ = 0;
  OutputDirectory to_;
};

void Conversion::write_config() const {
  Json config = Json::parse(config_text_);
  config["num_key_value_heads"] = kv_heads_;
  write_text(kConfig, config.dump(2) + "\n");
}

void Conversion::write_index() const {
  const fs::path path = from_ / kIndex;
  const std::string text = read_text(path);
  const nlohmann::json json = parse_json(text, path.string());
  const JsonField root(json, path.string());
  std::int64_t bytes = 0, parameters = 0;  // of the pooled tensors, before
  for (const std::string& name : pooled_) {
    const FileTensor& tensor = *checkpoint_.tensor(name).tensor;
    bytes += std::ssize(tensor.bytes);
    parameters += std::ssize(tensor.bytes) / size_of(*dtype_of(tensor.dtype));
  }
  Json index = Json::parse(text);
  const auto lower = [&](const char* key, std::int64_t count) {
    if (!root.has("metadata") || !root["metadata"].has(key)) return;
    const std::int64_t total =
        root["metadata"][key].integer(0, std::numeric_limits<std::int64_t>::max());
    index["metadata"][key] = total - (count - count / group_);
  };
  lower("total_size", bytes);
  lower("total_parameters", parameters);
  write_text(kIndex, index.dump(2) + "\n");
}

void Conversion::write_tensors(const SafetensorsFile& from, std::vector<std::string> names) {
  std::ranges::sort(names, {}, [&](const std::string& name) {
    const auto bytes = from.tensor(name).bytes;
    return std::pair(bytes.data(), bytes.size());
  });
  std::vector<TensorHeader> headers;
  for (const std::string& name : names) {
    const FileTensor& tensor = from.tensor(name);
    headers.push_back({name, tensor.dtype, tensor.shape, std::ssize(tensor.bytes)});
    if (!pooled_.contains(name)) continue;
    headers.back().shape[0] /= group_;
    headers.back().size_bytes /= group_;
  }
  const fs::path file = fs::path(from.where()).filename();
  SafetensorsWriter to(to_.file(file), headers, from.metadata());
  for (const std::string& name : names) write_data(from, name, to);
  to.close();
}

void Conversion::write_data(const SafetensorsFile& from, const std::string& name,
                            SafetensorsWriter& to) {
  const FileTensor& tensor = from.tensor(name);
  const bool pooled = pooled_.contains(name);
  const std::size_t piece_bytes =
      pooled ? tensor.bytes.size() / static_cast<std::size_t>(kv_heads_) : kPieceBytes;
  std::vector<std::byte> mean;
  for (auto rest = tensor.bytes; !rest.empty();) {
    const auto piece = rest.first(std::min(rest.size(), piece_bytes));
    if (pooled)
      with_type(*dtype_of(tensor.dtype),
                [&](auto type) { pool<decltype(type)>(piece, group_, mean); });
    to.write(pooled ? std::span<const std::byte>(mean) : piece);
    from.forget(piece);
    rest = rest.subspan(piece.size());
    progress_(done_bytes_ += std::ssize(piece), total_bytes_);
  }
}

}  // namespace

void pool_kv_heads(const fs::path& from, const fs::path& to, std::int64_t kv_heads,
                   const Conversion::Progress& progress) {
  Conversion(from, to, kv_heads, progress).run();
}

}  // namespace rapt
