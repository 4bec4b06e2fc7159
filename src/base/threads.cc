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
#include "base/handover.h"
#include "base/memory.h"

namespace rapt {

namespace {

using Clock = std::chrono::steady_clock;

// Where workers wait for each other.
class Gate {
 public:
  Gate() { give(this); }
  ~Gate() { take(this); }

  void wait() {
    take(this);
    {
      std::unique_lock lock(mutex_);
      ++arrived_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return open_; });
    }
    give(this);
  }

  /// False if fewer have come by then.
  bool have_come(int count, Clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, deadline, [&] { return arrived_ == count; });
  }

  void open() {
    {
      const std::lock_guard lock(mutex_);
      open_ = true;
      changed_.notify_all();
    }
    give(this);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0;
  bool open_ = false;
};

// oneTBB starts most workers from other workers, when they are first needed; where the system then
// refuses a thread, the process ends. So workers are started here, by the calling thread, where a
// refusal is an exception: one after the other, each kept busy so that the next is a new one.
class Starter {
 public:
  ~Starter() { gate_->open(); }

  /// False where no worker comes until then, as when the host's own tasks have them all.
  bool start_one(Clock::time_point deadline) {
    free_aligned(allocate_aligned(kFirstBytes));
    arenas_.emplace_back(1, 0).enqueue([gate = gate_] { gate->wait(); });
    return gate_->have_come(static_cast<int>(arenas_.size()), deadline);
  }

 private:
  // A worker asks for some memory before it can report that there is none.
  static constexpr std::size_t kFirstBytes = std::size_t{1} << 18;

  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();  // a task may outlive the starter
  std::list<tbb::task_arena> arenas_;
};

// What all pools share: oneTBB's workers, and its limit. Of several limits it obeys the least, so
// there is one, of the most threads that were ever asked for. In a forked process nothing of this is
// touched: the workers are the parent's, and so is whoever holds a lock, here or in oneTBB.
class Workers {
 public:
  using Arenas = std::list<tbb::task_arena>;

  static Workers& instance() {
    static Workers& never_destroyed = *new Workers;
    return never_destroyed;
  }

  /// An arena of some threads, and their workers, as far as they come within kPatience.
  Arenas::iterator open(int threads) {
    const Clock::time_point deadline = Clock::now() + kPatience;
    const Arenas::iterator arena = add(threads);
    try {
      arena->initialize();
      start(deadline);
    } catch (...) {
      close(arena);
      throw;
    }
    return arena;
  }

  void close(Arenas::iterator arena) {
    const std::lock_guard lock(mutex_);
    wanted_ -= arena->max_concurrency() - 1;
    arenas_.erase(arena);
  }

 private:
  static constexpr std::chrono::milliseconds kPatience{1000};

  Arenas::iterator add(int threads) {
    const std::lock_guard lock(mutex_);
    kept_.initialize();
    if (threads > allowed_) {
      limit_.reset();
      limit_.emplace(tbb::global_control::max_allowed_parallelism,
                     static_cast<std::size_t>(threads));
      allowed_ = threads;
    }
    const Arenas::iterator arena = arenas_.emplace(arenas_.end(), threads);
    wanted_ += threads - 1;
    return arena;
  }

  /// How many workers there are to be; 0 where as many have been started. Under the lock.
  int goal() const {
    const std::size_t limit =
        tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism);
    const int goal = std::min(wanted_, static_cast<int>(limit) - 1);
    return goal > started_ ? goal : 0;
  }

  void start(Clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    // Two at once would take each other's workers.
    turn_.wait_until(lock, deadline, [&] { return !starting_ || goal() == 0; });
    const int count = starting_ ? 0 : goal();
    if (count == 0) return;
    starting_ = true;
    lock.unlock();
    try {
      Starter starter;
      for (int n = 0; n < count && starter.start_one(deadline);) ++n;
    } catch (...) {
      end_start(0);
      throw;
    }
    end_start(count);  // or as many as came: whoever waited once does not again
  }

  void end_start(int started) {
    const std::lock_guard lock(mutex_);
    starting_ = false;
    started_ = std::max(started_, started);
    turn_.notify_all();
  }

  std::mutex mutex_;
  tbb::task_arena kept_{1, 0};  // workers end with the last arena
  std::optional<tbb::global_control> limit_;
  int allowed_ = tbb::info::default_concurrency();
  Arenas arenas_;
  int wanted_ = 0;  // by these
  int started_ = 0;
  bool starting_ = false;
  std::condition_variable turn_;
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
  explicit Pool(int count) : arena(Workers::instance().open(count)) {}
  ~Pool() {
    if (!is_forked()) Workers::instance().close(arena);
  }

  const Workers::Arenas::iterator arena;
};

Threads::Threads(int count) {
  require(count >= 0 && count <= 1024, ErrorCode::kBadArgument, "Threads.count", "0 to 1024",
          count);
  count_ = count == 0 ? tbb::info::default_concurrency() : count;
  if (count_ == 1 || is_forked()) return;
  watch_forks();
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
    take(&failed);
    try {
      CanonicalFloatEnv env;
      body(worker);
    } catch (...) {
      if (!failed.test_and_set()) failure = std::current_exception();
    }
    give(&failed);
  };
  give(&failed);
  try {
    if (is_forked())
      run_on_new_threads(count_, workers, guarded);
    else
      pool_->arena->execute(
          [&] { tbb::parallel_for(0, workers, guarded, tbb::simple_partitioner()); });
  } catch (const std::exception& refused) {
    throw Error(
        ErrorCode::kOutOfMemory,
        std::string("Threads.run: expected memory for tasks, got \"") + refused.what() + "\"");
  }
  take(&failed);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace rapt
