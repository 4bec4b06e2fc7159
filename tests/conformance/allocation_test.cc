// Once its scratch is warm, `run` allocates nothing: every allocation of this program is counted.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>

#include "cases.h"

namespace {
std::atomic<long> allocations{0};
}

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  ++allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
  ++allocations;
  return __libc_realloc(memory, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  ++allocations;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  ++allocations;
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}
}

namespace rapt::test {
namespace {

TEST(Allocation, IsCounted) {
  const long before = allocations;
  int* volatile kept = new int(3);  // volatile, or the compiler leaves both out
  delete kept;
  EXPECT_EQ(allocations, before + 1);
}

TEST(Allocation, RunAllocatesNothingOnceWarm) {
  for (const auto& [queries, keys] : {std::pair{600, 600}, {1, 3000}, {4, 700}})
    for (const NamedMask& mask : masks())
      for (const auto layout : {Layout::kContiguous, Layout::kFeatureMajor}) {
        AttentionCase c;
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
        DenseKvCache cache({c.batch, c.kv_heads, c.head_dim, c.head_dim, keys});
        cache.append(in.k.view, in.v.view);
        for (const auto source : {KvSource::kTensors, KvSource::kCache}) {
          const Plan plan = make_plan(c.problem(), Threads(1), source);
          const Inputs inputs = source == KvSource::kTensors
                                    ? in.inputs()
                                    : Inputs{.q = in.q.view, .k = {}, .v = {}, .cache = &cache};
          Outputs out(plan.problem());
          const Result result = out.result();
          Scratch scratch;
          run(plan, inputs, scratch, result);
          const long before = allocations;
          run(plan, inputs, scratch, result);
          EXPECT_EQ(allocations - before, 0);
          EXPECT_LE(plan.scratch_bytes(), scratch.size_bytes());
        }
      }
}

TEST(Allocation, AppendAllocatesNothing) {
  const Tensor k = normal({2, 3, 2, 20}, 1);
  DenseKvCache cache({2, 2, 20, 20, 64});
  cache.append(k.view, k.view);  // finds the instruction set
  const long before = allocations;
  for (int n = 0; n < 10; ++n) cache.append(k.view, k.view);
  EXPECT_EQ(allocations - before, 0);
}

}  // namespace
}  // namespace rapt::test
