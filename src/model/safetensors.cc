#include "model/safetensors.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "model/json.h"

namespace rapt {
namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;  // the format's own limit
constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

struct DtypeInfo {
  FileDtype dtype;
  const char* name;
  std::int64_t bytes;
};

constexpr DtypeInfo kDtypes[] = {
    {FileDtype::kBool, "BOOL", 1},      {FileDtype::kU8, "U8", 1},
    {FileDtype::kI8, "I8", 1},          {FileDtype::kF8E5M2, "F8_E5M2", 1},
    {FileDtype::kF8E4M3, "F8_E4M3", 1}, {FileDtype::kU16, "U16", 2},
    {FileDtype::kI16, "I16", 2},        {FileDtype::kF16, "F16", 2},
    {FileDtype::kBF16, "BF16", 2},      {FileDtype::kU32, "U32", 4},
    {FileDtype::kI32, "I32", 4},        {FileDtype::kF32, "F32", 4},
    {FileDtype::kU64, "U64", 8},        {FileDtype::kI64, "I64", 8},
    {FileDtype::kF64, "F64", 8},
};

const DtypeInfo& read_dtype(const JsonField& field) {
  const std::string& text = field.string();
  std::string known;
  for (const DtypeInfo& info : kDtypes) {
    if (text == info.name) return info;
    known += (known.empty() ? "" : ", ") + std::string(info.name);
  }
  field.fail("one of " + known);
}

// Bytes of a tensor of this shape.
std::int64_t size_bytes(const JsonField& shape, std::int64_t element_bytes) {
  std::int64_t size = element_bytes;
  bool empty = false;  // found first, as the extents beside a 0 may have any product
  for (std::size_t axis = 0; axis < shape.array_size(); ++axis)
    empty |= shape.at(axis).integer(0, kLargest) == 0;
  if (empty) return 0;
  for (std::size_t axis = 0; axis < shape.array_size(); ++axis)
    if (__builtin_mul_overflow(size, shape.at(axis).integer(0, kLargest), &size))
      shape.fail("less than 2^63 bytes");
  return size;
}

std::map<std::string, std::string> read_metadata(const JsonField& field) {
  std::map<std::string, std::string> texts;
  if (field.is_null()) return texts;
  field.for_each_member([&](const std::string& key, const JsonField& member) {
    texts.emplace(key, member.string());
  });
  return texts;
}

FileTensor read_tensor(const JsonField& field, std::span<const std::byte> data) {
  field.for_each_member([&](const std::string& key, const JsonField&) {
    if (key != "dtype" && key != "shape" && key != "data_offsets")
      field.fail("only dtype, shape and data_offsets");
  });
  const DtypeInfo& dtype = read_dtype(field["dtype"]);
  const JsonField shape = field["shape"], offsets = field["data_offsets"];
  if (offsets.array_size() != 2) offsets.fail("two offsets");
  const auto end = offsets.at(1).integer(0, static_cast<std::int64_t>(data.size()));
  const auto begin = offsets.at(0).integer(0, end);
  const std::int64_t expected = size_bytes(shape, dtype.bytes);
  if (end - begin != expected)
    offsets.fail("a range of " + std::to_string(expected) + " bytes, as dtype and shape say");
  FileTensor tensor{dtype.dtype, {}, data.subspan(begin, expected)};
  for (std::size_t axis = 0; axis < shape.array_size(); ++axis)
    tensor.shape.push_back(shape.at(axis).integer(0, kLargest));
  return tensor;
}

struct Content {
  nlohmann::json header;
  std::span<const std::byte> data;
};

Content split(std::span<const std::byte> file, const std::string& where) {
  require(file.size() >= kLengthBytes, ErrorCode::kBadFile, where, "8 bytes of header length",
          std::to_string(file.size()) + " bytes in all");
  std::uint64_t length = 0;  // little-endian
  for (std::size_t byte = 0; byte < kLengthBytes; ++byte)
    length |= static_cast<std::uint64_t>(file[byte]) << (8 * byte);
  const std::uint64_t longest = std::min<std::uint64_t>(kLongestHeader, file.size() - kLengthBytes);
  require(length <= longest, ErrorCode::kBadFile, where + " header length",
          "at most " + std::to_string(longest), length);
  const auto header = file.subspan(kLengthBytes, length);
  require(length > 0 && static_cast<char>(header[0]) == '{', ErrorCode::kBadFile, where + " header",
          "to begin with {", "another beginning");
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  return {parse_json(text, where + " header"), file.subspan(kLengthBytes + length)};
}

// In the order of their offsets, each tensor must begin where the one before ends.
void check_tiling(const std::map<std::string, FileTensor>& tensors, std::span<const std::byte> data,
                  const std::string& where) {
  std::vector<std::pair<std::span<const std::byte>, std::string>> ranges;
  for (const auto& [name, tensor] : tensors) ranges.emplace_back(tensor.bytes, name);
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first.data(), a.first.size()) < std::pair(b.first.data(), b.first.size());
  });
  std::int64_t end = 0;
  for (const auto& [bytes, name] : ranges) {
    require(bytes.data() - data.data() == end, ErrorCode::kBadFile,
            where + " " + name + " data_offsets",
            "to begin where the tensor before ends (" + std::to_string(end) + ")",
            bytes.data() - data.data());
    end += static_cast<std::int64_t>(bytes.size());
  }
  require(end == static_cast<std::int64_t>(data.size()), ErrorCode::kBadFile, where,
          "tensors of " + std::to_string(data.size()) + " bytes in all, as the file has", end);
}

}  // namespace

const char* name(FileDtype dtype) noexcept {
  for (const DtypeInfo& info : kDtypes)
    if (info.dtype == dtype) return info.name;
  return "unknown";
}

std::optional<DType> dtype_of(FileDtype dtype) noexcept {
  switch (dtype) {
    case FileDtype::kF32:
      return DType::kF32;
    case FileDtype::kBF16:
      return DType::kBF16;
    case FileDtype::kF16:
      return DType::kF16;
    default:
      return std::nullopt;
  }
}

std::string describe(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    text += (axis == 0 ? "" : ", ") + std::to_string(shape[axis]);
  return text + "]";
}

std::map<std::string, FileTensor> parse_safetensors(std::span<const std::byte> file,
                                                    const std::string& where) {
  const Content content = split(file, where);
  std::map<std::string, FileTensor> tensors;
  JsonField(content.header, where)
      .for_each_member([&](const std::string& name, const JsonField& field) {
        if (name == "__metadata__")
          read_metadata(field);
        else
          tensors.emplace(name, read_tensor(field, content.data));
      });
  check_tiling(tensors, content.data, where);
  return tensors;
}

std::map<std::string, std::string> parse_metadata(std::span<const std::byte> file,
                                                  const std::string& where) {
  const Content content = split(file, where);
  const JsonField root(content.header, where);
  if (!root.has("__metadata__")) return {};
  return read_metadata(root["__metadata__"]);
}

const FileTensor& SafetensorsFile::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  require(found != tensors_.end(), ErrorCode::kBadFile, where_, "a tensor " + name, "none");
  return found->second;
}

}  // namespace rapt
