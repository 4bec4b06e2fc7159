#include "layer/weight_tiles.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/float_env.h"
#include "base/round.h"

namespace rapt {
namespace {

constexpr std::int64_t kGroup = kLinearGroup;
constexpr float kLargest = std::numeric_limits<float>::max();

template <class To, class From>
void pack(const TensorView<const From>& weight, To* tiles, float*) {
  const std::int64_t outputs = weight.extents[2], inputs = weight.extents[3];
  for (std::int64_t first = 0; first < outputs; first += kGroup, tiles += inputs * kGroup)
    for (std::int64_t k = 0; k < inputs; ++k)
      for (std::int64_t n = 0; n < std::min(kGroup, outputs - first); ++n)
        tiles[k * kGroup + n] = converted<To>(weight.at(0, 0, first + n, k));
}

template <class From>
void pack_pairs(const TensorView<const From>& weight, BF16* tiles) {
  const std::int64_t outputs = weight.extents[2], inputs = weight.extents[3];
  for (std::int64_t first = 0; first < outputs; first += kGroup)
    for (std::int64_t k = 0; k < inputs; k += 2, tiles += 2 * kGroup)
      for (std::int64_t n = 0; n < std::min(kGroup, outputs - first); ++n) {
        tiles[2 * n] = converted<BF16>(weight.at(0, 0, first + n, k));
        tiles[2 * n + 1] =
            k + 1 < inputs ? converted<BF16>(weight.at(0, 0, first + n, k + 1)) : BF16{0};
      }
}

template <class From>
float scale_of(const TensorView<const From>& weight, std::int64_t output) {
  float largest = 0;
  for (std::int64_t k = 0; k < weight.extents[3]; ++k) {
    const float w = std::abs(to_float(weight.at(0, 0, output, k)));
    if (!(w <= kLargest))  // the message would be memory
      require(false, ErrorCode::kBadArgument, "Linear.weight, row " + std::to_string(output),
              "finite weights, as they become int8", to_float(weight.at(0, 0, output, k)));
    largest = std::max(largest, w);
  }
  auto scale = static_cast<float>(largest / 127.0);
  // These products are exact.
  if (127.0 * scale < largest) scale = std::nextafter(scale, kLargest);
  if (127.0 * scale > kLargest) scale = std::nextafter(scale, 0.0f);  // 127 scale is to be finite
  return scale;
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

std::int64_t tile_depth(WeightType type, std::int64_t inputs) {
  return type == WeightType::kNativeBF16 ? round_up(inputs, 2) : inputs;
}

std::size_t tile_bytes(WeightType type, std::int64_t outputs, std::int64_t inputs) {
  return static_cast<std::size_t>(round_up(outputs, kGroup) * tile_depth(type, inputs) *
                                  size_of(type));
}

void pack_tiles(const AnyConstTensor& weight, WeightType type, std::byte* tiles, float* scale) {
  const CanonicalFloatEnv environment;
  visit(weight, [&](const auto& view) {
    if (type == WeightType::kNativeBF16) return pack_pairs(view, reinterpret_cast<BF16*>(tiles));
    with_type(type, [&]<class T>(T) { pack(view, reinterpret_cast<T*>(tiles), scale); });
  });
}

}  // namespace rapt
