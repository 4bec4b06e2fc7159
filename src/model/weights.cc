#include "model/weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "base/check.h"
#include "base/float_env.h"
#include "base/splitmix64.h"

namespace rapt {
namespace {

WeightVector owned(std::shared_ptr<std::vector<float>> values, const Dims& extents) {
  const float* data = values->data();
  return {{data, extents}, std::move(values)};
}

WeightMatrix copy(const FileTensor& tensor, DType dtype, const Dims& extents) {
  const auto bytes =
      std::make_shared<std::vector<std::byte>>(tensor.bytes.begin(), tensor.bytes.end());
  return {{bytes->data(), dtype, extents}, bytes};
}

WeightVector widen(const ConstTensor& view, const std::shared_ptr<const void>& owner) {
  return {view, owner};
}
template <class T>
WeightVector widen(const TensorView<const T>& view, const std::shared_ptr<const void>&) {
  const CanonicalFloatEnv environment;
  auto values = std::make_shared<std::vector<float>>();
  for (std::int64_t n = 0; n < view.extents[3]; ++n) values->push_back(to_float(view.data[n]));
  return owned(std::move(values), view.extents);
}

bool is_aligned(const std::byte* data, DType dtype) {
  return reinterpret_cast<std::uintptr_t>(data) % static_cast<std::size_t>(size_of(dtype)) == 0;
}

// Buffers of transformers' modules, which older versions stored: the frequencies of rotary
// positions, and the causal masks of GPT-2 and GPT-NeoX.
bool repeats_config(std::string_view name) {
  constexpr std::array<std::string_view, 5> kEndings = {".rotary_emb.inv_freq", ".attn.bias",
                                                        ".attn.masked_bias", ".attention.bias",
                                                        ".attention.masked_bias"};
  return std::ranges::any_of(kEndings, [&](auto ending) { return name.ends_with(ending); });
}

/// Keeps the file, and takes the tensor out of memory at the end.
std::shared_ptr<const void> keep(const StoredTensor& stored) {
  return {stored.tensor->bytes.data(),
          [file = stored.file, bytes = stored.tensor->bytes](const void*) { file->forget(bytes); }};
}

// FNV-1a.
std::uint64_t hash(const std::string& text) {
  std::uint64_t h = 0xCBF29CE484222325u;
  for (const unsigned char byte : text) h = (h ^ byte) * 0x100000001B3u;
  return h;
}

}  // namespace

WeightMatrix FileWeights::matrix(const std::string& name, std::int64_t outputs,
                                 std::int64_t inputs) const {
  return read(name, {outputs, inputs}, {1, 1, outputs, inputs});
}

WeightVector FileWeights::vector(const std::string& name, std::int64_t size) const {
  const WeightMatrix stored = read(name, {size}, {1, 1, 1, size});
  return visit(stored.view, [&](const auto& view) { return widen(view, stored.owner); });
}

WeightMatrix FileWeights::read(const std::string& name, const std::vector<std::int64_t>& shape,
                               const Dims& extents) const {
  const StoredTensor stored = checkpoint_.tensor(name);
  read_.insert(name);
  const FileTensor& tensor = *stored.tensor;
  const std::string where = stored.file->where() + " " + name;
  require(tensor.shape == shape, ErrorCode::kBadFile, where,
          "shape " + describe(shape) + " by config.json", describe(tensor.shape));
  const std::optional<DType> dtype = dtype_of(tensor.dtype);
  require(dtype.has_value(), ErrorCode::kUnsupported, where, "F32, BF16 or F16",
          rapt::name(tensor.dtype));
  std::shared_ptr<const void> kept = keep(stored);
  if (!is_aligned(tensor.bytes.data(), *dtype)) return copy(tensor, *dtype, extents);
  return {{tensor.bytes.data(), *dtype, extents}, std::move(kept)};
}

void FileWeights::refuse_unread() const {
  for (const auto& [name, file] : checkpoint_.files())
    require(read_.contains(name) || repeats_config(name), ErrorCode::kUnsupported,
            file->where() + " " + name, "a tensor that the architecture of config.json has",
            "one that it does not read");
}

WeightMatrix RandomWeights::matrix(const std::string& name, std::int64_t outputs,
                                   std::int64_t inputs) const {
  // A uniform number in [-r, r) has variance r^2 / 3.
  WeightVector drawn =
      draw(name, {1, 1, outputs, inputs}, 0.0f, std::sqrt(3.0f / static_cast<float>(inputs)));
  return {drawn.view, std::move(drawn.owner)};
}

WeightVector RandomWeights::vector(const std::string& name, std::int64_t size) const {
  return draw(name, {1, 1, 1, size}, 1.0f, 0.25f);
}

WeightVector RandomWeights::draw(const std::string& name, const Dims& extents, float middle,
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
