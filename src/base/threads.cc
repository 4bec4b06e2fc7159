#include "rapt/threads.h"

#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/float_env.h"
#include "base/fork.h"
#include "base/memory.h"

namespace rapt {

namespace {

// oneTBB starts most workers from other workers, when they are first needed; where the system then
// refuses a thread, the process ends. So workers are started here, by the calling thread, where a
// refusal is an exception: one after the other, each kept busy so that the next is a new one.
class Starter {
 public:
  ~Starter() {
    const std::lock_guard lock(gate_->mutex);
    gate_->open = true;
    gate_->changed.notify_all();
  }

  /// False where no worker comes, as when the host's own tasks have them all.
  bool start_one() {
    free_aligned(allocate_aligned(kFirstBytes));
    arenas_.emplace_back(1, 0).enqueue([gate = gate_] {
      std::unique_lock lock(gate->mutex);
      ++gate->arrived;
      gate->changed.notify_all();
      gate->changed.wait(lock, [&] { return gate->open; });
    });
    std::unique_lock lock(gate_->mutex);
    return gate_->changed.wait_for(
        lock, kPatience, [&] { return gate_->arrived == static_cast<int>(arenas_.size()); });
  }

 private:
  // A worker asks for some memory before it can report that there is none.
  static constexpr std::size_t kFirstBytes = std::size_t{1} << 18;
  static constexpr std::chrono::milliseconds kPatience{1000};

  struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    int arrived = 0;
    bool open = false;
  };
  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();  // a task may outlive the starter
  std::list<tbb::task_arena> arenas_;
};

// What all pools share: oneTBB's workers, and its limit. Of several limits it obeys the least, so
// there is one, of the most threads that were ever asked for.
class Workers {
 public:
  static Workers& instance() {
    static Workers workers;
    return workers;
  }

  void allow(int threads) {
    const std::lock_guard lock(mutex_);
    kept_.initialize();
    if (threads <= allowed_) return;
    limit_.reset();
    limit_.emplace(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads));
    allowed_ = threads;
  }

  void add(int count) {
    const std::lock_guard lock(mutex_);
    start(wanted_ + count);
    wanted_ += count;
  }

  void remove(int count) {
    const std::lock_guard lock(mutex_);
    wanted_ -= count;
  }

 private:
  void start(int count) {
    const std::size_t limit =
        tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism);
    count = std::min(count, static_cast<int>(limit) - 1);
    if (count <= started_) return;
    Starter starter;
    for (int n = 0; n < count && starter.start_one();) ++n;
    started_ = count;  // or as many as came: whoever waited once does not again
  }

  std::mutex mutex_;
  tbb::task_arena kept_{1, 0};  // workers end with the last arena
  std::optional<tbb::global_control> limit_;
  int allowed_ = tbb::info::default_concurrency();
  int wanted_ = 0;  // by the pools that live
  int started_ = 0;
};

// For a forked process, which has none of oneTBB's workers: threads of this run alone.
void run_on_new_threads(int threads, int workers, const std::function<void(int)>& body) {
  std::atomic<int> next = 0;
  const auto work = [&] {
    for (int worker = next++; worker < workers; worker = next++) body(worker);
  };
  std::vector<std::jthread> others;
  try {
    for (int n = 1; n < std::min(threads, workers); ++n) others.emplace_back(work);
  } catch (const std::system_error&) {  // fewer threads do the same work
  }
  work();
}

}  // namespace

struct Threads::Pool {
  explicit Pool(int count) : workers(count - 1), arena(count) {
    watch_forks();
    Workers::instance().allow(count);
    arena.initialize();
    Workers::instance().add(workers);
  }
  ~Pool() {
    // A parent that forked while it started workers left its lock taken.
    if (!is_forked()) Workers::instance().remove(workers);
  }

  const int workers;
  tbb::task_arena arena;
};

Threads::Threads(int count) {
  require(count >= 0 && count <= 1024, ErrorCode::kBadArgument, "Threads.count", "0 to 1024",
          count);
  count_ = count == 0 ? tbb::info::default_concurrency() : count;
  if (count_ == 1 || is_forked()) return;
  try {
    pool_ = std::make_shared<Pool>(count_);
  } catch (const std::exception& refused) {
    throw Error(ErrorCode::kOutOfMemory, "Threads.count: expected " + std::to_string(count_) +
                                             " threads, got \"" + refused.what() + "\"");
  }
}

void Threads::run(int workers, const std::function<void(int)>& body) const {
  if (workers <= 1 || count_ == 1) {
    CanonicalFloatEnv env;
    for (int worker = 0; worker < workers; ++worker) body(worker);
    return;
  }
  std::exception_ptr failure;
  std::atomic_flag failed;
  const auto guarded = [&](int worker) {
    try {
      CanonicalFloatEnv env;
      body(worker);
    } catch (...) {
      if (!failed.test_and_set()) failure = std::current_exception();
    }
  };
  try {
    if (is_forked())
      run_on_new_threads(count_, workers, guarded);
    else
      pool_->arena.execute(
          [&] { tbb::parallel_for(0, workers, guarded, tbb::simple_partitioner()); });
  } catch (const std::exception& refused) {
    throw Error(
        ErrorCode::kOutOfMemory,
        std::string("Threads.run: expected memory for tasks, got \"") + refused.what() + "\"");
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace rapt
