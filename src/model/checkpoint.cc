#include "model/checkpoint.h"

#include <limits>
#include <system_error>

#include "base/check.h"
#include "model/json.h"

namespace rapt {
namespace {

using Names = std::map<std::string, std::string>;  // of files, by tensor

// A name that cannot lead out of the directory.
std::string read_file_name(const JsonField& field) {
  const std::string& name = field.string();
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
  if (!plain) field.fail("the name of a file beside the index");
  return name;
}

// Each tensor of the shard must be the shard's by the index.
void check_listed(const SafetensorsFile& shard, const std::string& shard_name, const Names& names,
                  const std::string& index) {
  for (const auto& [tensor, unused] : shard.tensors()) {
    const auto listed = names.find(tensor);
    const std::string where = shard.where() + " " + tensor;
    require(listed != names.end(), ErrorCode::kBadFile, where, "a tensor that " + index + " lists",
            "one that it does not");
    require(listed->second == shard_name, ErrorCode::kBadFile, where,
            "the tensor in " + listed->second + ", as " + index + " says", "it here");
  }
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "model.safetensors";
  const std::filesystem::path index = directory / "model.safetensors.index.json";
  std::error_code unreadable;  // is said when the file is opened
  if (!std::filesystem::exists(file, unreadable) && std::filesystem::exists(index, unreadable))
    read_shards(index);
  else
    read_file(file);
}

void Checkpoint::read_file(const std::filesystem::path& path) {
  where_ = path.string();
  const auto file = std::make_shared<const SafetensorsFile>(path);
  for (const auto& [name, unused] : file->tensors()) files_.emplace(name, file);
}

void Checkpoint::read_shards(const std::filesystem::path& index) {
  where_ = index.string();
  const nlohmann::json json = parse_json(read_text(index), where_);
  const JsonField root(json, where_);
  Names names;
  root["weight_map"].for_each_member([&](const std::string& tensor, const JsonField& field) {
    names.emplace(tensor, read_file_name(field));
  });
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> shards;
  std::int64_t size_bytes = 0;
  for (const auto& [tensor, name] : names) {
    auto& shard = shards[name];
    if (shard == nullptr) {
      shard = std::make_shared<const SafetensorsFile>(index.parent_path() / name);
      check_listed(*shard, name, names, where_);
    }
    size_bytes += std::ssize(shard->tensor(tensor).bytes);
    files_.emplace(tensor, shard);
  }
  if (!root.has("metadata") || !root["metadata"].has("total_size")) return;
  const JsonField total = root["metadata"]["total_size"];
  if (total.integer(0, std::numeric_limits<std::int64_t>::max()) != size_bytes)
    total.fail(std::to_string(size_bytes) + ", the bytes of all tensors");
}

StoredTensor Checkpoint::tensor(const std::string& name) const {
  const auto found = files_.find(name);
  require(found != files_.end(), ErrorCode::kBadFile, where_, "a tensor " + name, "none");
  return {&found->second->tensor(name), found->second};
}

}  // namespace rapt
