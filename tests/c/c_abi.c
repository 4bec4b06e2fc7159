// The C ABI from C11, by rapt.h alone: every refusal and its sentence, results against a plain loop,
// the same bits by every way of running, several threads at once. Exits with 1 where something does
// not hold.
#define _POSIX_C_SOURCE 200809L  // barriers
#include <math.h>
#include <pthread.h>
#include <rapt/rapt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

#define EXPECT(condition)                                                       \
  do {                                                                          \
    if (!(condition)) {                                                         \
      ++failures;                                                               \
      printf("line %d: expected %s (last message: %s)\n", __LINE__, #condition, \
             rapt_error_message());                                             \
    }                                                                           \
  } while (0)

/// The call gives `status`, and a message that begins with `where` and says what it got.
#define REFUSED(status, where, call)                                  \
  do {                                                                \
    const char* const begin = where ": expected ";                    \
    EXPECT((call) == (status));                                       \
    EXPECT(strncmp(rapt_error_message(), begin, strlen(begin)) == 0); \
    EXPECT(strstr(rapt_error_message(), ", got ") != NULL);           \
  } while (0)

#define DONE(call) EXPECT((call) == RAPT_OK)

enum { B = 2, TQ = 5, TK = 9, HQ = 4, HKV = 2, D = 8, DV = 6 };

typedef struct tensors {
  float q[B * TQ * HQ * D], k[B * TK * HKV * D], v[B * TK * HKV * DV];
  float o[B * TQ * HQ * DV], lse[B * HQ * TQ];
} tensors;

static float number(int seed, int n) {
  const unsigned x = (unsigned)(seed * 7919 + n) * 2654435761u;
  return (float)((x >> 8) & 0xFFFF) / 32768.0f - 1.0f;
}

static void fill(tensors* t) {
  for (int n = 0; n < B * TQ * HQ * D; ++n) t->q[n] = 3 * number(1, n);
  for (int n = 0; n < B * TK * HKV * D; ++n) t->k[n] = number(2, n);
  for (int n = 0; n < B * TK * HKV * DV; ++n) t->v[n] = number(3, n);
  for (int n = 0; n < B * TQ * HQ * DV; ++n) t->o[n] = -12345;
  for (int n = 0; n < B * HQ * TQ; ++n) t->lse[n] = -12345;
}

static rapt_problem good(void) {
  rapt_problem p = {.size = sizeof p,
                    .batch = B,
                    .q_tokens = TQ,
                    .kv_tokens = TK,
                    .q_heads = HQ,
                    .kv_heads = HKV,
                    .head_dim = D,
                    .v_head_dim = DV};
  return p;
}

static rapt_inputs inputs_of(tensors* t) {
  rapt_inputs in = {.size = sizeof in,
                    .q = rapt_contiguous(t->q, RAPT_F32, B, TQ, HQ, D),
                    .k = rapt_contiguous(t->k, RAPT_F32, B, TK, HKV, D),
                    .v = rapt_contiguous(t->v, RAPT_F32, B, TK, HKV, DV)};
  return in;
}

static rapt_result result_of(tensors* t) {
  rapt_result out = {.size = sizeof out,
                     .o = rapt_contiguous(t->o, RAPT_F32, B, TQ, HQ, DV),
                     .lse = rapt_contiguous(t->lse, RAPT_F32, 1, B, HQ, TQ)};
  return out;
}

/// Causal attention of `good` in f64; the largest difference of t->o and t->lse from it.
static double error_of_causal(const tensors* t) {
  double worst = 0;
  for (int b = 0; b < B; ++b)
    for (int h = 0; h < HQ; ++h)
      for (int i = 0; i < TQ; ++i) {
        double p[TK], sum = 0, o[DV] = {0};
        for (int j = 0; j <= TK - TQ + i; ++j) {
          double s = 0;
          for (int e = 0; e < D; ++e)
            s += (double)t->q[((b * TQ + i) * HQ + h) * D + e] *
                 t->k[((b * TK + j) * HKV + h / 2) * D + e];
          p[j] = exp(s / sqrt(D));
          sum += p[j];
          for (int e = 0; e < DV; ++e) o[e] += p[j] * t->v[((b * TK + j) * HKV + h / 2) * DV + e];
        }
        for (int e = 0; e < DV; ++e) {
          const double difference = fabs(o[e] / sum - t->o[((b * TQ + i) * HQ + h) * DV + e]);
          worst = fmax(worst, difference);
        }
        worst = fmax(worst, fabs(log(sum) - t->lse[(b * HQ + h) * TQ + i]));
      }
  return worst;
}

static void test_versions_and_names(void) {
  char text[32];
  sprintf(text, "%d.%d.%d", RAPT_VERSION_MAJOR, RAPT_VERSION_MINOR, RAPT_VERSION_PATCH);
  EXPECT(strcmp(text, rapt_version_string()) == 0);
  EXPECT(rapt_version() ==
         RAPT_VERSION_MAJOR * 10000 + RAPT_VERSION_MINOR * 100 + RAPT_VERSION_PATCH);
  EXPECT(strcmp(rapt_status_name(RAPT_OK), "ok") == 0);
  EXPECT(strcmp(rapt_status_name(RAPT_BAD_SHAPE), "bad_shape") == 0);
  EXPECT(strcmp(rapt_status_name(RAPT_OUT_OF_MEMORY), "out_of_memory") == 0);
  EXPECT(strcmp(rapt_status_name(RAPT_INTERNAL), "internal") == 0);
  EXPECT(strcmp(rapt_status_name(-1), "unknown") == 0);
}

