#include "model/weights.h"

#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/splitmix64.h"
#include "rapt/dtype.h"

namespace rapt {
namespace {

template <class T>
std::shared_ptr<std::vector<float>> convert(const FileTensor& tensor) {
  auto values = std::make_shared<std::vector<float>>(tensor.bytes.size() / sizeof(T));
  for (std::size_t n = 0; n < values->size(); ++n) {
    T x;
    std::memcpy(&x, tensor.bytes.data() + sizeof(T) * n, sizeof x);
    (*values)[n] = to_float(x);
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
      return owned(convert<BF16>(tensor), extents);
    case FileDtype::kF16:
      return owned(convert<F16>(tensor), extents);
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
