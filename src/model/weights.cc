#include "model/weights.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/splitmix64.h"

namespace rapt {
namespace {

float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

float from_f16(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16, rest = bits & 0x7FFFu;
  if (rest >= 0x7C00u) return std::bit_cast<float>(sign | 0x7F800000u | (rest & 0x3FFu) << 13);
  // The exponent's bias is 112 more in f32; the product is exact, for denormals too.
  const float magnitude = std::bit_cast<float>(rest << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

template <class Convert>
std::shared_ptr<std::vector<float>> convert(const FileTensor& tensor, Convert&& to_float) {
  auto values = std::make_shared<std::vector<float>>(tensor.bytes.size() / 2);
  for (std::size_t n = 0; n < values->size(); ++n) {
    std::uint16_t bits;
    std::memcpy(&bits, tensor.bytes.data() + 2 * n, 2);
    (*values)[n] = to_float(bits);
  }
  return values;
}

std::shared_ptr<std::vector<float>> copy(const FileTensor& tensor) {
  auto values = std::make_shared<std::vector<float>>(tensor.bytes.size() / sizeof(float));
  if (!values->empty()) std::memcpy(values->data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

WeightTensor owned(std::shared_ptr<std::vector<float>> values, const Dims& extents) {
  const float* data = values->data();
  return {{data, extents}, std::move(values)};
}

bool is_aligned(const std::byte* data) {
  return reinterpret_cast<std::uintptr_t>(data) % alignof(float) == 0;
}

// FNV-1a.
std::uint64_t hash(const std::string& text) {
  std::uint64_t h = 0xCBF29CE484222325u;
  for (const unsigned char byte : text) h = (h ^ byte) * 0x100000001B3u;
  return h;
}

}  // namespace

WeightTensor FileWeights::matrix(const std::string& name, std::int64_t outputs,
                                 std::int64_t inputs) const {
  return read(name, {outputs, inputs}, {1, 1, outputs, inputs});
}

WeightTensor FileWeights::vector(const std::string& name, std::int64_t size) const {
  return read(name, {size}, {1, 1, 1, size});
}

WeightTensor FileWeights::read(const std::string& name, const std::vector<std::int64_t>& shape,
                               const Dims& extents) const {
  const StoredTensor stored = checkpoint_.tensor(name);
  const FileTensor& tensor = *stored.tensor;
  const std::string where = stored.file->where() + " " + name;
  require(tensor.shape == shape, ErrorCode::kBadFile, where,
          "shape " + describe(shape) + " by config.json", describe(tensor.shape));
  switch (tensor.dtype) {
    case FileDtype::kF32:
      if (!is_aligned(tensor.bytes.data())) return owned(copy(tensor), extents);
      return {{reinterpret_cast<const float*>(tensor.bytes.data()), extents}, stored.file};
    case FileDtype::kBF16:
      return owned(convert(tensor, from_bf16), extents);
    case FileDtype::kF16:
      return owned(convert(tensor, from_f16), extents);
    default:
      throw Error(ErrorCode::kUnsupported,
                  where + ": expected F32, BF16 or F16, got " + rapt::name(tensor.dtype));
  }
}

WeightTensor RandomWeights::matrix(const std::string& name, std::int64_t outputs,
                                   std::int64_t inputs) const {
  // A uniform number in [-r, r) has variance r^2 / 3.
  return draw(name, {1, 1, outputs, inputs}, 0.0f, std::sqrt(3.0f / static_cast<float>(inputs)));
}

WeightTensor RandomWeights::vector(const std::string& name, std::int64_t size) const {
  return draw(name, {1, 1, 1, size}, 1.0f, 0.25f);
}

WeightTensor RandomWeights::draw(const std::string& name, const Dims& extents, float middle,
                                 float reach) const {
  auto values = std::make_shared<std::vector<float>>(extents[2] * extents[3]);
  const std::uint64_t stream = mix64(seed_ ^ hash(name));
  for (std::size_t n = 0; n < values->size(); ++n) {
    const std::uint64_t bits = splitmix64(stream, n);
    const auto uniform = static_cast<float>(static_cast<std::int64_t>(bits >> 40) - (1 << 23));
    (*values)[n] = middle + reach * (uniform * 0x1p-23f);
  }
  return owned(std::move(values), extents);
}

}  // namespace rapt
