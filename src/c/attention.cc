#include "rapt/attention.h"

#include "c/convert.h"

using rapt::ErrorCode;
using rapt::c::answer;
using rapt::c::answer_text;
using rapt::c::create;
using rapt::c::guard;
using rapt::c::inputs_of;
using rapt::c::problem_of;
using rapt::c::result_of;
using rapt::c::value_of;

rapt_tensor rapt_contiguous(void* data, rapt_dtype dtype, int64_t extent0, int64_t extent1,
                            int64_t extent2, int64_t extent3) {
  const rapt::Dims s = rapt::contiguous_strides({extent0, extent1, extent2, extent3});
  return {data, dtype, {extent0, extent1, extent2, extent3}, {s[0], s[1], s[2], s[3]}};
}

// Threads and scratch

rapt_status rapt_threads_create(int32_t count, rapt_threads** out) {
  return create("rapt_threads_create out", out, [&] { return rapt::Threads(count); });
}

rapt_status rapt_threads_count(const rapt_threads* threads, int32_t* count) {
  return answer("rapt_threads_count count", count,
                [&] { return value_of(threads, "rapt_threads_count threads").count(); });
}

void rapt_threads_destroy(rapt_threads* threads) { delete threads; }

rapt_status rapt_scratch_create(rapt_scratch** out) {
  return create("rapt_scratch_create out", out, [] { return rapt::Scratch(); });
}

rapt_status rapt_scratch_reserve(rapt_scratch* scratch, size_t bytes) {
  return guard([&] { value_of(scratch, "rapt_scratch_reserve scratch").reserve(bytes); });
}

rapt_status rapt_scratch_bytes(const rapt_scratch* scratch, size_t* bytes) {
  return answer("rapt_scratch_bytes bytes", bytes,
                [&] { return value_of(scratch, "rapt_scratch_bytes scratch").size_bytes(); });
}

void rapt_scratch_destroy(rapt_scratch* scratch) { delete scratch; }

// Problem and plan

rapt_status rapt_alibi_slopes(int64_t heads, float* slopes) {
  return guard([&] {
    rapt::c::require_pointer(slopes, "rapt_alibi_slopes slopes", "a place for the answer");
    const std::vector<float> made = rapt::alibi_slopes(heads);
    std::copy(made.begin(), made.end(), slopes);
  });
}

rapt_status rapt_problem_draw(const rapt_problem* problem, int64_t sequence, int64_t head,
                              char* text, size_t capacity, size_t* length) {
  return answer_text("rapt_problem_draw text", text, capacity, length,
                     [&] { return rapt::Mask::draw(problem_of(problem), sequence, head); });
}

rapt_status rapt_problem_visible_pairs(const rapt_problem* problem, int64_t* pairs) {
  return answer("rapt_problem_visible_pairs pairs", pairs, [&] {
    const rapt::Problem made = problem_of(problem);
    made.validate();
    return made.visible_pairs();
  });
}

rapt_status rapt_plan_create(const rapt_problem* problem, const rapt_threads* threads,
                             rapt_kv_source source, rapt_plan** out) {
  return create("rapt_plan_create out", out, [&] {
    rapt::require(source == RAPT_FROM_TENSORS || source == RAPT_FROM_CACHE, ErrorCode::kBadArgument,
                  "rapt_plan_create source", "0 (tensors) or 1 (cache)", source);
    return rapt::make_plan(
        problem_of(problem), rapt::c::threads_of(threads, "rapt_plan_create threads"),
        source == RAPT_FROM_CACHE ? rapt::KvSource::kCache : rapt::KvSource::kTensors);
  });
}

rapt_status rapt_plan_scratch_bytes(const rapt_plan* plan, size_t* bytes) {
  return answer("rapt_plan_scratch_bytes bytes", bytes,
                [&] { return value_of(plan, "rapt_plan_scratch_bytes plan").scratch_bytes(); });
}

rapt_status rapt_plan_explain(const rapt_plan* plan, const char* name, char* text, size_t capacity,
                              size_t* length) {
  return answer_text("rapt_plan_explain text", text, capacity, length, [&] {
    const rapt::Plan& made = value_of(plan, "rapt_plan_explain plan");
    return name == nullptr ? made.explain() : made.explain(name);
  });
}

void rapt_plan_destroy(rapt_plan* plan) { delete plan; }

// Run and states

rapt_status rapt_run(const rapt_plan* plan, const rapt_inputs* inputs, rapt_scratch* scratch,
                     const rapt_result* result) {
  return guard([&] {
    rapt::run(value_of(plan, "rapt_run plan"), inputs_of(inputs),
              value_of(scratch, "rapt_run scratch"), result_of(result));
  });
}

rapt_status rapt_attention_rows(const rapt_plan* plan, const rapt_inputs* inputs,
                                rapt_scratch* scratch, const int64_t* rows, int64_t count,
                                rapt_row_kind kind, const rapt_tensor* out) {
  return guard([&] {
    rapt::require(kind == RAPT_WEIGHTS || kind == RAPT_SCORES, ErrorCode::kBadArgument,
                  "rapt_attention_rows kind", "0 (weights) or 1 (scores)", kind);
    const char* const where = "rapt_attention_rows out";
    rapt::attention_rows(value_of(plan, "rapt_attention_rows plan"), inputs_of(inputs),
                         value_of(scratch, "rapt_attention_rows scratch"),
                         rapt::c::values_of(rows, count, "rapt_attention_rows rows"),
                         rapt::c::f32_of(rapt::c::given(out, where), where),
                         kind == RAPT_WEIGHTS ? rapt::RowKind::kWeights : rapt::RowKind::kScores);
  });
}

rapt_status rapt_run_partial(const rapt_plan* plan, const rapt_inputs* inputs,
                             rapt_scratch* scratch, int64_t first_chunk, int64_t end_chunk,
                             rapt_state** out) {
  return create("rapt_run_partial out", out, [&] {
    return rapt::run_partial(value_of(plan, "rapt_run_partial plan"), inputs_of(inputs),
                             value_of(scratch, "rapt_run_partial scratch"),
                             {first_chunk, end_chunk});
  });
}

rapt_status rapt_state_merge(const rapt_state* a, const rapt_state* b, rapt_state** out) {
  return create("rapt_state_merge out", out, [&] {
    return rapt::merge(value_of(a, "rapt_state_merge a"), value_of(b, "rapt_state_merge b"));
  });
}

rapt_status rapt_state_finish(const rapt_state* state, const rapt_result* result) {
  return guard(
      [&] { rapt::finish(value_of(state, "rapt_state_finish state"), result_of(result)); });
}

void rapt_state_destroy(rapt_state* state) { delete state; }

rapt_status rapt_merge_finished(const rapt_result* a, const rapt_result* b,
                                const rapt_result* out) {
  return guard([&] { rapt::merge_finished(result_of(a), result_of(b), result_of(out)); });
}

static_assert(RAPT_CHUNK == rapt::kChunk);
