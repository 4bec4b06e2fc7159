#ifndef RAPT_RAPT_H_
#define RAPT_RAPT_H_

// rapt for C and whatever calls C: exact softmax attention on CPUs. C99; all of it is plain data
// and opaque handles, so that a program and a newer library go together.
//
//     rapt_problem problem = {.size = sizeof problem, .batch = 1, .q_tokens = 4096, ...};
//     rapt_plan_create(&problem, threads, RAPT_FROM_TENSORS, &plan);   // checked, once
//     rapt_run(plan, &inputs, scratch, &result);                       // any number of times
//
// Errors. A function that can fail returns a rapt_status; rapt_error_message() then has the
// sentence "where: expected ..., got ...". Nothing aborts, prints or throws. What a failed call
// would have made is NULL, and what it would have changed is as it was.
//
// Structs. Those with a `size` begin with it: the caller's sizeof, so that later versions can add
// fields at the end. Fields left out are 0, which means "none" or the default named beside them.
// Everything that a struct points to is copied before the function returns, tensors excepted.
//
// Handles. Who makes one destroys it; destroying NULL does nothing. Handles do not need each other
// to live: a plan keeps its mask and threads, a composed mask its parts. A null pointer, and as far
// as it can be seen a handle of another kind or a destroyed one, is RAPT_BAD_ARGUMENT.
//
// Threads. Masks, threads, plans, states and rotary tables do not change and may be shared. A
// scratch and a cache that is written are for one call at a time. Threads that run at once take a
// scratch each.
//
// Axes: B sequences, Tq queries, Tk keys, Hq query heads, Hkv key/value heads, D and Dv features.

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define RAPT_API __attribute__((visibility("default")))
#else
#define RAPT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define RAPT_VERSION_MAJOR 0
#define RAPT_VERSION_MINOR 1
#define RAPT_VERSION_PATCH 0

/// 10000 major + 100 minor + patch of the library that runs, which may be another than the
/// header's.
RAPT_API int32_t rapt_version(void);
/// "0.1.0"
RAPT_API const char* rapt_version_string(void);

// Errors -----------------------------------------------------------------------------------------

typedef int32_t rapt_status;
enum {
  RAPT_OK = 0,
  RAPT_BAD_ARGUMENT = 1,   ///< a value is outside its range
  RAPT_BAD_SHAPE = 2,      ///< extents or strides disagree
  RAPT_UNSUPPORTED = 3,    ///< well formed, but not served by this build, version or machine
  RAPT_BAD_FILE = 4,       ///< a file's content is malformed
  RAPT_IO = 5,             ///< the operating system refused
  RAPT_OUT_OF_MEMORY = 6,  ///< memory or a thread was refused
  RAPT_INTERNAL = 7        ///< a fault of the library
};

/// "ok", "bad_argument", ...; "unknown" for other numbers.
RAPT_API const char* rapt_status_name(rapt_status status);

/// The sentence of this thread's last call that failed, "" before; valid until the next that fails.
RAPT_API const char* rapt_error_message(void);

// Tensors ----------------------------------------------------------------------------------------

typedef int32_t rapt_dtype;
enum {
  RAPT_F32 = 0,
  RAPT_BF16 = 1,  ///< the upper half of an f32
  RAPT_F16 = 2    ///< IEEE 754 binary16
};

/// A view of the caller's memory: element [a, b, c, d] is at data + a s[0] + b s[1] + c s[2] + d
/// s[3]. Strides are in elements, in any order, negative, or 0 for a broadcast axis. Tensors of a
/// rapt_inputs are only read.
typedef struct rapt_tensor {
  void* data;
  rapt_dtype dtype;
  int64_t extents[4];
  int64_t strides[4];
} rapt_tensor;

/// A view of memory in the order of its extents.
RAPT_API rapt_tensor rapt_contiguous(void* data, rapt_dtype dtype, int64_t extent0, int64_t extent1,
                                     int64_t extent2, int64_t extent3);

/// [begin, end)
typedef struct rapt_range {
  int64_t begin, end;
} rapt_range;

