#include "c/convert.h"

namespace rapt::c {
namespace {

/// An optional array of `count` numbers.
template <class T>
std::vector<T> optional_of(const T* values, std::int64_t count) {
  return values == nullptr ? std::vector<T>() : std::vector<T>(values, values + count);
}

std::vector<Range> ranges_of(const rapt_range* ranges, std::int64_t batch) {
  std::vector<Range> read;
  if (ranges == nullptr) return read;
  for (std::int64_t b = 0; b < batch; ++b) read.push_back({ranges[b].begin, ranges[b].end});
  return read;
}

/// A count that was forgotten must not mean default positions.
std::vector<std::int64_t> positions_of(const std::int64_t* positions, std::int64_t count,
                                       std::int64_t tokens, const char* where) {
  require(positions == nullptr || count != 0 || tokens == 0, ErrorCode::kBadArgument, where,
          "their number, or no positions", count);
  return values_of(positions, count, where);
}

ScoreModifiers modifiers_of(const rapt_problem& given) {
  ScoreModifiers modifiers;
  if (given.softcap != 0) modifiers.softcap = given.softcap;
  modifiers.alibi_slopes = optional_of(given.alibi_slopes, given.q_heads);
  modifiers.sinks = optional_of(given.sinks, given.q_heads);
  modifiers.additive_bias = given.additive_bias != 0;
  if (const rapt_relative_bias* bias = given.relative_bias; bias != nullptr) {
    const char* const where = "rapt_problem.relative_bias";
    require_pointer(bias->table, where, "a table");
    require_extent(bias->buckets, 1, where);
    const double entries = static_cast<double>(bias->buckets) * static_cast<double>(given.q_heads);
    require(entries <= 0x1p40, ErrorCode::kBadArgument, where, "at most 2^40 entries", entries);
    modifiers.relative_bias =
        RelativeBias{bias->buckets, bias->max_distance, bias->bidirectional != 0,
                     values_of(bias->table, bias->buckets * given.q_heads, where)};
  }
  return modifiers;
}

Dims dims_of(const std::int64_t (&from)[4]) { return {from[0], from[1], from[2], from[3]}; }

}  // namespace

DType dtype_of(rapt_dtype dtype, const char* where) {
  require(dtype >= RAPT_F32 && dtype <= RAPT_F16, ErrorCode::kBadArgument, where,
          "dtype 0 (f32), 1 (bf16) or 2 (f16)", dtype);
  return static_cast<DType>(dtype);
}
static_assert(static_cast<int>(DType::kF32) == RAPT_F32 &&
              static_cast<int>(DType::kBF16) == RAPT_BF16 &&
              static_cast<int>(DType::kF16) == RAPT_F16);

AnyTensor output_of(const rapt_tensor& tensor, const char* where) {
  return {tensor.data, dtype_of(tensor.dtype, where), dims_of(tensor.extents),
          dims_of(tensor.strides)};
}

AnyConstTensor input_of(const rapt_tensor& tensor, const char* where) {
  return output_of(tensor, where);
}

MutableTensor f32_of(const rapt_tensor& tensor, const char* where) {
  const AnyTensor any = output_of(tensor, where);
  require(any.data == nullptr || any.dtype == DType::kF32, ErrorCode::kBadArgument, where, "f32",
          name(any.dtype));
  return any.as<float>();
}

MutableTensor filled_f32_of(const rapt_tensor& tensor, const char* where) {
  const MutableTensor made = f32_of(tensor, where);
  double elements = 1;
  for (const std::int64_t extent : made.extents) {
    require_extent(extent, 0, where);
    elements *= static_cast<double>(extent);
  }
  if (elements > 0) require_pointer(made.data, where, "a view with data");
  return made;
}

const rapt_tensor& given(const rapt_tensor* tensor, const char* where) {
  require_pointer(tensor, where, "a tensor");
  return *tensor;
}

Threads threads_of(const rapt_threads* threads, const char* where) {
  return threads == nullptr ? Threads(1) : value_of(threads, where);
}

// Padding at the end is what a caller happened to have there; a later version would read it.
static_assert(offsetof(rapt_problem, scale_is_given) + sizeof(rapt_problem::scale_is_given) ==
              sizeof(rapt_problem));

Problem problem_of(const rapt_problem* problem) {
  const rapt_problem from = read_struct(problem, "rapt_problem");
  Problem made;
  made.batch = from.batch;
  made.q_tokens = from.q_tokens;
  made.kv_tokens = from.kv_tokens;
  made.q_heads = from.q_heads;
  made.kv_heads = from.kv_heads;
  made.head_dim = from.head_dim;
  made.v_head_dim = from.v_head_dim;
  made.storage = {
      dtype_of(from.q_type, "rapt_problem.q_type"), dtype_of(from.k_type, "rapt_problem.k_type"),
      dtype_of(from.v_type, "rapt_problem.v_type"), dtype_of(from.o_type, "rapt_problem.o_type")};
  if (from.scale != 0 || from.scale_is_given != 0) made.scale = from.scale;
  made.validate();  // before arrays are read whose lengths these are
  made.q_ranges = ranges_of(from.q_ranges, from.batch);
  made.kv_ranges = ranges_of(from.kv_ranges, from.batch);
  made.q_positions = positions_of(from.q_positions, from.q_position_count, from.q_tokens,
                                  "rapt_problem.q_position_count");
  made.kv_positions = positions_of(from.kv_positions, from.kv_position_count, from.kv_tokens,
                                   "rapt_problem.kv_position_count");
  made.modifiers = modifiers_of(from);
  if (from.mask != nullptr) made.mask = value_of(from.mask, "rapt_problem.mask");
  return made;
}

Inputs inputs_of(const rapt_inputs* inputs) {
  const rapt_inputs from = read_struct(inputs, "rapt_inputs");
  Inputs made;
  made.q = input_of(from.q, "rapt_inputs.q");
  made.k = input_of(from.k, "rapt_inputs.k");
  made.v = input_of(from.v, "rapt_inputs.v");
  if (from.cache != nullptr) made.cache = &value_of(from.cache, "rapt_inputs.cache");
  made.bias = f32_of(from.bias, "rapt_inputs.bias");
  return made;
}

Result result_of(const rapt_result* result) {
  const rapt_result from = read_struct(result, "rapt_result");
  return {output_of(from.o, "rapt_result.o"), f32_of(from.lse, "rapt_result.lse"),
          f32_of(from.m, "rapt_result.m"), f32_of(from.l, "rapt_result.l")};
}

}  // namespace rapt::c
