#include "layer/weight_tiles.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "base/check.h"
#include "base/float_env.h"
#include "base/round.h"

namespace rapt {
namespace {

constexpr std::int64_t kGroup = kLinearGroup;

template <class To, class From>
To convert(From x) {
  if constexpr (std::is_same_v<To, From>) return x;
  if constexpr (std::is_same_v<To, BF16>) return to_bf16(to_float(x));
  if constexpr (std::is_same_v<To, F16>) return to_f16(to_float(x));
  if constexpr (std::is_same_v<To, float>) return to_float(x);
}

template <class To, class From>
void pack(const TensorView<const From>& weight, To* tiles) {
  const std::int64_t outputs = weight.extents[2], inputs = weight.extents[3];
  for (std::int64_t first = 0; first < outputs; first += kGroup, tiles += inputs * kGroup)
    for (std::int64_t k = 0; k < inputs; ++k)
      for (std::int64_t n = 0; n < std::min(kGroup, outputs - first); ++n)
        tiles[k * kGroup + n] = convert<To>(weight.at(0, 0, first + n, k));
}

template <class From>
float scale_of(const TensorView<const From>& weight, std::int64_t output) {
  float largest = 0;
  for (std::int64_t k = 0; k < weight.extents[3]; ++k) {
    const float w = std::abs(to_float(weight.at(0, 0, output, k)));
    if (!(w <= std::numeric_limits<float>::max()))  // the message would be memory
      require(false, ErrorCode::kBadArgument, "Linear.weight, row " + std::to_string(output),
              "finite weights, as they become int8", to_float(weight.at(0, 0, output, k)));
    largest = std::max(largest, w);
  }
  const auto scale = static_cast<float>(largest / 127.0);
  const bool is_enough = 127.0 * scale >= largest;  // exact
  return is_enough ? scale : std::bit_cast<float>(std::bit_cast<std::uint32_t>(scale) + 1);
}

// To the nearest integer, ties to even. Before that the quotient of two f32 in f64 is rounded too,
// but never to a tie that it is not.
std::int8_t quantized(float w, float scale) {
  constexpr double kMagic = 0x1.8p52;
  return static_cast<std::int8_t>((w / static_cast<double>(scale) + kMagic) - kMagic);
}

template <class From>
void pack(const TensorView<const From>& weight, std::int8_t* tiles, float* scale) {
  const std::int64_t inputs = weight.extents[3];
  for (std::int64_t n = 0; n < weight.extents[2]; ++n) {
    std::int8_t* row = tiles + n / kGroup * inputs * kGroup + n % kGroup;
    scale[n] = scale_of(weight, n);
    for (std::int64_t k = 0; k < inputs; ++k)
      row[k * kGroup] = scale[n] == 0 ? 0 : quantized(to_float(weight.at(0, 0, n, k)), scale[n]);
  }
}

}  // namespace

std::size_t tile_bytes(WeightType type, std::int64_t outputs, std::int64_t inputs) {
  return static_cast<std::size_t>(round_up(outputs, kGroup) * inputs) * size_of(type);
}

void pack_tiles(const AnyConstTensor& weight, WeightType type, std::byte* tiles, float* scale) {
  const CanonicalFloatEnv environment;
  visit(weight, [&](const auto& view) {
    switch (type) {
      case WeightType::kF32:
        return pack(view, reinterpret_cast<float*>(tiles));
      case WeightType::kBF16:
        return pack(view, reinterpret_cast<BF16*>(tiles));
      case WeightType::kF16:
        return pack(view, reinterpret_cast<F16*>(tiles));
      case WeightType::kInt8:
        return pack(view, reinterpret_cast<std::int8_t*>(tiles), scale);
    }
  });
}

}  // namespace rapt
