#pragma once

// The linear map's contract in plain loops, and a call of the library's.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "rapt/linear.h"
#include "util.h"

namespace rapt::test {

/// sum_k x_k w(n, k), one fma chain over the inputs, ascending, from +0.
template <class Weight>
float plain_chain(const ConstTensor& x, const Dims& at, std::int64_t n, Weight&& w) {
  float sum = 0.0f;
  for (std::int64_t k = 0; k < x.extents[3]; ++k)
    sum = std::fma(x.at(at[0], at[1], at[2], k), static_cast<float>(w(n, k)), sum);
  return sum;
}

/// y = x W^T + bias of the weights as they are.
inline Tensor plain_linear(const ConstTensor& x, const AnyConstTensor& w, const ConstTensor& bias) {
  Tensor y({x.extents[0], x.extents[1], x.extents[2], w.extents[2]});
  for_each_index(y.view.extents, [&](auto a, auto b, auto t, auto n) {
    const float sum =
        plain_chain(x, {a, b, t}, n, [&](auto n, auto k) { return w.at(0, 0, n, k); });
    y.view.at(a, b, t, n) = bias.data == nullptr ? sum : sum + bias.at(0, 0, 0, n);
  });
  return y;
}

/// The weights of one output in int8.
struct Int8Row {
  float scale;
  std::vector<int> q;
};

inline Int8Row int8_row(const AnyConstTensor& w, std::int64_t n) {
  double largest = 0;
  for (std::int64_t k = 0; k < w.extents[3]; ++k)
    largest = std::max(largest, std::abs(static_cast<double>(w.at(0, 0, n, k))));
  Int8Row row{static_cast<float>(largest / 127), {}};
  constexpr float kMax = std::numeric_limits<float>::max();
  if (127.0 * row.scale < largest) row.scale = std::nextafter(row.scale, kMax);
  if (127.0 * row.scale > kMax) row.scale = std::nextafter(row.scale, 0.0f);
  for (std::int64_t k = 0; k < w.extents[3]; ++k)
    row.q.push_back(
        largest == 0 ? 0 : static_cast<int>(std::nearbyint(w.at(0, 0, n, k) / double{row.scale})));
  return row;
}

/// The same of its weights in int8.
inline Tensor plain_int8(const ConstTensor& x, const AnyConstTensor& w, const ConstTensor& bias) {
  std::vector<Int8Row> rows;
  for (std::int64_t n = 0; n < w.extents[2]; ++n) rows.push_back(int8_row(w, n));
  Tensor y({x.extents[0], x.extents[1], x.extents[2], w.extents[2]});
  for_each_index(y.view.extents, [&](auto a, auto b, auto t, auto n) {
    const float sum = plain_chain(x, {a, b, t}, n, [&](auto n, auto k) { return rows[n].q[k]; });
    y.view.at(a, b, t, n) = bias.data == nullptr
                                ? sum * rows[n].scale
                                : std::fma(sum, rows[n].scale, bias.at(0, 0, 0, n));
  });
  return y;
}

/// f32 weights rounded to a 16-bit type.
template <class T>
struct Rounded {
  std::vector<T> memory;
  TensorView<const T> view;

  explicit Rounded(const ConstTensor& w) {
    for (std::int64_t n = 0; n < w.extents[2]; ++n)
      for (std::int64_t k = 0; k < w.extents[3]; ++k)
        memory.push_back(from_float<T>(w.at(0, 0, n, k)));
    view = TensorView<const T>(memory.data(), w.extents);
  }
};

/// One pair of the chain in native bf16: the odd element, then the even one, denormals flushed. Here
/// nothing is near 2^-126 but denormals.
inline float plain_pair(float even_x, float even_w, float odd_x, float odd_w, float sum) {
  const auto flushed = [](float x) { return std::abs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; };
  sum = flushed(std::fma(flushed(odd_x), flushed(odd_w), sum));
  return flushed(std::fma(flushed(even_x), flushed(even_w), sum));
}

/// The same in native bf16.
inline Tensor plain_native(const ConstTensor& x, const AnyConstTensor& w, const ConstTensor& bias) {
  Tensor y({x.extents[0], x.extents[1], x.extents[2], w.extents[2]});
  const std::int64_t inputs = x.extents[3];
  for_each_index(y.view.extents, [&](auto a, auto b, auto t, auto n) {
    const auto in = [&](std::int64_t k) {
      return k < inputs ? rounded(x.at(a, b, t, k), DType::kBF16) : 0.0f;
    };
    const auto weight = [&](std::int64_t k) {
      return k < inputs ? rounded(w.at(0, 0, n, k), DType::kBF16) : 0.0f;
    };
    float sum = 0.0f;
    for (std::int64_t k = 0; k < inputs; k += 2)
      sum = plain_pair(in(k), weight(k), in(k + 1), weight(k + 1), sum);
    y.view.at(a, b, t, n) = bias.data == nullptr ? sum : sum + bias.at(0, 0, 0, n);
  });
  return y;
}

/// What a map that keeps its weights in `type` gives.
inline Tensor plain_linear(WeightType type, const ConstTensor& x, const ConstTensor& w,
                           const ConstTensor& bias) {
  if (type == WeightType::kInt8) return plain_int8(x, w, bias);
  if (type == WeightType::kNativeBF16) return plain_native(x, w, bias);
  return with_type(static_cast<DType>(type),
                   [&]<class T>(T) { return plain_linear(x, Rounded<T>(w).view, bias); });
}

inline constexpr WeightType kEveryWeightType[] = {WeightType::kF32, WeightType::kBF16,
                                                  WeightType::kF16, WeightType::kInt8,
                                                  WeightType::kNativeBF16};

inline Tensor multiply(const Linear& linear, const ConstTensor& x, int threads = 1,
                       Layout layout = Layout::kContiguous) {
  Tensor y({x.extents[0], x.extents[1], x.extents[2], linear.outputs()}, layout);
  fill(y.view, -12345.0f);
  Scratch scratch;
  linear(Threads(threads), x, y.view, scratch);
  return y;
}

}  // namespace rapt::test
