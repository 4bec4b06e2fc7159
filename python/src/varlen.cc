#include "varlen.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "array.h"
#include "error.h"
#include "options.h"
#include "plans.h"
#include "threads.h"

namespace rapt::python {

using nb::literals::operator""_a;

namespace {

/// q, k, v and o of all sequences, one after the other, and where each begins.
struct Packed {
  AnyConstTensor q, k, v;
  AnyTensor o;
  MutableTensor lse;  // [1, 1, Hq, Tq]; without data where it is not asked for
  std::vector<std::int64_t> q_offsets, kv_offsets;

  std::int64_t sequences() const { return static_cast<std::int64_t>(q_offsets.size()) - 1; }
  Inputs inputs(std::int64_t b) const;
  Result result(std::int64_t b) const;
};

template <class View>
View rows(View x, std::int64_t first, std::int64_t end) {
  x.data = x.address(0, first, 0, 0);
  x.extents[1] = end - first;
  return x;
}

Inputs Packed::inputs(std::int64_t b) const {
  const std::int64_t first = kv_offsets[b], end = kv_offsets[b + 1];
  return {.q = rows(q, q_offsets[b], q_offsets[b + 1]),
          .k = rows(k, first, end),
          .v = rows(v, first, end)};
}

Result Packed::result(std::int64_t b) const {
  const std::int64_t first = q_offsets[b], end = q_offsets[b + 1];
  Result result{.o = rows(o, first, end), .lse = {}, .m = {}, .l = {}};
  if (lse.data == nullptr) return result;
  result.lse = lse;
  result.lse.data += first * lse.strides[3];
  result.lse.extents[3] = end - first;
  return result;
}

std::vector<std::int64_t> offsets_of(nb::handle object, const char* where, std::int64_t tokens) {
  std::vector<std::int64_t> offsets = ints_of(object, where);
  if (offsets.empty() || offsets.front() != 0 || offsets.back() != tokens ||
      !std::is_sorted(offsets.begin(), offsets.end()))
    refuse(where, "offsets from 0 that do not fall, to " + std::to_string(tokens) + " tokens",
           offsets.empty() ? "none" : "other offsets");
  return offsets;
}

/// A plan for each sequence; those of equal lengths share one.
class Plans {
 public:
  Plans(const Packed& packed, const Options& options) : packed_(packed), threads_(threads()) {
    for (std::int64_t b = 0; b < packed.sequences(); ++b) total_ += work(b);
    problem_ = problem_of({.q = packed.q, .k = packed.k, .v = packed.v}, packed.o.dtype, options);
  }

  /// Sequences of little work run side by side, a thread each; the others one after the other, on
  /// all threads. The bits are those of each sequence alone either way.
  bool is_small(std::int64_t b) const {
    return work(b) * 4 * static_cast<double>(threads_.count()) <= total_;
  }

  const Plan& of(std::int64_t b) {
    Problem p = problem_;
    p.q_tokens = length(packed_.q_offsets, b);
    p.kv_tokens = length(packed_.kv_offsets, b);
    const auto key = std::tuple(p.q_tokens, p.kv_tokens, is_small(b));
    const auto found = plans_.find(key);
    if (found != plans_.end()) return found->second;
    return plans_.emplace(key, make_plan(p, is_small(b) ? Threads(1) : threads_)).first->second;
  }

 private:
  static std::int64_t length(const std::vector<std::int64_t>& offsets, std::int64_t b) {
    return offsets[b + 1] - offsets[b];
  }
  double work(std::int64_t b) const {
    return static_cast<double>(length(packed_.q_offsets, b)) *
           static_cast<double>(length(packed_.kv_offsets, b));
  }