/// `count` numbers, for one sequence.
typedef struct rapt_list {
  const int64_t* values;
  int64_t count;
} rapt_list;

// Threads ----------------------------------------------------------------------------------------

/// A set of worker threads. How many there are changes speed, never a bit of a result.
typedef struct rapt_threads rapt_threads;

/// `count` threads, 0 to 1024, the calling one included; 0: one for each of the machine. Waits until
/// they have started, a second at most.
/// @errors RAPT_BAD_ARGUMENT; RAPT_OUT_OF_MEMORY if the system refuses one
RAPT_API rapt_status rapt_threads_create(int32_t count, rapt_threads** out);
RAPT_API rapt_status rapt_threads_count(const rapt_threads* threads, int32_t* count);
RAPT_API void rapt_threads_destroy(rapt_threads* threads);

/// Working memory that is kept between runs. It grows when a run needs more and never shrinks; one
/// for each run in flight.
typedef struct rapt_scratch rapt_scratch;

RAPT_API rapt_status rapt_scratch_create(rapt_scratch** out);
/// Takes the memory now: runs of plans that need no more allocate nothing.
RAPT_API rapt_status rapt_scratch_reserve(rapt_scratch* scratch, size_t bytes);
RAPT_API rapt_status rapt_scratch_bytes(const rapt_scratch* scratch, size_t* bytes);
RAPT_API void rapt_scratch_destroy(rapt_scratch* scratch);

// Masks ------------------------------------------------------------------------------------------

/// Which keys a query may see: a predicate visible(sequence, head, query, key), before the softmax.
///
/// A key's *slot* is its index among its sequence's tokens that are not padding. A query's *place*
/// is the slot of its own token: the last query stands at the last key, so the place of query i is
/// keys - queries + i. *Positions* are slot and place unless the problem gives others. Bands and
/// strides go by position, lists and blocks by slot and place, dense bits by token; a query whose
/// place is negative is in no list and no block.
///
/// Lists are one a sequence, or one for all. rapt_plan_create refuses those that do not fit.
typedef struct rapt_mask rapt_mask;

/// Every key.
RAPT_API rapt_status rapt_mask_none(rapt_mask** out);
/// The query's own key and all before it.
RAPT_API rapt_status rapt_mask_causal(rapt_mask** out);
/// Query i sees keys 0 .. i, counted from the first of each.
RAPT_API rapt_status rapt_mask_causal_top_left(rapt_mask** out);
/// The query's own key and the tokens - 1 before it; tokens >= 1.
RAPT_API rapt_status rapt_mask_sliding_window(int64_t tokens, rapt_mask** out);
/// The query's own key, `before` keys before and `after` keys after it; both >= 0.
RAPT_API rapt_status rapt_mask_window(int64_t before, int64_t after, rapt_mask** out);
/// Keys whose distance is a multiple of `stride`, on either side; 1 to 2^40.
RAPT_API rapt_status rapt_mask_strided(int64_t stride, rapt_mask** out);
/// The query's own key and every `dilation`-th before it, `tokens` in all; dilation 1 to 2^40.
RAPT_API rapt_status rapt_mask_dilated_window(int64_t tokens, int64_t dilation, rapt_mask** out);
/// Keys of slots below lengths[b], for every query; one length a sequence, or one for all.
RAPT_API rapt_status rapt_mask_prefix(const int64_t* lengths, int64_t count, rapt_mask** out);
/// Tokens of one document see each other: ids[b] has one id a slot.
RAPT_API rapt_status rapt_mask_documents(const rapt_list* ids, int64_t lists, rapt_mask** out);
/// The same from the offsets of the documents' first tokens, and the end: 0, ..., tokens.
RAPT_API rapt_status rapt_mask_documents_from_offsets(const rapt_list* offsets, int64_t lists,
                                                      rapt_mask** out);
/// Structured prompts: kinds[b] has the kind of each slot, and a query of kind x sees a key of kind
/// y where visible[x kind_count + y] is not 0; 1 to 64 kinds.
RAPT_API rapt_status rapt_mask_structure(const rapt_list* kinds, int64_t lists,
                                         const uint8_t* visible, int64_t kind_count,
                                         rapt_mask** out);
