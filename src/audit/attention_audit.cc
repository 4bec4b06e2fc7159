#include <algorithm>
#include <memory>
#include <tuple>

#include "audit/context.h"

namespace rapt {

std::optional<AuditFinding> AuditReport::first() const {
  const auto least = std::min_element(
      findings.begin(), findings.end(), [](const AuditFinding& a, const AuditFinding& b) {
        return std::tuple(a.sequence, a.head, a.query, a.key < 0, a.check) <
               std::tuple(b.sequence, b.head, b.query, b.key < 0, b.check);
      });
  return least == findings.end() ? std::optional<AuditFinding>() : *least;
}

AttentionFunction attention_of(const Plan& plan, const ConstTensor& bias) {
  const auto scratch = std::make_shared<Scratch>();
  if (plan.source() == KvSource::kTensors)
    return [plan, bias, scratch](const Inputs& in, const Result& out) {
      Inputs inputs = in;
      inputs.bias = bias;
      run(plan, inputs, *scratch, out);
    };
  const Problem& p = plan.problem();
  const auto cache = std::make_shared<DenseKvCache>(
      DenseKvCache::Shape{p.batch, p.kv_heads, p.head_dim, p.v_head_dim, p.kv_tokens});
  return [plan, bias, scratch, cache](const Inputs& in, const Result& out) {
    for (std::int64_t b = 0; b < plan.problem().batch; ++b) {
      const auto taken = [&](ConstTensor view) {  // the tokens of a sequence that the plan reads
        view.data += b * view.strides[0];
        view.extents[0] = 1;
        view.extents[1] = plan.problem().kv_range(b).end;
        return view;
      };
      cache->truncate(b, 0);
      cache->append(b, taken(in.k), taken(in.v));
    }
    Inputs inputs;
    inputs.q = in.q;
    inputs.cache = cache.get();
    inputs.bias = bias;
    run(plan, inputs, *scratch, out);
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
