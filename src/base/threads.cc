#include "rapt/threads.h"

#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <mutex>
#include <optional>

#include "base/check.h"
#include "base/float_env.h"

namespace rapt {

namespace {

// Raises oneTBB's limit where more threads than hardware threads are asked for. Of several limits it
// obeys the least, so there is one, of the most threads that were ever asked for.
void allow(int count) {
  static std::mutex mutex;
  static int allowed = tbb::info::default_concurrency();
  static std::optional<tbb::global_control> limit;
  const std::lock_guard lock(mutex);
  if (count <= allowed) return;
  limit.reset();
  limit.emplace(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(count));
  allowed = count;
}

}  // namespace

struct Threads::Pool {
  explicit Pool(int count) : arena(count) {
    allow(count);
    arena.initialize();
  }
  tbb::task_arena arena;
};

Threads::Threads(int count) {
  require(count >= 0 && count <= 1024, ErrorCode::kBadArgument, "Threads.count", "0 to 1024",
          count);
  count_ = count == 0 ? tbb::info::default_concurrency() : count;
  if (count_ > 1) pool_ = std::make_shared<Pool>(count_);
}

void Threads::run(int workers, const std::function<void(int)>& body) const {
  if (workers <= 1 || count_ == 1) {
    CanonicalFloatEnv env;
    for (int worker = 0; worker < workers; ++worker) body(worker);
    return;
  }
  pool_->arena.execute([&] {
    tbb::parallel_for(
        0, workers,
        [&](int worker) {
          CanonicalFloatEnv env;
          body(worker);
        },
        tbb::simple_partitioner());
  });
}

}  // namespace rapt
