#include "rapt/kept_mass.h"

#include <algorithm>
#include <cmath>

#include "attention/views.h"
#include "base/float_env.h"
#include "base/memory.h"

namespace rapt {
namespace {

/// 2^gap of an integer gap <= 0; NaN where it is NaN.
double power_of_two(float gap) {
  return gap < -1000.0f ? 0.0 : std::isnan(gap) ? gap : std::ldexp(1.0, static_cast<int>(gap));
}

/// m and l of every row under one mask.
struct RowSums {
  std::vector<float> o, m, l;
  MutableTensor m_view, l_view;

  RowSums(const Problem& problem, const Inputs& inputs, const Threads& threads, Scratch& scratch) {
    const Dims rows = {1, problem.batch, problem.q_heads, problem.q_tokens};
    const auto count = static_cast<std::size_t>(rows[1] * rows[2] * rows[3]);
    o.resize(count * static_cast<std::size_t>(problem.value_dim()));
    m.resize(count);
    l.resize(count);
    m_view = {m.data(), rows};
    l_view = {l.data(), rows};
    const MutableTensor o_view(
        o.data(), {problem.batch, problem.q_tokens, problem.q_heads, problem.value_dim()});
    const KvSource source =
        inputs.cache == nullptr ? KvSource::kTensors : source_of(*inputs.cache, problem.kv_tokens);
    run(make_plan(problem, threads, source), inputs, scratch, {o_view, {}, m_view, l_view});
  }
};

}  // namespace

std::vector<KeptMass> kept_mass(const Problem& problem, const Mask& sparse, const Inputs& inputs,
                                const Threads& threads, Scratch& scratch) {
  problem.validate();
  return with_memory("kept_mass", [&] {
    Problem keys = problem;
    keys.modifiers.sinks.clear();
    keys.storage.o = DType::kF32;
    const RowSums all(keys, inputs, threads, scratch);
    keys.mask = problem.mask & sparse;
    const RowSums some(keys, inputs, threads, scratch);
    const CanonicalFloatEnv env;
    std::vector<KeptMass> of_heads(static_cast<std::size_t>(problem.q_heads));
    for (std::int64_t h = 0; h < problem.q_heads; ++h) {
      KeptMass& kept = of_heads[static_cast<std::size_t>(h)];
      double sum = 0.0;
      for (std::int64_t b = 0; b < problem.batch; ++b)
        for (std::int64_t i = 0; i < problem.q_tokens; ++i) {
          const double l = all.l_view.at(0, b, h, i), l_some = some.l_view.at(0, b, h, i);
          if (l == 0.0) continue;  // no key has a weight
          const float gap = some.m_view.at(0, b, h, i) - all.m_view.at(0, b, h, i);
          const double mass = l_some == 0.0 ? 0.0 : l_some / l * power_of_two(gap);
          sum += mass;
          kept.least = std::isnan(mass) ? mass : std::min(kept.least, mass);
          ++kept.rows;
        }
      if (kept.rows > 0) kept.mean = sum / static_cast<double>(kept.rows);
    }
    return of_heads;
  });
}

}  // namespace rapt
