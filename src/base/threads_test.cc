#include "rapt/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/float_env.h"
#include "base/rows.h"
#include "rapt/error.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace rapt {
namespace {

/// True if denormals live and rounding is to nearest: volatile, or the compiler would know.
bool is_canonical() {
  volatile float tiny = 0x1p-126f, half = 0.5f, one = 1.0f, below = 0x1p-25f;
  return tiny * half != 0 && one + below == 1.0f && one - below == 1.0f;
}

class ThreadsTest : public testing::TestWithParam<int> {};

TEST_P(ThreadsTest, EveryWorkerRunsOnce) {
  const Threads threads(GetParam());
  for (const int workers : {0, 1, 2, 7, 100}) {
    std::vector<std::atomic<int>> calls(static_cast<std::size_t>(workers));
    threads.run(workers, [&](int worker) { ++calls[static_cast<std::size_t>(worker)]; });
    for (const auto& count : calls) EXPECT_EQ(count, 1);
  }
}

TEST_P(ThreadsTest, AtMostCountAtATime) {
  const Threads threads(GetParam());
  std::atomic<int> now{0}, most{0};
  threads.run(64, [&](int) {
    const int here = ++now;
    for (int seen = most; seen < here && !most.compare_exchange_weak(seen, here);) {
    }
    for (int i = 0; i < 100; ++i) std::this_thread::yield();  // lets the others in
    --now;
  });
  EXPECT_GE(most, 1);
  EXPECT_LE(most, threads.count());
}

TEST_P(ThreadsTest, RowsAreCoveredOnce) {
  const Threads threads(GetParam());
  for (const std::int64_t rows : {0, 1, 5, 1000}) {
    std::vector<std::atomic<int>> calls(static_cast<std::size_t>(rows));
    for_rows(threads, rows, 16, [&](std::int64_t first, std::int64_t end) {
      for (; first < end; ++first) ++calls[static_cast<std::size_t>(first)];
    });
    for (const auto& count : calls) EXPECT_EQ(count, 1);
  }
}

TEST_P(ThreadsTest, AnExceptionReachesTheCaller) {
  const Threads threads(GetParam());
  const auto fail = [](int worker) {
    if (worker == 3) throw std::runtime_error("worker 3");
  };
  EXPECT_THROW(threads.run(8, fail), std::runtime_error);
  std::atomic<int> calls{0};
  threads.run(8, [&](int) { ++calls; });
  EXPECT_EQ(calls, 8);
}

#if defined(__x86_64__)
TEST_P(ThreadsTest, WorkersAreCanonicalAndTheCallerIsRestored) {
  const Threads threads(GetParam());
  const unsigned before = _mm_getcsr();
  const unsigned odd = (before & ~_MM_ROUND_MASK) | _MM_ROUND_UP | _MM_FLUSH_ZERO_ON | 0x40;
  _mm_setcsr(odd);
  EXPECT_FALSE(is_canonical());
  std::atomic<int> canonical{0};
  threads.run(16, [&](int) { canonical += is_canonical(); });
  const unsigned after = _mm_getcsr();
  _mm_setcsr(before);
  EXPECT_EQ(canonical, 16);
  constexpr unsigned kFlags = _MM_EXCEPT_MASK;  // sticky: who computes may set them
  EXPECT_EQ(after & ~kFlags, odd & ~kFlags);
}

TEST(CanonicalFloatEnvTest, NestsAndRestores) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr((before & ~_MM_ROUND_MASK) | _MM_ROUND_TOWARD_ZERO);
  {
    const CanonicalFloatEnv outer;
    EXPECT_TRUE(is_canonical());
    _mm_setcsr(_mm_getcsr() | _MM_FLUSH_ZERO_ON);
    {
      const CanonicalFloatEnv inner;
      EXPECT_TRUE(is_canonical());
    }
    EXPECT_EQ(_mm_getcsr() & _MM_FLUSH_ZERO_MASK, unsigned{_MM_FLUSH_ZERO_ON});
  }
  EXPECT_EQ(_mm_getcsr() & _MM_ROUND_MASK, unsigned{_MM_ROUND_TOWARD_ZERO});
  _mm_setcsr(before);
}
#endif

INSTANTIATE_TEST_SUITE_P(Counts, ThreadsTest, testing::Values(1, 2, 3, 8));

TEST(ThreadsCountTest, AFewThreadsDoNotHoldBackMany) {
  const Threads few(3), many(6);
  std::atomic<int> here = 0;
  std::atomic<bool> all = false, gave_up = false;
  many.run(6, [&](int) {
    if (++here == 6) all = true;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!all && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    if (!all) gave_up = true;
  });
  EXPECT_FALSE(gave_up);
}

TEST(ThreadsCountTest, ZeroMeansTheMachine) { EXPECT_GE(Threads(0).count(), 1); }

TEST(ThreadsCountTest, OutOfRangeIsAnError) {
  for (const int count : {-1, 1025}) EXPECT_THROW(Threads{count}, Error) << count;
}

}  // namespace
}  // namespace rapt