/// Keys of the listed slots are visible to every query, and queries of those places see every key;
/// ascending. With a window: attention sinks of a stream, global tokens of Longformer.
RAPT_API rapt_status rapt_mask_global(const rapt_list* slots, int64_t lists, rapt_mask** out);
/// Speculative decoding: the last parents[b].count slots are a tree of drafted tokens;
/// parents[b][n] < n is the parent of token n, -1 where it follows the context. A token sees
/// itself, its ancestors and all before the tree.
RAPT_API rapt_status rapt_mask_tree(const rapt_list* parents, int64_t lists, rapt_mask** out);

/// Blocks of a rapt_mask_blocks: (x, y) covers places [x q_block, (x + 1) q_block) and slots
/// [y kv_block, (y + 1) kv_block). Extents of 1 in batch and heads serve all.
typedef struct rapt_block_shape {
  int64_t batch, heads, q_blocks, kv_blocks;
  int64_t q_block, kv_block;
} rapt_block_shape;

/// The blocks where visible [batch, heads, q_blocks, kv_blocks] is not 0; others, and those beyond
/// the map, are hidden.
RAPT_API rapt_status rapt_mask_blocks(const rapt_block_shape* shape, const uint8_t* visible,
                                      rapt_mask** out);
/// Any mask: visible where bits [B, Hq, Tq, Tk] is not 0; extents of 1 are broadcast, strides are
/// in bytes. Copied, 8 to a byte.
RAPT_API rapt_status rapt_mask_dense(const uint8_t* bits, const int64_t extents[4],
                                     const int64_t strides[4], rapt_mask** out);

RAPT_API rapt_status rapt_mask_and(const rapt_mask* a, const rapt_mask* b, rapt_mask** out);
RAPT_API rapt_status rapt_mask_or(const rapt_mask* a, const rapt_mask* b, rapt_mask** out);
RAPT_API rapt_status rapt_mask_not(const rapt_mask* a, rapt_mask** out);

/// Texts of the library are written as snprintf does: up to `capacity` bytes with the 0 at the end,
/// `*length` without it and uncut. `text` may be NULL if capacity is 0, `length` may be NULL.
RAPT_API rapt_status rapt_mask_describe(const rapt_mask* mask, char* text, size_t capacity,
                                        size_t* length);
RAPT_API void rapt_mask_destroy(rapt_mask* mask);

// Problem and plan -------------------------------------------------------------------------------

/// A bias by the distance of key and query, learned for buckets of distances (T5).
typedef struct rapt_relative_bias {
  int64_t buckets, max_distance;
  int32_t bidirectional;
  const float* table;  ///< [buckets, Hq]
} rapt_relative_bias;

/// One attention problem. It is a plain struct so that a caller can keep, copy and compare it, and
/// everything wrong with it is found in one place, rapt_plan_create.
///
///     o_i = sum_j p_ij v_j      p_ij = exp(s_ij - lse_i) over the visible keys j
///     s_ij = scale q_i.k_j, then in this order, each where it is given:
///            softcap tanh(s / softcap);  - alibi_slopes[h] |pos_i - pos_j|;  + relative bias;
///            + rapt_inputs.bias, of which -inf hides the key
///     a sink adds exp(sinks[h]) to the sum, without a value
///
/// @shape  q [B, Tq, Hq, D]   k [B, Tk, Hkv, D]   v [B, Tk, Hkv, Dv]   o [B, Tq, Hq, Dv]
typedef struct rapt_problem {
  size_t size;
  int64_t batch;       ///< B
  int64_t q_tokens;    ///< Tq
  int64_t kv_tokens;   ///< Tk
  int64_t q_heads;     ///< Hq, a multiple of kv_heads; head h reads kv head h / (Hq / Hkv)
  int64_t kv_heads;    ///< Hkv
  int64_t head_dim;    ///< D
  int64_t v_head_dim;  ///< Dv; 0: D
  rapt_dtype q_type, k_type, v_type, o_type;

  const rapt_mask* mask;        ///< NULL: none
  const rapt_range* q_ranges;   ///< [B] tokens that are not padding; NULL: all
  const rapt_range* kv_ranges;  ///< [B]
  const int64_t* q_positions;   ///< [Tq] or [B, Tq], of magnitude at most 2^40; NULL: places
  int64_t q_position_count;     ///< Tq or B Tq
  const int64_t* kv_positions;  ///< [Tk] or [B, Tk]; NULL: slots
  int64_t kv_position_count;    ///< Tk or B Tk

  float scale;                              ///< 0: 1 / sqrt(D), unless scale_is_given
  float softcap;                            ///< 0: none
  const float* alibi_slopes;                ///< [Hq]; NULL: none
  const rapt_relative_bias* relative_bias;  ///< NULL: none
  int32_t additive_bias;                    ///< not 0: rapt_inputs has a bias
  const float* sinks;                       ///< [Hq], logits, -inf is none; NULL: none
  int64_t scale_is_given;                   ///< not 0: a scale of 0 is 0
} rapt_problem;