  const Packed& packed_;
  Threads threads_;
  Problem problem_;
  double total_ = 0;
  std::map<std::tuple<std::int64_t, std::int64_t, bool>, Plan> plans_;
};

void run_all(const Packed& packed, Plans& plans, const Threads& pool) {
  std::vector<const Plan*> list;
  std::vector<std::int64_t> large, small;
  for (std::int64_t b = 0; b < packed.sequences(); ++b) {
    list.push_back(&plans.of(b));
    (plans.is_small(b) ? small : large).push_back(b);
  }
  Scratch scratch;
  for (const std::int64_t b : large) run(*list[b], packed.inputs(b), scratch, packed.result(b));
  std::atomic<std::size_t> next = 0;
  pool.run(pool.count(), [&](int) {
    Scratch own;
    for (std::size_t n = next++; n < small.size(); n = next++)
      run(*list[small[n]], packed.inputs(small[n]), own, packed.result(small[n]));
  });
}

nb::object attention_varlen(const Array& q, const Array& k, const Array& v, nb::handle q_offsets,
                            nb::handle kv_offsets, const Options& options, bool return_lse) {
  Packed packed{.q = q.view(3), .k = k.view(3), .v = v.view(3)};
  if (packed.v.extents[1] != packed.k.extents[1])
    refuse("attention_varlen.v", std::to_string(packed.k.extents[1]) + " tokens, as k has",
           std::to_string(packed.v.extents[1]), ErrorCode::kBadShape);
  packed.q_offsets = offsets_of(q_offsets, "attention_varlen.cu_seqlens_q", packed.q.extents[1]);
  packed.kv_offsets = offsets_of(kv_offsets, "attention_varlen.cu_seqlens_k", packed.k.extents[1]);
  if (packed.q_offsets.size() != packed.kv_offsets.size())
    refuse("attention_varlen.cu_seqlens_k", std::to_string(packed.q_offsets.size()) + " offsets",
           std::to_string(packed.kv_offsets.size()), ErrorCode::kBadShape);
  const std::int64_t tokens = packed.q.extents[1], heads = packed.q.extents[2];
  const Array o = Array::empty(q.library(), packed.q.dtype, {tokens, heads, packed.v.extents[3]});
  packed.o = o.mutable_view(3);
  std::optional<Array> lse;
  if (return_lse) {
    lse = Array::empty(q.library(), DType::kF32, {heads, tokens});
    packed.lse = lse->mutable_f32_view(2);
  }
  Plans plans(packed, options);
  const Threads pool = threads();
  {
    const nb::gil_scoped_release release;
    run_all(packed, plans, pool);
  }
  if (!return_lse) return o.object();
  return nb::make_tuple(o.object(), lse->object());
}

}  // namespace

void bind_varlen(nb::module_& m) {
  const auto none = nb::none();
  m.def(
      "attention_varlen",
      [](nb::handle q, nb::handle k, nb::handle v, nb::handle cu_seqlens_q, nb::handle cu_seqlens_k,
         nb::handle mask, std::optional<double> scale, std::optional<double> softcap,
         nb::handle sinks, nb::handle alibi, nb::handle relative_bias, std::string_view arithmetic,
         bool return_lse) {
        const nb::none none;
        const Options options{mask, scale, softcap, sinks, alibi,     relative_bias,
                              none, none,  none,    none,  arithmetic};
        return attention_varlen(Array(q, "attention_varlen.q"), Array(k, "attention_varlen.k"),
                                Array(v, "attention_varlen.v"), cu_seqlens_q, cu_seqlens_k, options,
                                return_lse);
      },
      "q"_a, "k"_a, "v"_a, "cu_seqlens_q"_a, "cu_seqlens_k"_a, nb::kw_only(), "mask"_a = none,
      "scale"_a = none, "softcap"_a = none, "sinks"_a = none, "alibi"_a = none,
      "relative_bias"_a = none, "arithmetic"_a = kF32Arithmetic, "return_lse"_a = false,
      nb::sig("def attention_varlen(q: Array, k: Array, v: Array, cu_seqlens_q: Ints,"
              " cu_seqlens_k: Ints, *, mask: Mask | None = None, scale: float | None = None,"
              " softcap: float | None = None, sinks: Floats | None = None,"
              " alibi: Floats | None = None, relative_bias: RelativeBias | None = None,"
              " arithmetic: str = 'float32', return_lse: bool = False) -> typing.Any"),
      R"(Attention of sequences that lie one after the other, without padding.

q  [tokens, Hq, D]   k  [keys, Hkv, D]   v  [keys, Hkv, Dv]   o  [tokens, Hq, Dv]   lse  [Hq, tokens]

Sequence b has the queries cu_seqlens_q[b] .. cu_seqlens_q[b + 1] and the keys cu_seqlens_k[b] ..
cu_seqlens_k[b + 1]; it has the bits that `attention` gives it alone. `mask` is that of each
sequence, with at most one list for all. The rest is as in `attention`.)");
}

}  // namespace rapt::python
