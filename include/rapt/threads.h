#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace rapt {

/// A set of worker threads that the caller sizes; a cheap handle to share between plans.
///
/// The number of threads changes speed, never a bit of a result. A forked process has threads of its own
/// for each run. It should end by _exit: oneTBB's own end may wait for a lock that a worker had then.
class Threads {
 public:
  /// `count` workers in all, the calling thread included; 0 means one for each hardware thread.
  /// Waits for those that have to be started, a second at most: as long only where oneTBB's are
  /// kept busy by other tasks, and then they come later.
  /// @throws Error{kBadArgument} if count is negative or above 1024; Error{kOutOfMemory} if the
  ///         system refuses a thread.
  explicit Threads(int count = 0);

  int count() const { return count_; }

  /// Calls body(worker) once for each worker in [0, workers), at most count() at a time, and
  /// returns when all are done. Floating point runs in the canonical environment (round to nearest,
  /// no flush to zero); the caller's is restored. What a body throws is thrown when all are done.
  void run(int workers, const std::function<void(int worker)>& body) const;

 private:
  struct Pool;
  int count_;
  std::shared_ptr<Pool> pool_;
};

}  // namespace rapt
