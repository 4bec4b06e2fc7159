#include "kernels/ceilings/ceilings.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "base/memory.h"

namespace rapt {
namespace {

TEST(Ceilings, EveryChainTakesEveryStep) {
  for (const CeilingKernels& kernels : ceilings_table()) {
    if (kernels.isa > supported_isas().front()) continue;
    SCOPED_TRACE(name(kernels.isa));
    const double lanes = kernels.step_flops / 2;
    const float starts = kernels.multiply_add(0, 2.0f, 3.0f);
    EXPECT_GT(starts, 0);
    EXPECT_EQ(kernels.multiply_add(10, 2.0f, 3.0f), starts + 60 * lanes);
  }
}

TEST(Ceilings, Exp2SumTakesEveryFloatOnce) {
  alignas(64) float x[4 * kExpFloats];
  double sum = 0;
  for (int i = 0; i < 4 * kExpFloats; ++i) {
    x[i] = static_cast<float>(-(i % 5));  // powers of two: exact in every order
    sum += std::exp2(x[i]);
  }
  for (const CeilingKernels& kernels : ceilings_table()) {
    if (kernels.isa > supported_isas().front()) continue;
    SCOPED_TRACE(name(kernels.isa));
    EXPECT_EQ(kernels.exp2_sum(x, 4 * kExpFloats), sum);
  }
}

TEST(Ceilings, ReadTakesEveryFloatOnce) {
  const std::int64_t floats = 4 * kStreamFloats;
  const std::unique_ptr<void, void (*)(void*)> memory(allocate_aligned(floats * sizeof(float)),
                                                      free_aligned);
  auto* data = static_cast<float*>(memory.get());
  double sum = 0;
  for (std::int64_t i = 0; i < floats; ++i) sum += data[i] = static_cast<float>(i % 7 == 0);
  for (const CeilingKernels& kernels : ceilings_table()) {
    if (kernels.isa > supported_isas().front()) continue;
    SCOPED_TRACE(name(kernels.isa));
    for (const int streams : {1, 2, 4}) EXPECT_EQ(kernels.read(data, floats, streams), sum);
  }
}

}  // namespace
}  // namespace rapt
