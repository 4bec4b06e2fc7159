#include "rapt/linear.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>

#include "base/check.h"
#include "base/memory.h"
#include "base/round.h"
#include "base/rows.h"
#include "kernels/linear/linear.h"
#include "kernels/native/linear.h"
#include "layer/weight_tiles.h"

namespace rapt {
namespace {

constexpr std::int64_t kGroup = kLinearGroup;

// A block of x and its accumulators stay in L2, so that the weights are read once for 96 rows.
constexpr std::int64_t kBlockRows = 96;
constexpr std::int64_t kBlockGroups = 24;
constexpr std::int64_t kItemsPerThread = 4;

// What a map of some type is computed by.
struct ProductKernels {
  int tile_rows, tile_groups;
  void (*multiply)(const LinearBlock& block) noexcept;
  void (*round_row)(float* x, std::int64_t count) noexcept;  // or null
};

ProductKernels kernels_of(WeightType type) {
  if (type == WeightType::kNativeBF16) {
    const NativeLinearKernels& native = native_linear_kernels(active_isa());
    return {native.tile_rows, native.tile_groups, native.multiply, native.round_row};
  }
  const LinearKernels& kernels = linear_kernels(active_isa());
  return {kernels.tile_rows, kernels.tile_groups, kernels.multiply[static_cast<int>(type)],
          nullptr};
}

// How rows and groups of outputs are cut into work items. Shows in no bit.
struct Blocking {
  std::int64_t rows, groups;                         // of a block
  std::int64_t row_blocks, group_blocks;             // how many of them
  std::int64_t x_floats, acc_floats, worker_floats;  // working memory
};

Blocking make_blocking(const ProductKernels& kernels, std::int64_t rows, std::int64_t groups,
                       std::int64_t depth, int threads) {
  Blocking b;
  b.row_blocks = ceil_div(rows, kBlockRows);
  b.rows = std::min(rows, round_up(ceil_div(rows, b.row_blocks), kernels.tile_rows));
  b.row_blocks = ceil_div(rows, b.rows);
  const std::int64_t share = ceil_div(groups * b.row_blocks, kItemsPerThread * threads);
  b.groups = std::min(groups, round_up(std::min(share, kBlockGroups), kernels.tile_groups));
  b.group_blocks = ceil_div(groups, b.groups);
  b.x_floats = b.rows * ceil_div(depth, kLinearDepth) * kLinearRowStride;
  b.acc_floats = b.rows * b.groups * kGroup;
  b.worker_floats = b.x_floats + 2 * b.acc_floats;
  return b;
}

void gather(const float* from, std::int64_t stride, std::int64_t count, float* to) {
  if (stride == 1) {
    std::memcpy(to, from, count * sizeof(float));
  } else {
    for (std::int64_t i = 0; i < count; ++i) to[i] = from[i * stride];
  }
}

void scatter(const float* from, std::int64_t count, float* to, std::int64_t stride) {
  for (std::int64_t i = 0; i < count; ++i) to[i * stride] = from[i];
}

// One product of all rows of x with all groups of outputs.
struct Product {
  const ProductKernels& kernels;
  const Blocking& blocking;
  ConstTensor x;
  MutableTensor y;
  WeightType type;
  const std::byte* tiles;  // of the first input
  std::int64_t tile_stride;
  const float *scale, *bias;  // or null

  void pack(std::int64_t first, std::int64_t rows, float* to) const {
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t k = 0; k < x.extents[3]; k += kLinearDepth) {
        const std::int64_t count = std::min(kLinearDepth, x.extents[3] - k);
        float* piece = to + (k / kLinearDepth * rows + r) * kLinearRowStride;
        gather(row_of(x, first + r) + k * x.strides[3], x.strides[3], count, piece);
        if (kernels.round_row != nullptr) kernels.round_row(piece, count);
      }
  }

  // Outputs that are not whole groups of neighbours in y are written to `memory` first.
  bool writes_in_place(const LinearBlock& block, std::int64_t group) const {
    return y.strides[3] == 1 && (group + block.groups) * kGroup <= y.extents[3];
  }

  void multiply(LinearBlock block, std::int64_t first_row, std::int64_t first_group,
                float* memory) const {
    const bool in_place = writes_in_place(block, first_group);
    const std::int64_t first = first_group * kGroup, width = block.groups * kGroup,
                       count = std::min(width, y.extents[3] - first);
    float* rows[kBlockRows];
    for (std::int64_t r = 0; r < block.rows; ++r)
      rows[r] = in_place ? row_of(y, first_row + r) + first : memory + r * width;
    block.y = rows;
    kernels.multiply(block);
    if (in_place) return;
    for (std::int64_t r = 0; r < block.rows; ++r)
      scatter(rows[r], count, row_of(y, first_row + r) + first * y.strides[3], y.strides[3]);
  }

