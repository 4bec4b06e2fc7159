#include "rapt/threads.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/float_control.h"
#include "base/float_env.h"
#include "base/rows.h"
#include "rapt/error.h"

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

TEST_P(ThreadsTest, WorkersAreCanonicalAndTheCallerIsRestored) {
  const Threads threads(GetParam());
  const unsigned long before = float_control();
  const unsigned long odd = before | kRoundUp | kFlushToZero;
  set_float_control(odd);
  EXPECT_FALSE(is_canonical());
  std::atomic<int> canonical{0};
  threads.run(16, [&](int) { canonical += is_canonical(); });
  const unsigned long after = float_control();
  set_float_control(before);
  EXPECT_EQ(canonical, 16);
  EXPECT_EQ(after & ~kFloatFlags, odd & ~kFloatFlags);
}

TEST(CanonicalFloatEnvTest, NestsAndRestores) {
  const unsigned long before = float_control();
  const unsigned long upwards = before | kRoundUp;
  set_float_control(upwards);
  {
    const CanonicalFloatEnv outer;
    EXPECT_TRUE(is_canonical());
    const unsigned long flushing = float_control() | kFlushToZero;
    set_float_control(flushing);
    EXPECT_FALSE(is_canonical());
    {
      const CanonicalFloatEnv inner;
      EXPECT_TRUE(is_canonical());
    }
    EXPECT_EQ(float_control() & ~kFloatFlags, flushing & ~kFloatFlags);
  }
  EXPECT_EQ(float_control() & ~kFloatFlags, upwards & ~kFloatFlags);
  set_float_control(before);
}

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

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they map all there is
constexpr int kDone = 0, kFault = 1, kNoLimit = 2;

/// Room for some threads, not for 64: that must be an error, and stay one of that set alone.
int use_threads_in_little_memory() {
  std::int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit before{};
  getrlimit(RLIMIT_AS, &before);
  const rlimit little{static_cast<rlim_t>(pages * 4096 + (40 << 20)), before.rlim_max};
  setrlimit(RLIMIT_AS, &little);
  void* large = mmap(nullptr, 80 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (large != MAP_FAILED) return kNoLimit;  // an emulator
  try {
    const Threads many(64);
    many.run(64, [](int) {});
    return kFault;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kOutOfMemory) return kFault;
  }
  setrlimit(RLIMIT_AS, &before);
  std::atomic<int> calls = 0;
  for (const int count : {2, 12}) Threads(count).run(count, [&](int) { ++calls; });
  return calls == 14 ? kDone : kFault;
}

TEST(ThreadsMemoryTest, ARefusedThreadIsAnError) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto passed = [](int status) { return WIFEXITED(status) && WEXITSTATUS(status) != kFault; };
  EXPECT_EXIT(std::_Exit(use_threads_in_little_memory()), passed, "");
}
#endif

TEST(ThreadsCountTest, ZeroMeansTheMachine) { EXPECT_GE(Threads(0).count(), 1); }

TEST(ThreadsCountTest, OutOfRangeIsAnError) {
  for (const int count : {-1, 1025}) EXPECT_THROW(Threads{count}, Error) << count;
}

// Under tsan a forked process may not start threads.
#ifndef __SANITIZE_THREAD__
/// In a forked process: 0 if sets made there and those of the parent have all their threads. Ends by
/// _exit: oneTBB's own end may wait for a lock that a worker had at the fork.
void use_in_child(std::optional<Threads>& of_parent) {
  alarm(60);
  const Threads made_there(3);
  std::atomic<int> calls = 0, met = 0;
  made_there.run(7, [&](int) { ++calls; });
  // All four wait for each other: one thread alone would not get through.
  of_parent->run(4, [&](int) {
    ++met;
    while (met < 4) std::this_thread::yield();
  });
  of_parent.reset();
  _exit(calls == 7 && met == 4 ? 0 : 1);
}

int status_of_child(std::optional<Threads>& of_parent) {
  const pid_t child = fork();
  if (child == 0) use_in_child(of_parent);
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

TEST(Threads, AForkedProcessHasItsOwn) {
  std::optional<Threads> threads(4);
  threads->run(4, [](int) {});
  EXPECT_EQ(status_of_child(threads), 0);
  std::atomic<int> calls = 0;
  threads->run(4, [&](int) { ++calls; });
  EXPECT_EQ(calls, 4);
}

// Another thread waits for workers, which are busy, when the process forks. Under ASan that thread may
// have the allocator's lock, which its child then waits for.
#ifndef __SANITIZE_ADDRESS__
TEST(Threads, AProcessForkedWhileWorkersAreStartedHasItsOwn) {
  std::optional<Threads> threads(4);
  std::atomic<bool> done = false;
  std::atomic<int> busy = 0;
  std::thread host([&] {
    threads->run(4, [&](int) {
      ++busy;
      while (!done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  });
  while (busy < 4) std::this_thread::yield();
  std::thread other([] { const Threads more(8); });
  for (int n = 0; n < 5; ++n) EXPECT_EQ(status_of_child(threads), 0);
  done = true;
  host.join();
  other.join();
}
#endif
#endif

}  // namespace
}  // namespace rapt
