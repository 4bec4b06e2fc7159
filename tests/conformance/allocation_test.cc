// Once its scratch is warm, `run` allocates nothing; an allocation that fails is an Error. Every
// allocation of this program is counted, and can be made to fail, by a malloc of its own. oneTBB's
// are left out, with the loader's for threads that oneTBB starts.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <vector>

#include "c/owned.h"
#include "cases.h"
#include "rapt/batch.h"
#include "rapt/engine.h"
#include "rapt/linear.h"
#include "rapt/session.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RAPT_COUNTS_ALLOCATIONS 0  // a sanitizer has its own malloc
#else
#define RAPT_COUNTS_ALLOCATIONS 1
#endif

namespace {

std::atomic<bool> counting{false};
std::atomic<long> allocations{0};
std::atomic<long> failing{0};  // number of the allocation that fails, from 1

#if RAPT_COUNTS_ALLOCATIONS
// Counts an allocation; returns whether it is to fail.
bool count(const void* caller) {
  if (!counting) return false;
  Dl_info object{};
  dladdr(caller, &object);
  const char* const file = object.dli_fname == nullptr ? "" : object.dli_fname;
  if (std::strstr(file, "libtbb") != nullptr || std::strstr(file, "ld-linux") != nullptr)
    return false;
  return ++allocations == failing;
}
#endif

}  // namespace

#if RAPT_COUNTS_ALLOCATIONS
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t size) {
  if (count(__builtin_return_address(0))) return nullptr;
  return __libc_malloc(size);
}
void* calloc(std::size_t number, std::size_t size) {
  if (count(__builtin_return_address(0))) return nullptr;
  return __libc_calloc(number, size);
}
void* realloc(void* memory, std::size_t size) {
  if (count(__builtin_return_address(0))) return nullptr;
  return __libc_realloc(memory, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  if (count(__builtin_return_address(0))) return nullptr;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  if (count(__builtin_return_address(0))) return ENOMEM;
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}
}
#endif

namespace rapt::test {
namespace {

class Allocation : public testing::Test {
 protected:
  void SetUp() override {
    if (!RAPT_COUNTS_ALLOCATIONS) GTEST_SKIP() << "a sanitizer has its own malloc";
  }

  /// Allocations of f().
  template <class F>
  static long count_of(F&& f) {
    allocations = 0;
    counting = true;
    f();
    counting = false;
    return allocations;
  }