/// ALiBi's slopes for 1 to 2^20 heads. @shape slopes [heads]
RAPT_API rapt_status rapt_alibi_slopes(int64_t heads, float* slopes);

/// A picture of what one sequence and head sees; texts as above.
RAPT_API rapt_status rapt_problem_draw(const rapt_problem* problem, int64_t sequence, int64_t head,
                                       char* text, size_t capacity, size_t* length);

/// Number of (query, key) pairs that are visible, over all sequences and query heads.
RAPT_API rapt_status rapt_problem_visible_pairs(const rapt_problem* problem, int64_t* pairs);

typedef int32_t rapt_kv_source;
enum {
  RAPT_FROM_TENSORS = 0,  ///< k and v of any strides
  RAPT_FROM_CACHE = 1     ///< a rapt_kv_cache, read in place
};

/// A checked problem with the choice of kernels, tiles and split of the work. Immutable.
typedef struct rapt_plan rapt_plan;

/// @param  threads NULL: the calling thread alone
/// @errors RAPT_BAD_ARGUMENT naming the field; RAPT_OUT_OF_MEMORY
/// @cost   a few ns for each tile of 48 queries x 512 keys
RAPT_API rapt_status rapt_plan_create(const rapt_problem* problem, const rapt_threads* threads,
                                      rapt_kv_source source, rapt_plan** out);
/// Scratch memory of a run, in bytes: O(tokens), never O(Tq Tk).
RAPT_API rapt_status rapt_plan_scratch_bytes(const rapt_plan* plan, size_t* bytes);
/// The decisions and their reasons, one `name: value` a line; with a name that line's value, "" if
/// there is no such line. Texts as above.
RAPT_API rapt_status rapt_plan_explain(const rapt_plan* plan, const char* name, char* text,
                                       size_t capacity, size_t* length);
RAPT_API void rapt_plan_destroy(rapt_plan* plan);

// KV cache ---------------------------------------------------------------------------------------

typedef struct rapt_kv_cache_shape {
  size_t size;
  rapt_dtype dtype;  ///< of keys and values as they are stored
  int64_t batch, kv_heads, head_dim;
  int64_t v_head_dim;  ///< 0: head_dim
  int64_t capacity;    ///< tokens a sequence
} rapt_kv_cache_shape;

/// Keys and values of `batch` sequences in the layout that the kernels read.
typedef struct rapt_kv_cache rapt_kv_cache;

/// @errors RAPT_BAD_ARGUMENT naming the field; RAPT_OUT_OF_MEMORY
RAPT_API rapt_status rapt_kv_cache_create(const rapt_kv_cache_shape* shape, rapt_kv_cache** out);
/// Bytes of such a cache, without making it.
RAPT_API rapt_status rapt_kv_cache_bytes(const rapt_kv_cache_shape* shape, size_t* bytes);
/// Appends T tokens to every sequence. Those of the cache's type are copied, others rounded once.
/// @shape  k [B, T, Hkv, D]   v [B, T, Hkv, Dv]
/// @errors RAPT_BAD_SHAPE; RAPT_BAD_ARGUMENT if a sequence has no room: nothing is appended then
RAPT_API rapt_status rapt_kv_cache_append(rapt_kv_cache* cache, const rapt_tensor* k,
                                          const rapt_tensor* v);
