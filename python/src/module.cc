// The module rapt._core: the C++ API with Python's names for things, a file a topic.

#include <nanobind/nanobind.h>

#include "attention.h"
#include "error.h"
#include "mask.h"
#include "modifiers.h"
#include "threads.h"

NB_MODULE(_core, m) {
  using namespace rapt::python;
  m.doc() = "Bindings of rapt; import rapt instead.";
  bind_error(m);
  bind_threads(m);
  bind_mask(m);
  bind_modifiers(m);
  bind_attention(m);
}
