#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "array.h"
#include "cache.h"
#include "rapt/attention.h"

namespace rapt::python {

/// Arguments of one call that are tensors, as they were given.
struct Given {
  nb::handle q, k, v, cache, sequences, bias, out;
};

/// A cache that was given: what it is to attention, and who else uses it.
struct FoundCache {
  const KvTiles* tiles;
  KvSource source;
  Use* use;  ///< null: it is the caller's memory
};

/// @throws Error starting with `where` if it is none.
FoundCache find_cache(nb::handle cache, const char* where);

/// Tensors of one run of attention: what it reads, and what it writes or makes.
class Call {
 public:
  /// @throws Error naming "attention.<argument>"; Error{kBadArgument} unless there are k and v, or a
  ///         cache.
  explicit Call(const Given& given);

  const Inputs& inputs() const { return inputs_; }
  KvSource source() const { return source_; }
  Library library() const { return q_->library(); }

  /// Of `out` where it is given, else that of q.
  DType o_type() const { return result_.o.data != nullptr ? result_.o.dtype : inputs_.q.dtype; }

  /// o, or (o, lse). Without the GIL.
  nb::object run(const Plan& plan, bool return_lse);

 private:
  void take_cache(const Given& given);

  KvSource source_ = KvSource::kTensors;
  std::optional<Use::Reading> reading_;  // of the cache
  std::vector<std::int64_t> sequences_;
  std::optional<Array> q_, k_, v_, bias_, out_;
  Inputs inputs_;
  Result result_;
};

/// How signatures write a cache, and its sequences.
#define RAPT_CACHE                                              \
  " cache: DenseKvCache | KvTiles | BlockTables | None = None," \
  " sequences: Ints | None = None,"

/// Views of new arrays of a result: o [B, Tq, Hq, Dv] and lse [B, Hq, Tq].
struct NewResult {
  NewResult(const Library& library, DType dtype, const Dims& o);

  nb::object pair() const { return nb::make_tuple(o.object(), lse.object()); }
  Result result() const;

  Array o, lse;
};

}  // namespace rapt::python
