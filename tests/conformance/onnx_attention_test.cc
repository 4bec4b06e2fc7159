// The vectors of ONNX's Attention and FlexAttention, through an adapter of their semantics.
#include "onnx_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <iostream>

namespace rapt::test {
namespace {

/// Largest |got - want|, and in units of the tolerance: 8 units of 2^-24, relative for numbers above
/// 1; for an f16 vector a unit in its last place more. Infinite where only one is a number.
class Difference {
 public:
  void add(const ConstTensor& got, const NpyArray& want) {
    ASSERT_EQ(got.extents[0] * got.extents[1] * got.extents[2] * got.extents[3], want.size());
    const auto values = want.values<float>();
    const bool half = want.dtype == "<f2";
    std::size_t n = 0;
    for_each_index(got.extents, [&](auto a, auto b, auto c, auto d) {
      add(got.at(a, b, c, d), values[n++], half);
    });
  }

  void join(const Difference& other) {
    worst_ = std::max(worst_, other.worst_);
    f32_ = std::max(f32_, other.f32_);
    f16_ = std::max(f16_, other.f16_);
  }

  double in_tolerances() const { return worst_; }
  double f32() const { return f32_; }
  double f16() const { return f16_; }

 private:
  void add(double got, double want, bool half) {
    if (got == want) return;
    const double scale = std::max(1.0, std::abs(want));
    const double tolerance = 8 * 0x1p-24 * scale + (half ? 0x1p-10 * std::abs(want) : 0.0);
    double difference = std::abs(got - want);
    if (!std::isfinite(difference)) difference = std::numeric_limits<double>::infinity();
    worst_ = std::max(worst_, difference / tolerance);
    double& of_kind = half ? f16_ : f32_;
    of_kind = std::max(of_kind, difference);
  }

  double worst_ = 0, f32_ = 0, f16_ = 0;
};

/// A view of o [B, T, H, D] in the order of Y: [B, H, T, D] where it has four axes.
ConstTensor in_order_of(const NpyArray& y, const MutableTensor& o) {
  if (y.shape.size() == 3) return o;
  const Dims &e = o.extents, &s = o.strides;
  return {o.data, {e[0], e[2], e[1], e[3]}, {s[0], s[2], s[1], s[3]}};
}

/// From a cache that holds the past before the new tokens come.
Outputs run_from_cache(const OnnxAttention& a, std::int64_t past) {
  const Problem& p = a.problem;
  DenseKvCache cache({p.batch, p.kv_heads, p.head_dim, p.v_head_dim, p.kv_tokens});
  for (const Range part : {Range{0, past}, Range{past, p.kv_tokens}})
    cache.append(tokens(ConstTensor(a.k.view), part.begin, part.size()),
                 tokens(ConstTensor(a.v.view), part.begin, part.size()));
  return run_attention(make_plan(p, Threads(1), KvSource::kCache),
                       {.q = a.q.view, .k = {}, .v = {}, .cache = &cache, .bias = a.bias.view});
}

void check_present(const NpyArray& want, const Tensor& got) {
  const auto values = want.values<float>();
  EXPECT_TRUE(same_bits(got.view, heads_of(want.shape, 0, values.data())));
}

/// Every output of one case.
void check(const OnnxCase& c, const OnnxAttention& a, Difference& difference) {
  const NpyArray& y = c.outputs.at("Y");
  const std::int64_t past = c.has("past_key") ? c.inputs.at("past_key").shape[2] : 0;
  const Outputs out = run_attention(make_plan(a.problem, Threads(1)), a.inputs());
  EXPECT_TRUE(same_bits(run_from_cache(a, past), out));
  difference.add(in_order_of(y, out.o.view), y);
  for (const auto& [name, want] : c.outputs) {
    if (name == "present_key") check_present(want, a.k);
    if (name == "present_value") check_present(want, a.v);
    if (name == "qk_matmul_output")
      difference.add(a.matrix(c.attribute("qk_matmul_output_mode", 0)).view, want);
  }
}

void report(const Difference& all) {
  std::cout << "largest difference: " << all.f32() << " (f32), " << all.f16() << " (f16), "
            << all.in_tolerances() << " of the tolerance\n";
}

TEST(OnnxAttention, EveryVectorIsMet) {
  if (!std::filesystem::exists(onnx_directory()))
    GTEST_SKIP() << "no test vectors at " << onnx_directory();
  const auto cases = onnx_cases("Attention");
  ASSERT_EQ(cases.size(), 76u);
  Difference all;
  for (const OnnxCase& c : cases) {
    SCOPED_TRACE(c.name);
    Difference one;
    check(c, OnnxAttention(c), one);
    EXPECT_LE(one.in_tolerances(), 1.0) << one.f32() << " (f32), " << one.f16() << " (f16)";
    all.join(one);
  }
  report(all);
}

/// What FlexAttention's subgraphs do to the scores, by case: the vectors do not hold the graphs.
const std::map<std::string, std::function<void(OnnxAttention&)>>& score_modifications() {
  static const std::map<std::string, std::function<void(OnnxAttention&)>> all = {
      {"test_flexattention_causal_mask",
       [](OnnxAttention& a) { a.problem.mask = Mask::causal_top_left(); }},
      {"test_flexattention_soft_cap",
       [](OnnxAttention& a) { a.problem.modifiers.softcap = 20.0f; }},
      {"test_flexattention_score_mod",
       [](OnnxAttention& a) {
         a.problem.modifiers.additive_bias = true;
         a.bias = Tensor({1, 1, 1, 1});
         fill(a.bias.view, 0.5f);
       }},
      {"test_flexattention_relative_positional",
       [](OnnxAttention& a) {
         a.problem.modifiers.additive_bias = true;
         a.bias = Tensor({1, 1, a.problem.q_tokens, a.problem.kv_tokens});
         for_each_index(a.bias.view.extents, [&](auto b, auto h, auto i, auto j) {
           a.bias.view.at(b, h, i, j) = static_cast<float>(i - j);
         });
       }},
  };
  return all;
}

TEST(OnnxFlexAttention, EveryVectorButOneIsMet) {
  if (!std::filesystem::exists(onnx_directory()))
    GTEST_SKIP() << "no test vectors at " << onnx_directory();
  const std::map<std::string, std::string> not_expressible = {
      {"test_flexattention_prob_mod", "it changes the weights after the softmax"}};
  const auto cases = onnx_cases("FlexAttention");
  ASSERT_EQ(cases.size(), 11u);
  Difference all;
  std::size_t modified = 0, left_out = 0;
  for (const OnnxCase& c : cases) {
    SCOPED_TRACE(c.name);
    OnnxAttention a(c);
    const auto modification = score_modifications().find(c.name);
    EXPECT_EQ(modification != score_modifications().end(), c.attributes.contains("score_mod"));
    if (modification != score_modifications().end()) {
      modification->second(a);
      ++modified;
    }
    Difference one;
    check(c, a, one);
    if (const auto reason = not_expressible.find(c.name); reason != not_expressible.end()) {
      EXPECT_GT(one.in_tolerances(), 1.0) << "it is expressible";
      std::cout << c.name << " is skipped: " << reason->second << "\n";
      ++left_out;
      continue;
    }
    EXPECT_LE(one.in_tolerances(), 1.0) << one.f32() << " (f32), " << one.f16() << " (f16)";
    all.join(one);
  }
  EXPECT_EQ(modified, score_modifications().size());
  EXPECT_EQ(left_out, not_expressible.size());
  report(all);
}

}  // namespace
}  // namespace rapt::test
