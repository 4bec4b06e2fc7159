// The module rapt._core: the C++ API with Python's names for things, a file a topic.

#include <nanobind/nanobind.h>

#include "attention.h"
#include "audit.h"
#include "block_tables.h"
#include "cache.h"
#include "engine.h"
#include "error.h"
#include "head_roles.h"
#include "heads.h"
#include "layer.h"
#include "mask.h"
#include "model.h"
#include "modifiers.h"
#include "observe.h"
#include "paged_cache.h"
#include "plan.h"
#include "retrieval.h"
#include "rotary.h"
#include "statistics.h"
#include "threads.h"
#include "varlen.h"

NB_MODULE(_core, m) {
  using namespace rapt::python;
  m.doc() = "Bindings of rapt; import rapt instead.";
  bind_error(m);
  bind_threads(m);
  bind_mask(m);
  bind_modifiers(m);
  bind_cache(m);
  bind_paged_cache(m);
  bind_block_tables(m);
  bind_plan(m);
  bind_attention(m);
  bind_varlen(m);
  bind_rotary(m);
  bind_layer(m);
  bind_heads(m);
  bind_model(m);
  bind_engine(m);
  bind_audit(m);
  bind_statistics(m);
  bind_head_roles(m);
  bind_observe(m);
  bind_retrieval(m);
}