static void test_masks_refuse(void) {
  const int64_t ids[] = {3, 3, 4}, falling[] = {0, 5, 4}, strides[] = {1, 1, 1, 1};
  const int64_t extents[] = {1, 1, 2, 2}, negative[] = {1, 1, -2, 2}, lengths[] = {-1};
  const uint8_t seen[] = {1, 0, 0, 1};
  const rapt_list list = {ids, 3}, bad = {falling, 3}, none = {NULL, 3}, minus = {ids, -1};
  const rapt_block_shape blocks = {1, 1, 2, 2, 4, 4}, no_block = {1, 1, 2, 2, 0, 4};
  rapt_mask *m = NULL, *a = NULL;
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_causal out", rapt_mask_causal(NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_none out", rapt_mask_none(NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_causal_top_left out", rapt_mask_causal_top_left(NULL));
  DONE(rapt_mask_causal(&a));
  m = a;  // a failed call leaves NULL
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::sliding_window tokens", rapt_mask_sliding_window(0, &m));
  EXPECT(m == NULL);
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_sliding_window out", rapt_mask_sliding_window(1, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::window before", rapt_mask_window(-1, 0, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::window after", rapt_mask_window(0, -1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_window out", rapt_mask_window(0, 0, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::strided stride", rapt_mask_strided(0, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_strided out", rapt_mask_strided(2, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::dilated_window tokens", rapt_mask_dilated_window(0, 1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::dilated_window dilation", rapt_mask_dilated_window(1, 0, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_dilated_window out", rapt_mask_dilated_window(1, 1, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::prefix lengths", rapt_mask_prefix(ids, 0, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::prefix lengths", rapt_mask_prefix(lengths, 1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_prefix lengths", rapt_mask_prefix(NULL, 1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_prefix lengths", rapt_mask_prefix(ids, -1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_prefix out", rapt_mask_prefix(ids, 1, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_documents ids", rapt_mask_documents(NULL, 1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_documents ids", rapt_mask_documents(&none, 1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_documents ids", rapt_mask_documents(&minus, 1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_documents ids", rapt_mask_documents(&list, -1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::documents", rapt_mask_documents(&list, 0, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_documents out", rapt_mask_documents(&list, 1, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::documents_from_offsets[0][2]",
          rapt_mask_documents_from_offsets(&bad, 1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_documents_from_offsets offsets",
          rapt_mask_documents_from_offsets(NULL, 1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_documents_from_offsets out",
          rapt_mask_documents_from_offsets(&list, 1, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_structure kinds",
          rapt_mask_structure(NULL, 1, seen, 2, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_structure visible",
          rapt_mask_structure(&list, 1, NULL, 2, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_structure visible",
          rapt_mask_structure(&list, 1, seen, 65, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_structure visible",
          rapt_mask_structure(&list, 1, seen, 0, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::structure kinds[0][0]",
          rapt_mask_structure(&list, 1, seen, 2, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_structure out",
          rapt_mask_structure(&list, 1, seen, 2, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::global[0][1]", rapt_mask_global(&list, 1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_global slots", rapt_mask_global(NULL, 1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_global out", rapt_mask_global(&list, 1, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::tree parents[0][0]", rapt_mask_tree(&list, 1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_tree parents", rapt_mask_tree(NULL, 1, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_tree out", rapt_mask_tree(&list, 1, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_blocks shape", rapt_mask_blocks(NULL, seen, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_blocks visible", rapt_mask_blocks(&blocks, NULL, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "BlockMask.q_block", rapt_mask_blocks(&no_block, seen, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_blocks out", rapt_mask_blocks(&blocks, seen, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::dense bits", rapt_mask_dense(NULL, extents, strides, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::dense bits", rapt_mask_dense(seen, negative, strides, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_dense extents", rapt_mask_dense(seen, NULL, strides, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_dense strides", rapt_mask_dense(seen, extents, NULL, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_dense out", rapt_mask_dense(seen, extents, strides, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_and a", rapt_mask_and(NULL, a, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_and b", rapt_mask_and(a, NULL, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_and out", rapt_mask_and(a, a, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_or a", rapt_mask_or(NULL, a, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_or b", rapt_mask_or(a, NULL, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_or out", rapt_mask_or(a, a, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_not a", rapt_mask_not(NULL, &m));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_not out", rapt_mask_not(a, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_describe mask", rapt_mask_describe(NULL, NULL, 0, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_mask_describe text", rapt_mask_describe(a, NULL, 1, NULL));
  rapt_mask_destroy(a);
  rapt_mask_destroy(NULL);
}

static void test_texts_are_cut(void) {
  rapt_mask *a = NULL, *b = NULL, *both = NULL;
  char whole[64], part[4] = "xyz";
  size_t length = 0, again = 0;
  DONE(rapt_mask_causal(&a));
  DONE(rapt_mask_window(2, 0, &b));
  DONE(rapt_mask_and(a, b, &both));
  rapt_mask_destroy(a);  // what is composed lives on
  rapt_mask_destroy(b);
  DONE(rapt_mask_describe(both, whole, sizeof whole, &length));
  EXPECT(strlen(whole) == length && strstr(whole, "causal and ") == whole);
  DONE(rapt_mask_describe(both, part, sizeof part, &again));
  EXPECT(again == length && strcmp(part, "cau") == 0);
  DONE(rapt_mask_describe(both, NULL, 0, &again));
  EXPECT(again == length);
  DONE(rapt_mask_describe(both, part, 1, NULL));
  EXPECT(part[0] == '\0');
  rapt_mask_destroy(both);
}

static void test_problems_refuse(void) {
  rapt_plan* plan = NULL;
  rapt_threads* threads = NULL;
  const float slopes[HQ] = {1, INFINITY, 1, 1};
  const rapt_range ranges[B] = {{0, TQ}, {3, TQ + 1}};
  const rapt_relative_bias no_table = {32, 128, 0, NULL}, many = {INT64_C(1) << 40, 128, 0, slopes},
                           minus = {-1, 128, 0, slopes};
  const int64_t positions[] = {1, 2, 3};
#define BAD(where, change)                                                                   \
  do {                                                                                       \
    rapt_problem p = good();                                                                 \
    change;                                                                                  \
    REFUSED(RAPT_BAD_ARGUMENT, where, rapt_plan_create(&p, NULL, RAPT_FROM_TENSORS, &plan)); \
    EXPECT(plan == NULL);                                                                    \
  } while (0)
  BAD("rapt_problem.size", p.size = 0);
  BAD("rapt_problem.size", p.size = offsetof(rapt_problem, sinks));
  BAD("rapt_problem.size", p.size = (size_t)-1);
  BAD("Problem.batch", p.batch = -1);
  BAD("Problem.q_tokens", p.q_tokens = -1);
  BAD("Problem.kv_tokens", p.kv_tokens = INT64_C(1) << 41);
  BAD("Problem.q_heads", p.q_heads = 0);
  BAD("Problem.kv_heads", p.kv_heads = 0);
  BAD("Problem.q_heads", p.q_heads = 5);
  BAD("Problem.head_dim", p.head_dim = 0);
  BAD("Problem.v_head_dim", p.v_head_dim = -1);
  BAD("Problem elements of q", p.q_tokens = INT64_C(1) << 40);
  BAD("rapt_problem.q_type", p.q_type = 3);
  BAD("rapt_problem.k_type", p.k_type = -1);
  BAD("rapt_problem.v_type", p.v_type = 17);
  BAD("rapt_problem.o_type", p.o_type = 3);
  BAD("Problem.scale", p.scale = INFINITY);
  BAD("Problem.scale", p.scale = NAN);
  BAD("ScoreModifiers.softcap", p.softcap = -1);
  BAD("ScoreModifiers.alibi_slopes", p.alibi_slopes = slopes);
  BAD("ScoreModifiers.sinks", p.sinks = slopes);
  BAD("Problem.q_ranges[1]", p.q_ranges = ranges);
  BAD("rapt_problem.relative_bias", p.relative_bias = &no_table);
  BAD("rapt_problem.relative_bias", p.relative_bias = &many);
  BAD("rapt_problem.relative_bias", p.relative_bias = &minus);
  BAD("rapt_problem.q_position_count", p.q_positions = positions);
  BAD("rapt_problem.q_position_count", p.q_position_count = 3);
  BAD("Problem.q_positions", (p.q_positions = positions, p.q_position_count = 3));
  BAD("rapt_problem.kv_position_count", p.kv_positions = positions);
  BAD("Problem.kv_positions", (p.kv_positions = positions, p.kv_position_count = 3));
#undef BAD
  rapt_problem p = good();
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_problem", rapt_plan_create(NULL, NULL, 0, &plan));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_plan_create out", rapt_plan_create(&p, NULL, 0, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_plan_create source", rapt_plan_create(&p, NULL, 2, &plan));
  p.q_heads = 6, p.kv_heads = 4;
  rapt_plan_create(&p, NULL, 0, &plan);
  EXPECT(strcmp(rapt_error_message(),
                "Problem.q_heads: expected a multiple of kv_heads (4), got 6") == 0);

  REFUSED(RAPT_BAD_ARGUMENT, "Threads.count", rapt_threads_create(-1, &threads));
  REFUSED(RAPT_BAD_ARGUMENT, "Threads.count", rapt_threads_create(1025, &threads));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_threads_create out", rapt_threads_create(2, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_threads_count threads", rapt_threads_count(NULL, &(int32_t){0}));
  DONE(rapt_threads_create(2, &threads));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_threads_count count", rapt_threads_count(threads, NULL));
  int32_t count = 0;
  DONE(rapt_threads_count(threads, &count));
  EXPECT(count == 2);

  // A handle of another kind.
  p = good();
  p.mask = (const rapt_mask*)(const void*)threads;
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_problem.mask", rapt_plan_create(&p, threads, 0, &plan));
  EXPECT(strstr(rapt_error_message(), "expected a mask, got another object") != NULL);
  rapt_threads_destroy(threads);
}

static float first_lse(rapt_problem p) {
  static tensors t;
  fill(&t);
  const rapt_inputs in = inputs_of(&t);
  const rapt_result out = result_of(&t);
  rapt_plan* plan = NULL;
  rapt_scratch* scratch = NULL;
  DONE(rapt_plan_create(&p, NULL, RAPT_FROM_TENSORS, &plan));
  DONE(rapt_scratch_create(&scratch));
  DONE(rapt_run(plan, &in, scratch, &out));
  rapt_scratch_destroy(scratch);
  rapt_plan_destroy(plan);
  return t.lse[0];
}

/// A scale of 0 makes every weight alike; a struct of the first version cannot ask for it.
static void test_scale_of_zero(void) {
  rapt_problem p = good();
  const float by_default = first_lse(p);
  p.scale_is_given = 1;
  EXPECT(fabs(first_lse(p) - log(TK)) < 1e-6);
  p.size = offsetof(rapt_problem, scale_is_given);
  EXPECT(first_lse(p) == by_default);
  EXPECT(fabs(by_default - log(TK)) > 1e-6);
}

/// A struct of a later version: served where its new fields are 0.
static void test_later_versions(void) {
  struct later {
    rapt_problem problem;
    int64_t new_field;
  } later = {good(), 0};
  rapt_plan* plan = NULL;
  later.problem.size = sizeof later;
  DONE(rapt_plan_create(&later.problem, NULL, RAPT_FROM_TENSORS, &plan));
  rapt_plan_destroy(plan);
  later.new_field = 1;
  REFUSED(RAPT_UNSUPPORTED, "rapt_problem.size", rapt_plan_create(&later.problem, NULL, 0, &plan));
}

static void test_runs_refuse(void) {
  static tensors t;
  fill(&t);
  rapt_problem p = good();
  rapt_plan* plan = NULL;
  rapt_scratch* scratch = NULL;
  const rapt_inputs in = inputs_of(&t);
  const rapt_result out = result_of(&t);
  size_t bytes = 0, taken = 0;
  DONE(rapt_plan_create(&p, NULL, RAPT_FROM_TENSORS, &plan));
  DONE(rapt_scratch_create(&scratch));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_plan_scratch_bytes plan", rapt_plan_scratch_bytes(NULL, &bytes));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_plan_scratch_bytes bytes", rapt_plan_scratch_bytes(plan, NULL));
  DONE(rapt_plan_scratch_bytes(plan, &bytes));
  EXPECT(bytes > 0);
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_scratch_create out", rapt_scratch_create(NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_scratch_reserve scratch", rapt_scratch_reserve(NULL, bytes));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_scratch_bytes scratch", rapt_scratch_bytes(NULL, &taken));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_scratch_bytes bytes", rapt_scratch_bytes(scratch, NULL));
  REFUSED(RAPT_OUT_OF_MEMORY, "allocation", rapt_scratch_reserve(scratch, (size_t)-1));
  DONE(rapt_scratch_reserve(scratch, bytes));
  DONE(rapt_run(plan, &in, scratch, &out));
  DONE(rapt_scratch_bytes(scratch, &taken));
  EXPECT(taken == bytes);

  REFUSED(RAPT_BAD_ARGUMENT, "rapt_run plan", rapt_run(NULL, &in, scratch, &out));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_inputs", rapt_run(plan, NULL, scratch, &out));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_run scratch", rapt_run(plan, &in, NULL, &out));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_result", rapt_run(plan, &in, scratch, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_run plan",
          rapt_run((const rapt_plan*)(const void*)scratch, &in, scratch, &out));
#define BAD_INPUT(status, where, change)                         \
  do {                                                           \
    rapt_inputs bad = in;                                        \
    change;                                                      \
    REFUSED(status, where, rapt_run(plan, &bad, scratch, &out)); \
  } while (0)
#define BAD_RESULT(status, where, change)                       \
  do {                                                          \
    rapt_result bad = out;                                      \
    change;                                                     \
    REFUSED(status, where, rapt_run(plan, &in, scratch, &bad)); \
  } while (0)
  BAD_INPUT(RAPT_BAD_ARGUMENT, "rapt_inputs.size", bad.size = 8);
  BAD_INPUT(RAPT_BAD_ARGUMENT, "Inputs.q", bad.q.data = NULL);
  BAD_INPUT(RAPT_BAD_ARGUMENT, "Inputs.k", bad.k.data = NULL);
  BAD_INPUT(RAPT_BAD_ARGUMENT, "Inputs.v", bad.v.data = NULL);
  BAD_INPUT(RAPT_BAD_ARGUMENT, "Inputs.q type", bad.q.dtype = RAPT_BF16);
  BAD_INPUT(RAPT_BAD_ARGUMENT, "Inputs.k type", bad.k.dtype = RAPT_F16);
  BAD_INPUT(RAPT_BAD_ARGUMENT, "rapt_inputs.q", bad.q.dtype = 3);
  BAD_INPUT(RAPT_BAD_ARGUMENT, "Inputs.bias", bad.bias = in.q);
  BAD_INPUT(RAPT_BAD_ARGUMENT, "rapt_inputs.bias", (bad.bias = in.q, bad.bias.dtype = RAPT_F16));
  BAD_INPUT(RAPT_BAD_ARGUMENT, "rapt_inputs.cache", bad.cache = (const void*)scratch);
  BAD_RESULT(RAPT_BAD_ARGUMENT, "rapt_result.size", bad.size = 8);
  BAD_RESULT(RAPT_BAD_ARGUMENT, "Result.o", bad.o.data = NULL);
  BAD_RESULT(RAPT_BAD_ARGUMENT, "Result.o type", bad.o.dtype = RAPT_F16);
  BAD_RESULT(RAPT_BAD_ARGUMENT, "rapt_result.lse", bad.lse.dtype = RAPT_BF16);
  for (int axis = 0; axis < 4; ++axis) {
    BAD_INPUT(RAPT_BAD_SHAPE, "Inputs.q", bad.q.extents[axis] += 1);
    BAD_INPUT(RAPT_BAD_SHAPE, "Inputs.k", bad.k.extents[axis] -= 1);
    BAD_INPUT(RAPT_BAD_SHAPE, "Inputs.v", bad.v.extents[axis] += 1);
    BAD_RESULT(RAPT_BAD_SHAPE, "Result.o", bad.o.extents[axis] -= 1);
    BAD_RESULT(RAPT_BAD_SHAPE, "Result.lse", bad.lse.extents[axis] += 1);
    BAD_RESULT(RAPT_BAD_SHAPE, "Result.m", (bad.m = bad.lse, bad.m.extents[axis] += 1));
    BAD_RESULT(RAPT_BAD_SHAPE, "Result.l", (bad.l = bad.lse, bad.l.extents[axis] += 1));
  }
#undef BAD_INPUT
#undef BAD_RESULT

  const int64_t rows[] = {0, 4}, outside[] = {TQ};
  float weights[B * HQ * 2 * TK];
  const rapt_tensor view = rapt_contiguous(weights, RAPT_F32, B, HQ, 2, TK);
  DONE(rapt_attention_rows(plan, &in, scratch, rows, 2, RAPT_WEIGHTS, &view));
  double sum = 0;
  for (int j = 0; j < TK; ++j) sum += weights[j];
  EXPECT(fabs(sum - 1) < 1e-5);
  REFUSED(RAPT_BAD_ARGUMENT, "attention_rows rows",
          rapt_attention_rows(plan, &in, scratch, outside, 1, RAPT_WEIGHTS, &view));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_attention_rows rows",
          rapt_attention_rows(plan, &in, scratch, NULL, 2, RAPT_WEIGHTS, &view));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_attention_rows kind",
          rapt_attention_rows(plan, &in, scratch, rows, 2, 2, &view));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_attention_rows out",
          rapt_attention_rows(plan, &in, scratch, rows, 2, RAPT_WEIGHTS, NULL));
  REFUSED(RAPT_BAD_SHAPE, "attention_rows out",
          rapt_attention_rows(plan, &in, scratch, rows, 1, RAPT_WEIGHTS, &view));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_attention_rows plan",
          rapt_attention_rows(NULL, &in, scratch, rows, 2, RAPT_WEIGHTS, &view));

  char text[32];
  size_t length = 0;
  DONE(rapt_plan_explain(plan, "no such line", text, sizeof text, &length));
  EXPECT(length == 0 && text[0] == '\0');
  DONE(rapt_plan_explain(plan, NULL, NULL, 0, &length));
  EXPECT(length > 100);
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_plan_explain plan",
          rapt_plan_explain(NULL, NULL, text, 1, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_plan_explain text",
          rapt_plan_explain(plan, NULL, NULL, 1, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_problem", rapt_problem_draw(NULL, 0, 0, NULL, 0, &length));
  REFUSED(RAPT_BAD_ARGUMENT, "Mask::draw head", rapt_problem_draw(&p, 0, HQ, NULL, 0, &length));
  int64_t pairs = 0;
  DONE(rapt_problem_visible_pairs(&p, &pairs));
  EXPECT(pairs == B * HQ * TQ * TK);
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_problem", rapt_problem_visible_pairs(NULL, &pairs));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_problem_visible_pairs pairs",
          rapt_problem_visible_pairs(&p, NULL));
  float slopes[8];
  DONE(rapt_alibi_slopes(8, slopes));
  EXPECT(slopes[0] == 0.5f && slopes[7] == 0x1p-8f);
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_alibi_slopes slopes", rapt_alibi_slopes(8, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "alibi_slopes heads", rapt_alibi_slopes(0, slopes));
  rapt_plan_destroy(plan);
  rapt_plan_destroy(NULL);
  rapt_scratch_destroy(scratch);
  rapt_scratch_destroy(NULL);
}

static void test_caches_and_states(void) {
  static tensors t, by_cache, by_states;
  fill(&t);
  by_cache = by_states = t;
  rapt_mask* causal = NULL;
  rapt_plan *plan = NULL, *cached = NULL;
  rapt_scratch* scratch = NULL;
  rapt_kv_cache* cache = NULL;
  DONE(rapt_mask_causal(&causal));
  rapt_problem p = good();
  p.mask = causal;
  DONE(rapt_plan_create(&p, NULL, RAPT_FROM_TENSORS, &plan));
  DONE(rapt_plan_create(&p, NULL, RAPT_FROM_CACHE, &cached));
  rapt_mask_destroy(causal);
  DONE(rapt_scratch_create(&scratch));
  const rapt_inputs in = inputs_of(&t);
  const rapt_result out = result_of(&t);
  DONE(rapt_run(plan, &in, scratch, &out));
  EXPECT(error_of_causal(&t) < 1e-5);

  rapt_kv_cache_shape shape = {.size = sizeof shape,
                               .batch = B,
                               .kv_heads = HKV,
                               .head_dim = D,
                               .v_head_dim = DV,
                               .capacity = TK + 1};
  size_t bytes = 0;
  int64_t length = -1;
  DONE(rapt_kv_cache_bytes(&shape, &bytes));
  EXPECT(bytes == sizeof(float) * B * HKV * 16 * (D + 16));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_shape", rapt_kv_cache_bytes(NULL, &bytes));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_bytes bytes", rapt_kv_cache_bytes(&shape, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_shape", rapt_kv_cache_create(NULL, &cache));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_create out", rapt_kv_cache_create(&shape, NULL));
  shape.dtype = 9;
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_shape.dtype", rapt_kv_cache_create(&shape, &cache));
  shape.dtype = RAPT_F32, shape.head_dim = 0;
  REFUSED(RAPT_BAD_ARGUMENT, "DenseKvCache.head_dim", rapt_kv_cache_create(&shape, &cache));
  shape.head_dim = D, shape.capacity = INT64_C(1) << 38;
  REFUSED(RAPT_OUT_OF_MEMORY, "DenseKvCache", rapt_kv_cache_create(&shape, &cache));
  EXPECT(cache == NULL);
  shape.capacity = TK + 1;
  DONE(rapt_kv_cache_create(&shape, &cache));

  rapt_inputs of_cache = {.size = sizeof of_cache, .q = in.q, .cache = cache};
  const rapt_result to_cache = result_of(&by_cache);
  REFUSED(RAPT_BAD_SHAPE, "Inputs.cache sequence 0",
          rapt_run(cached, &of_cache, scratch, &to_cache));
  REFUSED(RAPT_BAD_ARGUMENT, "Inputs.cache", rapt_run(cached, &in, scratch, &to_cache));
  DONE(rapt_kv_cache_append(cache, &in.k, &in.v));
  REFUSED(RAPT_BAD_ARGUMENT, "DenseKvCache.append", rapt_kv_cache_append(cache, &in.k, &in.v));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_append cache",
          rapt_kv_cache_append(NULL, &in.k, &in.v));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_append k", rapt_kv_cache_append(cache, NULL, &in.v));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_append v", rapt_kv_cache_append(cache, &in.k, NULL));
  REFUSED(RAPT_BAD_SHAPE, "DenseKvCache.append v", rapt_kv_cache_append(cache, &in.k, &in.k));
  const rapt_tensor k = rapt_contiguous(t.k, RAPT_F32, 1, 1, HKV, D);
  const rapt_tensor v = rapt_contiguous(t.v, RAPT_F32, 1, 1, HKV, DV);
  DONE(rapt_kv_cache_append_one(cache, 1, &k, &v));
  REFUSED(RAPT_BAD_ARGUMENT, "DenseKvCache.append sequence",
          rapt_kv_cache_append_one(cache, B, &k, &v));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_append_one cache",
          rapt_kv_cache_append_one(NULL, 0, &k, &v));
  DONE(rapt_kv_cache_length(cache, 1, &length));
  EXPECT(length == TK + 1);
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_length sequence",
          rapt_kv_cache_length(cache, B, &length));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_length sequence",
          rapt_kv_cache_length(cache, -1, &length));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_length cache", rapt_kv_cache_length(NULL, 0, &length));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_length length", rapt_kv_cache_length(cache, 0, NULL));
  DONE(rapt_kv_cache_truncate(cache, 1, TK));
  REFUSED(RAPT_BAD_ARGUMENT, "DenseKvCache.truncate length",
          rapt_kv_cache_truncate(cache, 1, TK + 1));
  REFUSED(RAPT_BAD_ARGUMENT, "DenseKvCache.truncate sequence", rapt_kv_cache_truncate(cache, B, 0));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_truncate cache", rapt_kv_cache_truncate(NULL, 0, 0));
  float first_k[HKV * D], first_v[HKV * DV];
  const rapt_tensor k_out = rapt_contiguous(first_k, RAPT_F32, 1, 1, HKV, D);
  const rapt_tensor v_out = rapt_contiguous(first_v, RAPT_F32, 1, 1, HKV, DV);
  DONE(rapt_kv_cache_read(cache, 0, &k_out, &v_out));
  EXPECT(memcmp(first_k, t.k, sizeof first_k) == 0 && memcmp(first_v, t.v, sizeof first_v) == 0);
  REFUSED(RAPT_BAD_ARGUMENT, "DenseKvCache.read sequence",
          rapt_kv_cache_read(cache, -1, &k_out, &v_out));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_read k", rapt_kv_cache_read(cache, 0, NULL, &v_out));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_read v", rapt_kv_cache_read(cache, 0, &k_out, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_kv_cache_read cache",
          rapt_kv_cache_read(NULL, 0, &k_out, &v_out));
  DONE(rapt_run(cached, &of_cache, scratch, &to_cache));
  EXPECT(memcmp(t.o, by_cache.o, sizeof t.o) == 0 &&
         memcmp(t.lse, by_cache.lse, sizeof t.lse) == 0);

  rapt_state *a = NULL, *b = NULL, *both = NULL;
  const rapt_result to_states = result_of(&by_states);
  DONE(rapt_run_partial(plan, &in, scratch, 0, 1, &a));
  DONE(rapt_run_partial(plan, &in, scratch, 1, 2, &b));
  DONE(rapt_state_merge(a, b, &both));
  DONE(rapt_state_finish(both, &to_states));
  EXPECT(memcmp(t.o, by_states.o, sizeof t.o) == 0);
  EXPECT(memcmp(t.lse, by_states.lse, sizeof t.lse) == 0);
  rapt_state* bad = a;
  REFUSED(RAPT_BAD_ARGUMENT, "merge b.chunks.begin", rapt_state_merge(b, a, &bad));
  EXPECT(bad == NULL);
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_state_merge a", rapt_state_merge(NULL, b, &bad));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_state_merge b", rapt_state_merge(a, NULL, &bad));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_state_merge out", rapt_state_merge(a, b, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "run_partial chunks",
          rapt_run_partial(plan, &in, scratch, 2, 1, &bad));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_run_partial plan",
          rapt_run_partial(NULL, &in, scratch, 0, 1, &bad));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_run_partial scratch",
          rapt_run_partial(plan, &in, NULL, 0, 1, &bad));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_run_partial out",
          rapt_run_partial(plan, &in, scratch, 0, 1, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_state_finish state", rapt_state_finish(NULL, &to_states));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_result", rapt_state_finish(a, NULL));
  rapt_result no_lse = out;
  no_lse.lse.data = NULL;
  DONE(rapt_merge_finished(&out, &to_cache, &to_states));
  EXPECT(fabsf(by_states.lse[0] - t.lse[0] - 0.6931472f) < 1e-5f);
  REFUSED(RAPT_BAD_ARGUMENT, "merge_finished", rapt_merge_finished(&out, &no_lse, &to_states));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_result", rapt_merge_finished(NULL, &out, &to_states));
  rapt_state_destroy(a);
  rapt_state_destroy(b);
  rapt_state_destroy(both);
  rapt_state_destroy(NULL);
  rapt_kv_cache_destroy(cache);
  rapt_kv_cache_destroy(NULL);
  rapt_plan_destroy(plan);
  rapt_plan_destroy(cached);
  rapt_scratch_destroy(scratch);
}

static void test_rotary(void) {
  const int64_t positions[TQ] = {0, 1, 2, 3, 4}, lengths[] = {3, 3};
  rapt_rotary_config config = {.size = sizeof config, .dims = D};
  rapt_rotary_table* table = NULL;
  float x[TQ * D], y[TQ * D];
  for (int n = 0; n < TQ * D; ++n) x[n] = number(4, n);
  const rapt_tensor in = rapt_contiguous(x, RAPT_F32, 1, TQ, 1, D);
  const rapt_tensor out = rapt_contiguous(y, RAPT_F32, 1, TQ, 1, D);
  DONE(rapt_rotary_table_create(&config, positions, TQ, NULL, 0, &table));
  DONE(rapt_rotary_apply(table, NULL, &in, &out));
  for (int t = 0; t < TQ; ++t)
    for (int i = 0; i < D / 2; ++i) {
      const double angle = t * pow(10000, -2.0 * i / D);
      const double turned = x[t * D + i] * cos(angle) - x[t * D + i + D / 2] * sin(angle);
      EXPECT(fabs(turned - y[t * D + i]) < 1e-6);
    }
  rapt_tensor bad = out;
  bad.data = NULL;
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_rotary_apply y", rapt_rotary_apply(table, NULL, &in, &bad));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_rotary_apply x", rapt_rotary_apply(table, NULL, &bad, &out));
  bad = in, bad.dtype = RAPT_BF16;
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_rotary_apply x", rapt_rotary_apply(table, NULL, &bad, &out));
  bad = in, bad.extents[1] = TQ - 1;
  REFUSED(RAPT_BAD_SHAPE, "apply_rotary.table", rapt_rotary_apply(table, NULL, &bad, &out));
  bad = in, bad.extents[1] = -TQ;
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_rotary_apply x", rapt_rotary_apply(table, NULL, &bad, &out));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_rotary_apply x", rapt_rotary_apply(table, NULL, NULL, &out));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_rotary_apply y", rapt_rotary_apply(table, NULL, &in, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_rotary_apply table", rapt_rotary_apply(NULL, NULL, &in, &out));
  rapt_rotary_table_destroy(table);
  rapt_rotary_table_destroy(NULL);
#define BAD(status, where, change)                                                             \
  do {                                                                                         \
    rapt_rotary_config saved = config;                                                         \
    change;                                                                                    \
    REFUSED(status, where, rapt_rotary_table_create(&config, positions, TQ, NULL, 0, &table)); \
    config = saved;                                                                            \
  } while (0)
  BAD(RAPT_BAD_ARGUMENT, "rapt_rotary_config.size", config.size = 0);
  BAD(RAPT_BAD_ARGUMENT, "Rotary.dims", config.dims = 7);
  BAD(RAPT_BAD_ARGUMENT, "Rotary.theta", config.theta = -1);
  BAD(RAPT_BAD_ARGUMENT, "rapt_rotary_config.style", config.style = 2);
  BAD(RAPT_BAD_ARGUMENT, "rapt_rotary_config.scaling", config.scaling = 6);
  BAD(RAPT_BAD_ARGUMENT, "LinearScaling.factor", config.scaling = RAPT_SCALING_LINEAR);
  BAD(RAPT_BAD_ARGUMENT, "rapt_rotary_config.short_factor", config.scaling = RAPT_SCALING_LONGROPE);
#undef BAD
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_rotary_config",
          rapt_rotary_table_create(NULL, positions, TQ, NULL, 0, &table));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_rotary_table_create out",
          rapt_rotary_table_create(&config, positions, TQ, NULL, 0, NULL));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_rotary_table_create positions",
          rapt_rotary_table_create(&config, NULL, 1, NULL, 0, &table));
  REFUSED(RAPT_BAD_ARGUMENT, "rapt_rotary_table_create lengths",
          rapt_rotary_table_create(&config, positions, TQ, NULL, 1, &table));
  REFUSED(RAPT_BAD_SHAPE, "Rotary.lengths",
          rapt_rotary_table_create(&config, positions, TQ, lengths, 2, &table));
}

typedef struct job {
  const rapt_plan* plan;
  const tensors* expected;
  pthread_barrier_t* both_failed;
  int rounds, differing, wrong_messages;
} job;

/// Runs a shared plan over and over in a scratch of its own, and fails in between.
static void* work(void* argument) {
  job* const j = argument;
  tensors* const t = malloc(sizeof *t);
  rapt_scratch* scratch = NULL;
  rapt_mask* mask = NULL;
  fill(t);
  const rapt_inputs in = inputs_of(t);
  const rapt_result out = result_of(t);
  rapt_scratch_create(&scratch);
  for (int n = 0; n < 200; ++n) {
    char own[64];
    sprintf(own, "Mask::window before: expected at least 0, got -%d", j->rounds + n);
    rapt_mask_window(-(j->rounds + n), 0, &mask);
    pthread_barrier_wait(j->both_failed);
    if (rapt_run(j->plan, &in, scratch, &out) != RAPT_OK ||
        memcmp(t->o, j->expected->o, sizeof t->o) != 0 ||
        memcmp(t->lse, j->expected->lse, sizeof t->lse) != 0)
      ++j->differing;
    if (strcmp(rapt_error_message(), own) != 0) ++j->wrong_messages;
    pthread_barrier_wait(j->both_failed);
  }
  rapt_scratch_destroy(scratch);
  free(t);
  return NULL;
}

static void test_threads_at_once(void) {
  static tensors t;
  fill(&t);
  rapt_mask* causal = NULL;
  rapt_threads* threads = NULL;
  rapt_plan* plan = NULL;
  rapt_scratch* scratch = NULL;
  DONE(rapt_mask_causal(&causal));
  DONE(rapt_threads_create(3, &threads));
  rapt_problem p = good();
  p.mask = causal;
  DONE(rapt_plan_create(&p, threads, RAPT_FROM_TENSORS, &plan));
  rapt_threads_destroy(threads);
  rapt_mask_destroy(causal);
  DONE(rapt_scratch_create(&scratch));
  const rapt_inputs in = inputs_of(&t);
  const rapt_result out = result_of(&t);
  DONE(rapt_run(plan, &in, scratch, &out));
  EXPECT(error_of_causal(&t) < 1e-5);
  pthread_barrier_t both_failed;
  pthread_barrier_init(&both_failed, NULL, 2);
  job jobs[2] = {{plan, &t, &both_failed, 1, 0, 0}, {plan, &t, &both_failed, 1000, 0, 0}};
  pthread_t workers[2];
  for (int n = 0; n < 2; ++n) EXPECT(pthread_create(&workers[n], NULL, work, &jobs[n]) == 0);
  for (int n = 0; n < 2; ++n) {
    pthread_join(workers[n], NULL);
    EXPECT(jobs[n].differing == 0);
    EXPECT(jobs[n].wrong_messages == 0);
  }
  pthread_barrier_destroy(&both_failed);
  rapt_plan_destroy(plan);
  rapt_scratch_destroy(scratch);
}

int main(void) {
  EXPECT(strcmp(rapt_error_message(), "") == 0);
  test_versions_and_names();
  test_masks_refuse();
  test_texts_are_cut();
  test_problems_refuse();
  test_scale_of_zero();
  test_later_versions();
  test_runs_refuse();
  test_caches_and_states();
  test_rotary();
  test_threads_at_once();
  printf("rapt %s: %d failures\n", rapt_version_string(), failures);
  return failures == 0 ? 0 : 1;
}