  /// Calls f() with each of its allocations failing in turn; each must be Error{kOutOfMemory}.
  template <class F>
  static void expect_error_wherever_it_fails(F&& f) {
    count_of(f);  // what is allocated only once
    const long all = count_of(f);
    ASSERT_GT(all, 0);
    for (long n = 1; n <= all; ++n) {
      failing = n;
      ErrorCode code = ErrorCode::kIo;
      count_of([&] {
        try {
          f();
        } catch (const Error& error) {
          code = error.code();
        }
      });
      failing = 0;
      EXPECT_EQ(code, ErrorCode::kOutOfMemory) << "allocation " << n << " of " << all;
    }
  }
};

TEST_F(Allocation, IsCounted) {
  int* volatile kept = nullptr;  // volatile, or the compiler leaves new and delete out
  EXPECT_EQ(count_of([&] { kept = new int(3); }), 1);
  delete kept;
}

TEST_F(Allocation, RunAllocatesNothingOnceWarm) {
  for (const auto& [queries, keys] : {std::pair{600, 600}, {1, 3000}, {4, 700}})
    for (const NamedMask& mask : masks())
      for (const auto& [arithmetic, q_type, dtype, layout] :
           {std::tuple{Arithmetic::kF32, DType::kF32, DType::kF32, Layout::kContiguous},
            {Arithmetic::kF32, DType::kF32, DType::kBF16, Layout::kFeatureMajor},
            {Arithmetic::kNativeBF16, DType::kBF16, DType::kBF16, Layout::kContiguous}}) {
        AttentionCase c;
        c.arithmetic = arithmetic;
        c.storage = {q_type, dtype, dtype, DType::kF32};
        c.batch = 2;
        c.q_tokens = queries;
        c.kv_tokens = keys;
        c.q_heads = 4;
        c.kv_heads = 2;
        c.head_dim = 20;
        c.mask = &mask;
        c.layout = layout;
        SCOPED_TRACE(c.name());
        const CaseInputs in(c);
        DenseKvCache cache({c.batch, c.kv_heads, c.head_dim, c.head_dim, keys, dtype});
        cache.append(in.k.view, in.v.view);
        const Stored q(in.q.view, q_type, layout), k(in.k.view, dtype, layout),
            v(in.v.view, dtype, layout);
        for (const auto source : {KvSource::kTensors, KvSource::kCache})
          for (const int threads : {1, 3}) {
            const Plan plan = make_plan(c.problem(), Threads(threads), source);
            const Inputs inputs = source == KvSource::kTensors
                                      ? Inputs{.q = q.view, .k = k.view, .v = v.view}
                                      : Inputs{.q = q.view, .k = {}, .v = {}, .cache = &cache};
            Outputs out(plan.problem());
            const Result result = out.result();
            Scratch scratch;
            run(plan, inputs, scratch, result);
            EXPECT_EQ(count_of([&] { run(plan, inputs, scratch, result); }), 0) << threads;
            EXPECT_LE(plan.scratch_bytes(), scratch.size_bytes());
          }
      }
}

TEST_F(Allocation, RunOfABatchAllocatesNothingOnceWarm) {
  PagedKvCache cache({1, 2, 20, 20, 16, 200});
  const Tensor k = normal({1, 1100, 2, 20}, 1), q = normal({1, 6, 4, 20}, 2);
  std::vector<BatchEntry> entries;
  const std::int64_t root = cache.create();
  cache.extend(root, 1100);
  cache.store(0, root, 0, k.view, k.view);
  for (const std::int64_t tokens : {1, 3, 1}) {
    const std::int64_t fork = cache.fork(root, 1060);
    cache.extend(fork, tokens);
    cache.store(0, fork, 1060, test::tokens(k.view, 0, tokens), test::tokens(k.view, 0, tokens));
    entries.push_back({fork, tokens, 1060 + tokens, Mask::causal()});
  }
  entries.push_back({root, 1, 40, Mask::causal()});
  Problem shared;
  shared.q_heads = 4;
  shared.kv_heads = 2;
  shared.head_dim = 20;
  Problem whole = shared;
  whole.q_tokens = 6;
  for (const int threads : {1, 3}) {
    const BatchPlan plan = make_batch_plan(shared, Threads(threads), cache.layer(0), entries);
    ASSERT_EQ(plan.prefixes().size(), 1u);
    Outputs out(whole);
    const Result result = out.result();
    Scratch scratch;
    run(plan, q.view, cache.layer(0), scratch, result);
    EXPECT_EQ(count_of([&] { run(plan, q.view, cache.layer(0), scratch, result); }), 0) << threads;
  }
}

TEST_F(Allocation, AppendAllocatesNothing) {
  const Tensor k = normal({2, 3, 2, 20}, 1);
  for (const DType dtype : kAllDTypes) {
    DenseKvCache cache({2, 2, 20, 20, 64, dtype});
    cache.append(k.view, k.view);  // finds the instruction set
    EXPECT_EQ(count_of([&] {
                for (int n = 0; n < 10; ++n) cache.append(k.view, k.view);
              }),
              0);
  }
}

TEST_F(Allocation, LinearAllocatesNothingOnceWarm) {
  const Tensor weight = normal({1, 1, 200, 70}, 1), x = normal({1, 2, 300, 70}, 2);
  const Linear linear(weight.view);
  Tensor y({1, 2, 300, 200});
  for (const int threads : {1, 3}) {
    const Threads pool(threads);
    Scratch scratch;
    linear(pool, x.view, y.view, scratch);
    EXPECT_EQ(count_of([&] { linear(pool, x.view, y.view, scratch); }), 0) << threads;
  }
}

TEST_F(Allocation, FailureIsAnError) {
  Problem problem;
  problem.batch = 3;
  problem.q_tokens = problem.kv_tokens = 1100;
  problem.head_dim = 8;
  const Threads one(1), two(2);
  expect_error_wherever_it_fails([&] { make_plan(problem, two); });

  ModelConfig config;
  config.vocab_size = 20;
  config.hidden_size = config.intermediate_size = 8;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.max_position_embeddings = 600;
  expect_error_wherever_it_fails([&] { Model::random(config, 1); });
  const Model model = Model::random(config, 1);
  expect_error_wherever_it_fails([&] { Session(model, one); });
  const std::vector<std::int32_t> tokens(550, 7);
  Session whole(model, one);
  const ConstTensor expected = whole.prefill(tokens);
  expect_error_wherever_it_fails([&] {
    counting = false;
    Session session(model, one);
    counting = true;
    try {
      session.prefill(tokens);
    } catch (const Error&) {  // the session is as it was before
      counting = false;
      const ConstTensor logits = session.prefill(tokens);
      for (std::int64_t n = 0; n < config.vocab_size; ++n)
        EXPECT_EQ(logits.at(0, 0, 0, n), expected.at(0, 0, 0, n));
      throw;
    }
  });
}

// Wherever a step of an engine lacks memory, it can be repeated, and only a request whose own token
// was lost ends for it.
TEST_F(Allocation, AStepThatFailsCanBeRepeated) {
  ModelConfig config;
  config.vocab_size = 20;
  config.hidden_size = config.intermediate_size = 8;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.max_position_embeddings = 100;
  const Model model = Model::random(config, 1);
  using Answers = std::map<std::int64_t, std::vector<std::int32_t>>;
  const std::vector<std::int32_t> lost = {-1};
  const auto answers_with = [&](long failing_allocation) {
    EngineConfig small;
    small.threads = Threads(1);
    small.page_size = 16;
    small.pages = 6;
    small.max_step_tokens = 24;
    Engine engine(model, small);
    for (const std::int64_t length : {20, 33, 7}) {
      Request request;
      request.prompt.assign(static_cast<std::size_t>(length), 7);
      request.max_new_tokens = 5;
      request.sampler.temperature = 1;
      request.sampler.seed = static_cast<std::uint64_t>(length);
      engine.submit(request);
    }
    Answers answers;
    allocations = 0;
    failing = failing_allocation;
    while (engine.busy()) {
      std::vector<Event> events;
      counting = true;
      try {
        events = engine.step();
      } catch (const Error& error) {
        counting = false;
        EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
      }
      counting = false;
      for (const Event& event : events) {
        if (event.token) answers[event.request].push_back(*event.token);
        if (event.finish == FinishReason::kError) answers[event.request] = lost;
      }
    }
    failing = 0;
    return answers;
  };
  answers_with(0);  // what is allocated only once
  const Answers expected = answers_with(0);
  const long all = allocations;
  ASSERT_EQ(expected.size(), 3u);
  ASSERT_GT(all, 100);
  for (long n = 1; n <= all; ++n)
    for (const auto& [request, tokens] : answers_with(n))
      EXPECT_TRUE(tokens == expected.at(request) || tokens == lost) << "allocation " << n;
}

/// The status of the first call that fails; those after it are not made.
template <class... Calls>
rapt_status first_failure(Calls&&... calls) {
  rapt_status status = RAPT_OK;
  static_cast<void>((((status = calls()) == RAPT_OK) && ...));
  return status;
}

/// Calls of every kind.
rapt_status use_the_c_abi() {
  static float q[12], k[1200], v[1200], o[12];
  const std::int64_t ids[600] = {}, strides[4] = {0, 0, 600, 1};
  const std::uint8_t bits[600] = {1, 1};
  const std::int64_t extents[4] = {1, 1, 1, 600};
  const rapt_list list = {ids, 600};
  CMask causal, documents, dense, either, mask;
  CPlan plan;
  CScratch scratch;
  CState state, rest, both;
  CTable table;
  char text[100];
  rapt_problem problem{};
  problem.size = sizeof problem;
  problem.batch = problem.q_heads = problem.kv_heads = 1;
  problem.q_tokens = 6;
  problem.kv_tokens = 600;
  problem.head_dim = 2;
  problem.q_positions = problem.kv_positions = ids;
  problem.q_position_count = 6;
  problem.kv_position_count = 600;
  rapt_inputs in{};
  in.size = sizeof in;
  in.q = rapt_contiguous(q, RAPT_F32, 1, 6, 1, 2);
  in.k = rapt_contiguous(k, RAPT_F32, 1, 600, 1, 2);
  in.v = rapt_contiguous(v, RAPT_F32, 1, 600, 1, 2);
  rapt_result out{};
  out.size = sizeof out;
  out.o = rapt_contiguous(o, RAPT_F32, 1, 6, 1, 2);
  rapt_rotary_config rotary{};
  rotary.size = sizeof rotary;
  rotary.dims = 2;
  const rapt_kv_cache_shape shape = {sizeof shape, RAPT_F32, 1, 1, 2, 2, 10};
  CCache cache;
  return first_failure(
      [&] { return rapt_mask_causal(&causal); },
      [&] { return rapt_mask_documents(&list, 1, &documents); },
      [&] { return rapt_mask_dense(bits, extents, strides, &dense); },
      [&] { return rapt_mask_or(causal, dense, &either); },
      [&] { return rapt_mask_and(either, documents, &mask); },
      [&] { return rapt_mask_describe(mask, text, sizeof text, nullptr); },
      [&] {
        problem.mask = mask;
        return rapt_plan_create(&problem, nullptr, RAPT_FROM_TENSORS, &plan);
      },
      [&] { return rapt_plan_explain(plan, nullptr, text, sizeof text, nullptr); },
      [&] { return rapt_scratch_create(&scratch); },
      [&] { return rapt_run(plan, &in, scratch, &out); },
      [&] { return rapt_run_partial(plan, &in, scratch, 0, 1, &state); },
      [&] { return rapt_run_partial(plan, &in, scratch, 1, 2, &rest); },
      [&] { return rapt_state_merge(state, rest, &both); },
      [&] { return rapt_state_finish(both, &out); },
      [&] { return rapt_kv_cache_create(&shape, &cache); },
      [&] { return rapt_rotary_table_create(&rotary, ids, 6, nullptr, 0, &table); });
}

TEST_F(Allocation, ThatFailsIsAStatusOfTheCAbi) {
  const auto status_of = [](long number) {
    rapt_status status = RAPT_INTERNAL;
    failing = number;
    count_of([&] { status = use_the_c_abi(); });
    failing = 0;
    return status;
  };
  ASSERT_EQ(status_of(0), RAPT_OK) << rapt_error_message();
  ASSERT_EQ(status_of(0), RAPT_OK);
  const long all = allocations;
  ASSERT_GT(all, 100);
  for (long n = 1; n <= all; ++n)
    ASSERT_EQ(status_of(n), RAPT_OUT_OF_MEMORY) << "allocation " << n << " of " << all;
}

TEST_F(Allocation, RunOfTheCAbiAllocatesNothingOnceWarm) {
  float q[2] = {1, 2}, k[4] = {3, 0, 1, 1}, o[2];
  const rapt_problem problem = [] {
    rapt_problem p{};
    p.size = sizeof p;
    p.batch = p.q_tokens = p.q_heads = p.kv_heads = 1;
    p.kv_tokens = p.head_dim = 2;
    return p;
  }();
  CPlan plan;
  CScratch scratch;
  rapt_inputs in{};
  in.size = sizeof in;
  in.q = rapt_contiguous(q, RAPT_F32, 1, 1, 1, 2);
  in.k = in.v = rapt_contiguous(k, RAPT_F32, 1, 2, 1, 2);
  rapt_result out{};
  out.size = sizeof out;
  out.o = rapt_contiguous(o, RAPT_F32, 1, 1, 1, 2);
  std::size_t bytes = 0;
  ASSERT_EQ(rapt_plan_create(&problem, nullptr, RAPT_FROM_TENSORS, &plan), RAPT_OK);
  ASSERT_EQ(rapt_plan_scratch_bytes(plan, &bytes), RAPT_OK);
  ASSERT_EQ(rapt_scratch_create(&scratch), RAPT_OK);
  ASSERT_EQ(rapt_scratch_reserve(scratch, bytes), RAPT_OK);
  rapt_status status = RAPT_INTERNAL;
  EXPECT_EQ(count_of([&] { status = rapt_run(plan, &in, scratch, &out); }), 0);
  EXPECT_EQ(status, RAPT_OK);
}

}  // namespace
}  // namespace rapt::test