  // Takes items, row block by row block, so that a worker copies most rows of x once.
  void work(std::atomic<std::int64_t>& next, float* memory) const {
    const std::int64_t rows = row_count(x.extents), groups = ceil_div(y.extents[3], kGroup);
    float* acc = memory + blocking.x_floats;
    std::int64_t packed = -1;
    for (std::int64_t item; (item = next++) < blocking.row_blocks * blocking.group_blocks;) {
      const std::int64_t row = item / blocking.group_blocks * blocking.rows;
      const std::int64_t group = item % blocking.group_blocks * blocking.groups;
      const LinearBlock block = {.x = memory,
                                 .rows = std::min(blocking.rows, rows - row),
                                 .tiles = tiles + group * tile_stride * size_of(type),
                                 .tile_stride = tile_stride,
                                 .groups = std::min(blocking.groups, groups - group),
                                 .depth = tile_depth(type, x.extents[3]),
                                 .scale = scale == nullptr ? nullptr : scale + group * kGroup,
                                 .bias = bias == nullptr ? nullptr : bias + group * kGroup,
                                 .y = nullptr,
                                 .acc = acc};
      if (packed != row) pack(row, block.rows, memory);
      packed = row;
      multiply(block, row, group, acc + blocking.acc_floats);
    }
  }
};

std::size_t output_bytes(std::int64_t outputs) {
  return static_cast<std::size_t>(round_up(outputs, kGroup)) * sizeof(float);
}

// One float an output, padded with zeros to whole groups.
float* allocate_outputs(std::int64_t outputs) {
  return static_cast<float*>(allocate_aligned(output_bytes(outputs)));
}

void check_outputs(const ConstTensor& x, const MutableTensor& y, std::int64_t outputs) {
  const Dims expected = {x.extents[0], x.extents[1], x.extents[2], outputs};
  require(std::ranges::min(x.extents) >= 0, ErrorCode::kBadShape, "Linear.x", "no negative extent",
          x.extents);
  require(y.extents == expected, ErrorCode::kBadShape, "Linear.y", expected, y.extents);
}

}  // namespace

void Linear::Free::operator()(void* memory) const noexcept { free_aligned(memory); }

Linear::Linear(const AnyConstTensor& weight, const ConstTensor& bias)
    : Linear(weight, bias, weight_type(weight.dtype)) {}

Linear::Linear(const AnyConstTensor& weight, const ConstTensor& bias, WeightType type)
    : inputs_(weight.extents[3]), outputs_(weight.extents[2]), type_(type) {
  require(weight.data != nullptr && weight.extents[0] == 1 && weight.extents[1] == 1 &&
              outputs_ > 0 && inputs_ > 0,
          ErrorCode::kBadShape, "Linear.weight", "[1, 1, outputs, inputs], none 0", weight.extents);
  require(static_cast<double>(outputs_) * static_cast<double>(inputs_) <= 0x1p40,
          ErrorCode::kBadShape, "Linear.weight", "at most 2^40 elements", weight.extents);
  tiles_.reset(static_cast<std::byte*>(allocate_aligned(tile_bytes(type, outputs_, inputs_))));
  if (type == WeightType::kInt8) scale_.reset(allocate_outputs(outputs_));
  pack_tiles(weight, type, tiles_.get(), scale_.get());
  if (bias.data == nullptr) return;
  const Dims expected = {1, 1, 1, outputs_};
  require(bias.extents == expected, ErrorCode::kBadShape, "Linear.bias", expected, bias.extents);
  bias_.reset(allocate_outputs(outputs_));
  gather(bias.data, bias.strides[3], outputs_, bias_.get());
}

std::size_t Linear::size_bytes() const {
  return bytes_of(outputs_, inputs_, type_) + (bias_ ? output_bytes(outputs_) : 0);
}

std::size_t Linear::bytes_of(std::int64_t outputs, std::int64_t inputs, WeightType type) {
  return tile_bytes(type, outputs, inputs) +
         (type == WeightType::kInt8 ? output_bytes(outputs) : 0);
}

void Linear::operator()(const Threads& threads, const ConstTensor& x, const MutableTensor& y,
                        Scratch& scratch) const {
  require(x.extents[3] == inputs_, ErrorCode::kBadShape, "Linear.x",
          Dims{x.extents[0], x.extents[1], x.extents[2], inputs_}, x.extents);
  multiply(threads, 0, bias_.get(), x, y, scratch);
}

void Linear::partial(const Threads& threads, std::int64_t first, const ConstTensor& x,
                     const MutableTensor& y, Scratch& scratch) const {
  const std::int64_t inputs = x.extents[3];
  require(0 <= first && 0 <= inputs && inputs <= inputs_ && first <= inputs_ - inputs,
          ErrorCode::kBadArgument, "Linear.partial",
          "inputs within [0, " + std::to_string(inputs_) + ")",
          std::to_string(inputs) + " from " + std::to_string(first));
  const bool whole_pairs = first % 2 == 0 && (inputs % 2 == 0 || first + inputs == inputs_);
  require(whole_pairs || type_ != WeightType::kNativeBF16, ErrorCode::kBadArgument,
          "Linear.partial", "whole pairs of inputs in native bf16",
          std::to_string(inputs) + " from " + std::to_string(first));
  multiply(threads, first, nullptr, x, y, scratch);
}

void Linear::multiply(const Threads& threads, std::int64_t first, const float* bias,
                      const ConstTensor& x, const MutableTensor& y, Scratch& scratch) const {
  check_outputs(x, y, outputs_);
  const std::int64_t rows = row_count(x.extents);
  if (rows == 0) return;
  const ProductKernels kernels = kernels_of(type_);
  const Blocking blocking =
      make_blocking(kernels, rows, ceil_div(outputs_, kGroup), x.extents[3], threads.count());
  const Product product = {.kernels = kernels,
                           .blocking = blocking,
                           .x = x,
                           .y = y,
                           .type = type_,
                           .tiles = tiles_.get() + first * kGroup * size_of(type_),
                           .tile_stride = tile_depth(type_, inputs_) * kGroup,
                           .scale = scale_.get(),
                           .bias = bias};
  const int workers = static_cast<int>(
      std::min<std::int64_t>(threads.count(), blocking.row_blocks * blocking.group_blocks));
  float* memory =
      reinterpret_cast<float*>(scratch.reserve(workers * blocking.worker_floats * sizeof(float)));
  std::atomic<std::int64_t> next{0};
  const auto work = [&](int worker) {
    product.work(next, memory + worker * blocking.worker_floats);
  };
  threads.run(workers, std::ref(work));
}

}  // namespace rapt
