#include "threads.h"

#include "plans.h"

namespace rapt::python {

namespace nb = nanobind;

namespace {

Threads& current() {
  static auto* threads = new Threads();  // never destroyed: oneTBB may be gone before statics are
  return *threads;
}

}  // namespace

const Threads& threads() { return current(); }

void bind_threads(nb::module_& m) {
  m.def(
      "set_threads",
      [](int count) {
        const Threads made = [count] {
          const nb::gil_scoped_release release;  // workers may take a moment to start
          return Threads(count);
        }();
        current() = made;
        forget_plans();
      },
      nb::arg("count"),
      "Runs on `count` threads from now on, the calling one included; 0 means one for each "
      "hardware\n"
      "thread, which is also the default. The threads are rapt's own: torch's pool is neither "
      "used\n"
      "nor changed. The number changes speed, never a bit of a result.");
  m.def(
      "get_threads", [] { return current().count(); },
      "The number of threads that rapt runs on, the calling one included.");
}

}  // namespace rapt::python
