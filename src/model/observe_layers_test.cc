#include "rapt/observe_layers.h"

#include <gtest/gtest.h>

#include <cstring>

#include "model/model_test_files.h"
#include "rapt/error.h"
#include "rapt/session.h"

namespace rapt::test {
namespace {

const std::vector<std::int32_t> kText = {1, 5, 9, 5, 9, 7, 1, 5, 9, 200, 3, 1};

Model small_model() { return Model::random(ModelConfig::parse(small_config().dump()), 1); }

ObserveOptions some_options() {
  ObserveOptions options;
  options.metrics = {RowMetric::kEntropy, RowMetric::kInduction, RowMetric::kTokenClass,
                     RowMetric::kLink};
  options.distances = true;
  for (std::int64_t n = 0; n < std::ssize(kText); ++n) {
    options.token_class.push_back(n % 3 == 0);
    options.links.push_back(n / 2);
  }
  return options;
}

void expect_same(const HeadStatistics& a, const HeadStatistics& b) {
  EXPECT_EQ(a.sums, b.sums);
  EXPECT_EQ(a.counts, b.counts);
  EXPECT_EQ(a.bin_sums, b.bin_sums);
}

// Each layer's figures are those of its q and of the keys in its cache.
TEST(ObserveLayers, AreThoseOfQueriesAndKeys) {
  const Model model = small_model();
  ObserveOptions options = some_options();
  const std::vector<HeadStatistics> layers = observe_layers(model, kText, options, Threads(2));
  ASSERT_EQ(std::ssize(layers), model.config().num_hidden_layers);
  options.tokens = kText;
  Session session(model, Threads(1));
  Scratch scratch;
  session.observe([&](const LayerAttention& layer) {
    const Problem& p = layer.plan.problem();
    const Dims extents = {1, p.kv_tokens, p.kv_heads, p.head_dim};
    std::vector<float> k(static_cast<std::size_t>(p.kv_tokens * p.kv_heads * p.head_dim)), v(k);
    layer.cache.read(layer.layer, layer.sequence, MutableTensor(k.data(), extents),
                     MutableTensor(v.data(), extents));
    const auto plain = observe(p, {.q = layer.q, .k = ConstTensor(k.data(), extents)}, options,
                               Threads(1), scratch);
    expect_same(layers[static_cast<std::size_t>(layer.layer)], plain);
    EXPECT_EQ(plain.count(RowMetric::kEntropy, 0), std::ssize(kText));
    EXPECT_EQ(plain.count(RowMetric::kInduction, 0), 6);
  });
  session.prefill(kText);
}

TEST(ObserveLayers, PartsOfATextHaveTheSameBits) {
  const Model model = small_model();
  ObserveOptions options = some_options();
  const std::vector<HeadStatistics> whole = observe_layers(model, kText, options, Threads(1));
  options.tokens = kText;
  for (const std::size_t cut : {1u, 5u, 11u}) {
    std::vector<HeadStatistics> parts(whole.size());
    Session session(model, Threads(1));
    Scratch scratch;
    session.observe([&](const LayerAttention& layer) {
      add_observed(layer, options, Threads(1), scratch,
                   parts[static_cast<std::size_t>(layer.layer)]);
    });
    session.prefill(std::span(kText).first(cut));
    session.prefill(std::span(kText).subspan(cut));
    for (std::size_t n = 0; n < whole.size(); ++n) expect_same(parts[n], whole[n]);
  }
}

TEST(ObserveLayers, RefusesListsThatAreShorterThanTheText) {
  ObserveOptions options = some_options();
  options.links.pop_back();
  try {
    observe_layers(small_model(), kText, options, Threads(1));
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "ObserveOptions.links: expected at least 12 elements, one a token, got 11");
  }
}

}  // namespace
}  // namespace rapt::test
