#include <algorithm>
#include <memory>
#include <tuple>

#include "audit/context.h"
#include "base/rows.h"

namespace rapt {

std::optional<AuditFinding> AuditReport::first() const {
  const auto least = std::min_element(
      findings.begin(), findings.end(), [](const AuditFinding& a, const AuditFinding& b) {
        return std::tuple(a.sequence, a.head, a.query, a.key < 0, a.check) <
               std::tuple(b.sequence, b.head, b.query, b.key < 0, b.check);
      });
  return least == findings.end() ? std::optional<AuditFinding>() : *least;
}

namespace {

void copy(const AnyConstTensor& from, const AnyTensor& to) {
  const Dims& n = to.extents;
  for (std::int64_t a = 0; a < n[0]; ++a)
    for (std::int64_t b = 0; b < n[1]; ++b)
      for (std::int64_t c = 0; c < n[2]; ++c)
        for (std::int64_t d = 0; d < n[3]; ++d) to.set(a, b, c, d, from.at(a, b, c, d));
}

/// A contiguous copy of a tensor in another type.
struct Stored {
  std::vector<std::byte> memory;
  AnyTensor view;

  Stored(const AnyConstTensor& from, DType dtype)
      : memory(
            static_cast<std::size_t>(row_count(from.extents) * from.extents[3] * size_of(dtype))),
        view(memory.data(), dtype, from.extents, contiguous_strides(from.extents)) {
    copy(from, view);
  }
  Stored(const Stored&) = delete;
  Stored& operator=(const Stored&) = delete;
};

/// Fills a cache with the tokens that the problem reads.
void fill(DenseKvCache& cache, const Problem& problem, const AnyConstTensor& k,
          const AnyConstTensor& v) {
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    const auto taken = [&](AnyConstTensor view) {
      view.data = view.address(b, 0, 0, 0);
      view.extents[0] = 1;
      view.extents[1] = problem.kv_range(b).end;
      return view;
    };
    cache.truncate(b, 0);
    cache.append(b, taken(k), taken(v));
  }
}

}  // namespace

AttentionFunction attention_of(const Plan& plan, const ConstTensor& bias) {
  const Problem& p = plan.problem();
  const auto scratch = std::make_shared<Scratch>();
  std::shared_ptr<DenseKvCache> cache;
  if (plan.source() == KvSource::kCache)
    cache = std::make_shared<DenseKvCache>(DenseKvCache::Shape{
        p.batch, p.kv_heads, p.head_dim, p.v_head_dim, p.kv_tokens, p.storage.k});
  return [plan, bias, scratch, cache](const Inputs& in, const Result& out) {
    const Storage& types = plan.problem().storage;
    const Stored q(in.q, types.q), k(in.k, types.k), v(in.v, types.v), o(out.o, types.o);
    Inputs inputs;
    inputs.q = q.view;
    inputs.bias = bias;
    if (cache != nullptr) {
      fill(*cache, plan.problem(), k.view, v.view);
      inputs.cache = cache.get();
    } else {
      inputs.k = k.view;
      inputs.v = v.view;
    }
    Result result = out;
    result.o = o.view;
    run(plan, inputs, *scratch, result);
    copy(o.view, out.o);
  };
}

AuditReport audit_attention(const VisiblePredicate& visible, const Inputs& in,
                            const AttentionFunction& attention, const AuditOptions& options) {
  AuditContext audit(visible, in, attention, options);
  if (audit_repeat(audit)) {
    audit_weights(audit);
    audit_poison(audit);
  }
  return {audit.rows.queries(), audit.report, audit.findings.list()};
}

}  // namespace rapt
