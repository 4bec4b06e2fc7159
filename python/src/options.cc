#include "options.h"

#include <algorithm>
#include <string>

#include "error.h"
#include "mask.h"

namespace rapt::python {

namespace {

// Whether this is an array of two axes, or a sequence that begins with a list or array.
bool holds_lists(nb::handle object) {
  if (nb::hasattr(object, "ndim")) return nb::cast<int>(object.attr("ndim")) == 2;
  if (PySequence_Check(object.ptr()) == 0 || nb::len(object) == 0) return false;
  const nb::object first = object[0];
  return nb::hasattr(first, "ndim") ? nb::cast<int>(first.attr("ndim")) == 1
                                    : PySequence_Check(first.ptr()) != 0;
}

// One list for all sequences, or a list of each, one after the other.
std::vector<std::int64_t> positions_of(nb::handle object, std::int64_t batch, const char* where) {
  if (object.is_none()) return {};
  if (!holds_lists(object)) return ints_of(object, where);
  const auto lists = int_lists_of(object, where);
  if (static_cast<std::int64_t>(lists.size()) != batch)
    refuse(where, "one list or " + std::to_string(batch) + ", one for each sequence",
           std::to_string(lists.size()) + " lists", ErrorCode::kBadShape);
  std::vector<std::int64_t> all;
  for (const std::vector<std::int64_t>& list : lists) {
    if (list.size() != lists[0].size())
      refuse(where, "lists of " + std::to_string(lists[0].size()) + " numbers",
             std::to_string(list.size()) + " numbers");
    all.insert(all.end(), list.begin(), list.end());
  }
  return all;
}

}  // namespace

std::vector<Range> ranges_of(nb::handle object, const char* where) {
  std::vector<Range> ranges;
  if (object.is_none()) return ranges;
  for (const std::vector<std::int64_t>& pair : int_lists_of(object, where)) {
    if (pair.size() != 2)
      refuse(where, "a (begin, end) for each sequence", std::to_string(pair.size()) + " numbers");
    ranges.push_back({pair[0], pair[1]});
  }
  return ranges;
}

void Options::set(Problem& problem) const {
  problem.mask = mask_of(mask, "attention.mask");
  if (scale) problem.scale = static_cast<float>(*scale);
  ScoreModifiers& modifiers = problem.modifiers;
  if (softcap) modifiers.softcap = static_cast<float>(*softcap);
  if (!sinks.is_none()) modifiers.sinks = floats_of(sinks, "attention.sinks");
  if (!alibi.is_none()) modifiers.alibi_slopes = floats_of(alibi, "attention.alibi");
  if (!relative_bias.is_none())
    modifiers.relative_bias =
        cast_to<RelativeBias>(relative_bias, "attention.relative_bias", "a rapt.RelativeBias");
  problem.q_ranges = ranges_of(q_ranges, "attention.q_ranges");
  if (!kv_ranges.is_none()) problem.kv_ranges = ranges_of(kv_ranges, "attention.kv_ranges");
  problem.q_positions = positions_of(q_positions, problem.batch, "attention.q_positions");
  problem.kv_positions = positions_of(kv_positions, problem.batch, "attention.kv_positions");
  problem.arithmetic = arithmetic_of(arithmetic, "attention.arithmetic");
}

Problem problem_of(const Inputs& inputs, DType o, const Options& options) {
  const AnyConstTensor &q = inputs.q, &k = inputs.k, &v = inputs.v;
  Problem problem;
  problem.batch = q.extents[0];
  problem.q_tokens = q.extents[1];
  problem.q_heads = q.extents[2];
  problem.head_dim = q.extents[3];
  problem.modifiers.additive_bias = inputs.bias.data != nullptr;
  if (inputs.cache == nullptr) {
    problem.kv_tokens = k.extents[1];
    problem.kv_heads = k.extents[2];
    problem.v_head_dim = v.extents[3];
    problem.storage = {q.dtype, k.dtype, v.dtype, o};
  } else {
    const KvTiles::Extents cache = inputs.cache->extents();
    problem.kv_heads = cache.kv_heads;
    problem.v_head_dim = cache.v_head_dim;
    problem.storage = {q.dtype, cache.dtype, cache.dtype, o};
    for (std::int64_t b = 0; b < problem.batch; ++b) {
      const std::int64_t sequence = inputs.cache_sequence(b);
      if (!inputs.cache->has(sequence))
        refuse("attention.cache sequence " + std::to_string(sequence), "a sequence of the cache",
               "none", ErrorCode::kBadShape);
      const std::int64_t length = inputs.cache->length(sequence);
      problem.kv_ranges.push_back({0, length});
      problem.kv_tokens = std::max(problem.kv_tokens, length);
    }
  }
  options.set(problem);
  return problem;
}

namespace {

constexpr const char* kNames[kCacheTypes] = {"float32", "bfloat16", "float16", "int8", "fp8_e4m3"};

}  // namespace

const char* name_of(DType dtype) { return kNames[static_cast<int>(dtype)]; }

DType dtype_of(const std::string& name, const char* where) {
  for (int n = 0; n < kDTypes; ++n)
    if (name == kNames[n]) return static_cast<DType>(n);
  refuse(where, "float32, bfloat16 or float16", name);
}

DType cache_type_of(const std::string& name, const char* where) {
  for (int n = 0; n < kCacheTypes; ++n)
    if (name == kNames[n]) return static_cast<DType>(n);
  refuse(where, "float32, bfloat16, float16, int8 or fp8_e4m3", name);
}

Arithmetic arithmetic_of(std::string_view name, const char* where) {
  if (name == kF32Arithmetic) return Arithmetic::kF32;
  if (name != "native_bfloat16") refuse(where, "float32 or native_bfloat16", std::string(name));
  return Arithmetic::kNativeBF16;
}

}  // namespace rapt::python
