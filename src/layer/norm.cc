#include "rapt/norm.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "base/rows.h"
#include "kernels/norm/norm.h"

namespace rapt {
namespace {

// Elements that a worker takes at a time.
constexpr std::int64_t kRun = 1 << 14;

void check_extents(const ConstTensor& x, const char* where) {
  require(std::ranges::min(x.extents) >= 0, ErrorCode::kBadShape, where, "no negative extent",
          x.extents);
}

void check_same(const ConstTensor& x, const Dims& extents, const char* where) {
  require(x.extents == extents, ErrorCode::kBadShape, where, extents, x.extents);
}

template <class T>
StridedRow<T> strided_row(const TensorView<T>& view, std::int64_t row) {
  return {row_of(view, row), view.strides[3]};
}

// Calls body(row) for every row of `extents`, in parallel.
template <class Body>
void for_each_row(const Threads& threads, const Dims& extents, Body&& body) {
  for_rows(threads, row_count(extents), kRun / std::max<std::int64_t>(extents[3], 1) + 1,
           [&](std::int64_t first, std::int64_t end) {
             for (std::int64_t row = first; row < end; ++row) body(row);
           });
}

}  // namespace

void rms_norm(const Threads& threads, const ConstTensor& x, const ConstTensor& weight, float eps,
              const MutableTensor& y) {
  check_extents(x, "rms_norm.x");
  check_same(y, x.extents, "rms_norm.y");
  check_same(weight, {1, 1, 1, x.extents[3]}, "rms_norm.weight");
  const NormKernels& kernels = norm_kernels(active_isa());
  for_each_row(threads, x.extents, [&](std::int64_t row) {
    kernels.rms_norm(
        {strided_row(x, row), strided_row(weight, 0), {}, strided_row(y, row), x.extents[3], eps});
  });
}

void layer_norm(const Threads& threads, const ConstTensor& x, const ConstTensor& weight,
                const ConstTensor& bias, float eps, const MutableTensor& y) {
  check_extents(x, "layer_norm.x");
  check_same(y, x.extents, "layer_norm.y");
  check_same(weight, {1, 1, 1, x.extents[3]}, "layer_norm.weight");
  if (bias.data != nullptr) check_same(bias, weight.extents, "layer_norm.bias");
  const NormKernels& kernels = norm_kernels(active_isa());
  const StridedRow<const float> bias_row = {bias.data, bias.strides[3]};
  for_each_row(threads, x.extents, [&](std::int64_t row) {
    kernels.layer_norm({strided_row(x, row), strided_row(weight, 0), bias_row, strided_row(y, row),
                        x.extents[3], eps});
  });
}

void silu_mul(const Threads& threads, const ConstTensor& gate, const ConstTensor& up,
              const MutableTensor& out) {
  check_extents(gate, "silu_mul.gate");
  check_same(up, gate.extents, "silu_mul.up");
  check_same(out, gate.extents, "silu_mul.out");
  const NormKernels& kernels = norm_kernels(active_isa());
  for_each_row(threads, gate.extents, [&](std::int64_t row) {
    kernels.silu_mul(strided_row(gate, row), strided_row(up, row), strided_row(out, row),
                     gate.extents[3]);
  });
}

}  // namespace rapt
