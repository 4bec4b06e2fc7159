// Heads whose output projection is their value map turned around, or its opposite: with a tied head
// they copy, or do the opposite. A head that gets another's weights must fail here.
#include "rapt/head_copying.h"

#include <gtest/gtest.h>

#include "model/llama_test_files.h"

namespace rapt::test {
namespace {

TEST(HeadCopying, IsReadFromTheModelsWeights) {
  nlohmann::json fields = small_config();
  fields["num_key_value_heads"] = 2;
  LlamaFiles files(2, fields);
  files.randomise(0.5f);
  for (int layer = 0; layer < 2; ++layer)
    for (int head = 0; head < 2; ++head)
      for (int d = 0; d < 4; ++d)
        for (int c = 0; c < 8; ++c)
          files[LlamaFiles::name(layer, "self_attn.o_proj")].at(c, head * 4 + d) =
              (layer == head ? 1.0f : -1.0f) *
              files[LlamaFiles::name(layer, "self_attn.v_proj")].at(head * 4 + d, c);
  const Directory directory;
  files.write(directory);
  const std::vector<double> got = copying_scores(directory.path());
  ASSERT_EQ(got.size(), 4u);
  for (int layer = 0; layer < 2; ++layer)
    for (int head = 0; head < 2; ++head)
      EXPECT_NEAR(got[layer * 2 + head], layer == head ? 1 : -1, 1e-5) << layer << "." << head;
}

}  // namespace
}  // namespace rapt::test
