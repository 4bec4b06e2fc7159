// Attention from C: a prompt is prefilled, then a token is decoded against the cache, with grouped
// heads. Decoding gives the row that the prompt with one token more has, bit for bit.
#include <rapt/rapt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT = 40, TOKENS = PROMPT + 1, Q_HEADS = 8, KV_HEADS = 2, DIM = 64 };

static float q[TOKENS * Q_HEADS * DIM], k[TOKENS * KV_HEADS * DIM], v[TOKENS * KV_HEADS * DIM];
static float all[TOKENS * Q_HEADS * DIM], last[Q_HEADS * DIM];

static void check(rapt_status status) {
  if (status == RAPT_OK) return;
  fprintf(stderr, "%s: %s\n", rapt_status_name(status), rapt_error_message());
  exit(1);
}

/// Attention of tokens first .. TOKENS - 1, whose keys are in the cache, into o.
static void attend(const rapt_kv_cache* cache, int first, const rapt_threads* threads,
                   rapt_scratch* scratch, float* o) {
  const int tokens = TOKENS - first;
  rapt_mask* causal;
  rapt_plan* plan;
  check(rapt_mask_causal(&causal));
  rapt_problem problem = {.size = sizeof problem, .batch = 1, .mask = causal};
  problem.q_tokens = tokens;
  problem.kv_tokens = TOKENS;
  problem.q_heads = Q_HEADS;  // grouped-query: four query heads share a key/value head
  problem.kv_heads = KV_HEADS;
  problem.head_dim = DIM;
  check(rapt_plan_create(&problem, threads, RAPT_FROM_CACHE, &plan));

  rapt_inputs inputs = {.size = sizeof inputs, .cache = cache};
  inputs.q = rapt_contiguous(q + first * Q_HEADS * DIM, RAPT_F32, 1, tokens, Q_HEADS, DIM);
  rapt_result result = {.size = sizeof result};
  result.o = rapt_contiguous(o, RAPT_F32, 1, tokens, Q_HEADS, DIM);
  check(rapt_run(plan, &inputs, scratch, &result));
  rapt_plan_destroy(plan);
  rapt_mask_destroy(causal);
}

int main(void) {
  for (int n = 0; n < TOKENS * Q_HEADS * DIM; ++n) q[n] = (float)(n * 7 % 23 - 11) / 8;
  for (int n = 0; n < TOKENS * KV_HEADS * DIM; ++n) {
    k[n] = (float)(n * 5 % 19 - 9) / 8;
    v[n] = (float)(n * 3 % 17 - 8) / 8;
  }
  rapt_threads* threads;
  rapt_scratch* scratch;
  rapt_kv_cache* cache;
  check(rapt_threads_create(2, &threads));
  check(rapt_scratch_create(&scratch));
  const rapt_kv_cache_shape shape = {
      .size = sizeof shape, .batch = 1, .kv_heads = KV_HEADS, .head_dim = DIM, .capacity = TOKENS};
  check(rapt_kv_cache_create(&shape, &cache));
  const rapt_tensor keys = rapt_contiguous(k, RAPT_F32, 1, TOKENS, KV_HEADS, DIM);
  const rapt_tensor values = rapt_contiguous(v, RAPT_F32, 1, TOKENS, KV_HEADS, DIM);
  check(rapt_kv_cache_append(cache, &keys, &values));

  attend(cache, 0, threads, scratch, all);
  attend(cache, PROMPT, threads, scratch, last);
  const int same = memcmp(last, all + PROMPT * Q_HEADS * DIM, sizeof last) == 0;
  printf("rapt %s: the last of %d tokens, decoded alone: %s bits\n", rapt_version_string(), TOKENS,
         same ? "the same" : "other");

  // A mistake is a status and a sentence.
  rapt_mask* window;
  const rapt_status status = rapt_mask_window(-1, 0, &window);
  printf("%s: %s\n", rapt_status_name(status), rapt_error_message());

  rapt_kv_cache_destroy(cache);
  rapt_scratch_destroy(scratch);
  rapt_threads_destroy(threads);
  return same && status == RAPT_BAD_ARGUMENT ? 0 : 1;
}
