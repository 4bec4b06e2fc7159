#include "model/safetensors_writer.h"

#include <nlohmann/json.hpp>

namespace rapt {
namespace {

std::string header_of(const std::vector<TensorHeader>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::int64_t begin = 0;
  for (const TensorHeader& tensor : tensors) {
    const std::int64_t end = begin + tensor.size_bytes;
    header[tensor.name] = {
        {"dtype", name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
    begin = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // so that the data is aligned
  return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     const std::vector<TensorHeader>& tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path) {
  const std::string header = header_of(tensors, metadata);
  std::string length;  // little-endian
  for (int byte = 0; byte < 8; ++byte)
    length += static_cast<char>(static_cast<std::uint64_t>(header.size()) >> (8 * byte));
  file_.write(length + header);
}

}  // namespace rapt