/// Appends to one sequence. @shape k [1, T, Hkv, D]   v [1, T, Hkv, Dv]
RAPT_API rapt_status rapt_kv_cache_append_one(rapt_kv_cache* cache, int64_t sequence,
                                              const rapt_tensor* k, const rapt_tensor* v);
/// Forgets the tokens of a sequence from `length` on.
RAPT_API rapt_status rapt_kv_cache_truncate(rapt_kv_cache* cache, int64_t sequence, int64_t length);
/// Copies a sequence's first T tokens out. @shape k [1, T, Hkv, D]   v [1, T, Hkv, Dv]
RAPT_API rapt_status rapt_kv_cache_read(const rapt_kv_cache* cache, int64_t sequence,
                                        const rapt_tensor* k, const rapt_tensor* v);
RAPT_API rapt_status rapt_kv_cache_length(const rapt_kv_cache* cache, int64_t sequence,
                                          int64_t* length);
RAPT_API void rapt_kv_cache_destroy(rapt_kv_cache* cache);

// Run --------------------------------------------------------------------------------------------

/// What a run reads: k and v, or a cache that holds them.
typedef struct rapt_inputs {
  size_t size;
  rapt_tensor q;               ///< [B, Tq, Hq, D]
  rapt_tensor k;               ///< [B, Tk, Hkv, D]
  rapt_tensor v;               ///< [B, Tk, Hkv, Dv]
  const rapt_kv_cache* cache;  ///< for RAPT_FROM_CACHE
  rapt_tensor bias;            ///< [B, Hq, Tq, Tk] f32, by token; extents of 1 are broadcast
} rapt_inputs;

/// What a run writes: `o`, and the others where they have data. A row that sees nothing has o = 0
/// and lse = -inf, or the sink.
typedef struct rapt_result {
  size_t size;
  rapt_tensor o;    ///< [B, Tq, Hq, Dv], rounded once
  rapt_tensor lse;  ///< [1, B, Hq, Tq] f32, natural log-sum-exp of the visible scores and the sink
  rapt_tensor m;    ///< [1, B, Hq, Tq] f32, the integer maximum in log2 units
  rapt_tensor l;    ///< [1, B, Hq, Tq] f32, sum of 2^(s - m)
} rapt_result;

/// Runs a plan. The result overlaps no input. Allocates nothing once the scratch is large enough.
///
/// @errors RAPT_BAD_SHAPE or RAPT_BAD_ARGUMENT naming the view; RAPT_OUT_OF_MEMORY
/// @error  max |o - o64| <= 2 e + 2^-23 max|v|, e that of a sequential two-pass f32 loop (3 e with
///         modifiers), before o is rounded; the same bits for every number of threads, batch and
///         CPU
/// @cost   2 visible_pairs (D + Dv) flops
RAPT_API rapt_status rapt_run(const rapt_plan* plan, const rapt_inputs* inputs,
                              rapt_scratch* scratch, const rapt_result* result);

typedef int32_t rapt_row_kind;
enum {
  RAPT_WEIGHTS = 0,  ///< exp(s_ij - lse_i); +0 for a hidden key
  RAPT_SCORES = 1    ///< s_ij; -inf for a hidden key
};

/// Rows of the attention matrix of `count` queries, for checking. @shape out [B, Hq, count, Tk] f32
RAPT_API rapt_status rapt_attention_rows(const rapt_plan* plan, const rapt_inputs* inputs,
                                         rapt_scratch* scratch, const int64_t* rows, int64_t count,
                                         rapt_row_kind kind, const rapt_tensor* out);

// States -----------------------------------------------------------------------------------------

/// Slots in a chunk, the unit in which keys may be split.
enum { RAPT_CHUNK = 512 };

/// Unfinished attention over chunks of keys.
typedef struct rapt_state rapt_state;

/// Runs a plan over the keys of chunks [first, end) only. States of adjacent ranges, merged in any
/// order and finished, give the bits of rapt_run.
RAPT_API rapt_status rapt_run_partial(const rapt_plan* plan, const rapt_inputs* inputs,
                                      rapt_scratch* scratch, int64_t first_chunk, int64_t end_chunk,
                                      rapt_state** out);
