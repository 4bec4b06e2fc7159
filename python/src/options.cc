#include "options.h"

#include "error.h"
#include "mask.h"

namespace rapt::python {

namespace {

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

// One list for all sequences, or a list of each, one after the other.
std::vector<std::int64_t> positions_of(nb::handle object, const char* where) {
  if (object.is_none()) return {};
  if (!nb::hasattr(object, "ndim") || nb::cast<int>(object.attr("ndim")) != 2)
    return ints_of(object, where);
  std::vector<std::int64_t> all;
  for (const std::vector<std::int64_t>& list : int_lists_of(object, where))
    all.insert(all.end(), list.begin(), list.end());
  return all;
}

}  // namespace

void set_options(Problem& problem, const Options& options) {
  problem.mask = mask_of(options.mask, "attention.mask");
  if (options.scale) problem.scale = static_cast<float>(*options.scale);
  ScoreModifiers& modifiers = problem.modifiers;
  if (options.softcap) modifiers.softcap = static_cast<float>(*options.softcap);
  if (!options.sinks.is_none()) modifiers.sinks = floats_of(options.sinks, "attention.sinks");
  if (!options.alibi.is_none())
    modifiers.alibi_slopes = floats_of(options.alibi, "attention.alibi");
  if (!options.relative_bias.is_none())
    modifiers.relative_bias = nb::cast<const RelativeBias&>(options.relative_bias);
  problem.q_ranges = ranges_of(options.q_ranges, "attention.q_ranges");
  problem.kv_ranges = ranges_of(options.kv_ranges, "attention.kv_ranges");
  problem.q_positions = positions_of(options.q_positions, "attention.q_positions");
  problem.kv_positions = positions_of(options.kv_positions, "attention.kv_positions");
}

Problem problem_of(const AnyConstTensor& q, const AnyConstTensor& k, const AnyConstTensor& v,
                   const Options& options) {
  Problem problem;
  problem.batch = q.extents[0];
  problem.q_tokens = q.extents[1];
  problem.kv_tokens = k.extents[1];
  problem.q_heads = q.extents[2];
  problem.kv_heads = k.extents[2];
  problem.head_dim = q.extents[3];
  problem.v_head_dim = v.extents[3];
  problem.storage = {q.dtype, k.dtype, v.dtype, q.dtype};
  set_options(problem, options);
  return problem;
}

}  // namespace rapt::python