/// The state of both ranges; b begins where a ends.
RAPT_API rapt_status rapt_state_merge(const rapt_state* a, const rapt_state* b, rapt_state** out);
/// o, lse, m and l of a state, as rapt_run gives them for the same chunks.
RAPT_API rapt_status rapt_state_finish(const rapt_state* state, const rapt_result* result);
RAPT_API void rapt_state_destroy(rapt_state* state);

/// Merges finished results with lse over disjoint keys, as other libraries do: within the error
/// bound, but not with the bits of one run. `out` may be a or b.
RAPT_API rapt_status rapt_merge_finished(const rapt_result* a, const rapt_result* b,
                                         const rapt_result* out);

// Rotary positions -------------------------------------------------------------------------------

typedef int32_t rapt_rotary_style;
enum {
  RAPT_ROTARY_HALF = 0,        ///< features i and i + R/2 (GPT-NeoX, Hugging Face)
  RAPT_ROTARY_INTERLEAVED = 1  ///< features 2i and 2i + 1 (GPT-J, Meta's Llama)
};

typedef int32_t rapt_rotary_scaling;
enum {
  RAPT_SCALING_NONE = 0,
  RAPT_SCALING_LINEAR = 1,
  RAPT_SCALING_DYNAMIC = 2,  ///< dynamic NTK
  RAPT_SCALING_YARN = 3,
  RAPT_SCALING_LLAMA3 = 4,
  RAPT_SCALING_LONGROPE = 5
};

/// Pair i of a token at `position` turns by the angle position f_i, f_i = theta^(-2i/R), f_i
/// changed by the scaling. Each kind reads the fields that config.json has for it.
typedef struct rapt_rotary_config {
  size_t size;
  int64_t dims;  ///< R, leading features of a head that are rotated
  double theta;  ///< 0: 10000
  rapt_rotary_style style;
  int32_t exact;  ///< 0: f32 angles, as checkpoints were trained; else f64 tables
  rapt_rotary_scaling scaling;
  double factor;                             ///< all kinds; at least 1
  int64_t original_context;                  ///< all but linear, in tokens
  double attention_factor;                   ///< YaRN, LongRoPE; 0: the paper's formula
  double beta_fast, beta_slow;               ///< YaRN; 0: 32 and 1
  double mscale, mscale_all_dim;             ///< YaRN; 0: not set
  int32_t untruncated;                       ///< YaRN; not 0: the ramp may end within a pair
  double low_freq_factor, high_freq_factor;  ///< Llama 3; 0: 1 and 4
  const double* short_factor;                ///< LongRoPE, [R / 2]
  const double* long_factor;                 ///< LongRoPE, [R / 2]
} rapt_rotary_config;

/// cos and sin of every token's angles, for all heads and layers.
typedef struct rapt_rotary_table rapt_rotary_table;

/// @param  positions [count], in any order, below 2^30 in size
/// @param  lengths the tokens that each sequence will have in the end, for dynamic NTK and
///         LongRoPE; NULL and 0: within the original context
/// @errors RAPT_BAD_ARGUMENT naming the field; RAPT_BAD_SHAPE unless length_count divides count
RAPT_API rapt_status rapt_rotary_table_create(const rapt_rotary_config* config,
                                              const int64_t* positions, int64_t count,
                                              const int64_t* lengths, int64_t length_count,
                                              rapt_rotary_table** out);
/// Rotates the leading R features of every head, copies the others. y may be x.
/// @param  threads NULL: the calling thread alone
/// @shape  x, y [B, T, H, D] f32; token (b, t) has position b T + t of the table, a table of T
///         serves every b
RAPT_API rapt_status rapt_rotary_apply(const rapt_rotary_table* table, const rapt_threads* threads,
                                       const rapt_tensor* x, const rapt_tensor* y);
RAPT_API void rapt_rotary_table_destroy(rapt_rotary_table* table);

#ifdef __cplusplus
}
#endif

#endif  // RAPT_RAPT_H_
