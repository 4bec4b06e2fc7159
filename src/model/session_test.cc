#include "rapt/session.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "model/model_test_files.h"
#include "rapt/error.h"
#include "rapt/sampler.h"

namespace rapt::test {
namespace {

Model small_model() { return Model::random(ModelConfig::parse(small_config().dump()), 1); }

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Session, BadInputLeavesItAsItWas) {
  const Model model = small_model();
  Session session(model, Threads(1), 4), untouched(model, Threads(1), 4);
  const std::int32_t begin[] = {1, 5, 299}, outside[] = {7, 300}, negative[] = {-1};
  session.prefill(begin);
  untouched.prefill(begin);
  EXPECT_EQ(message_of([&] { session.prefill(outside); }),
            "Session.tokens: expected at most 1, the room that is left, got 2");
  EXPECT_EQ(message_of([&] { session.prefill(negative); }),
            "Session.tokens[0]: expected 0 to 299, got -1");
  EXPECT_EQ(message_of([&] { session.prefill({}); }),
            "Session.tokens: expected at least one token, got none");
  EXPECT_EQ(session.length(), 3);
  const ConstTensor a = session.decode(9), b = untouched.decode(9);
  EXPECT_EQ(std::memcmp(a.data, b.data, 300 * sizeof(float)), 0);
  EXPECT_EQ(message_of([&] { session.decode(9); }),
            "Session.tokens: expected at most 0, the room that is left, got 1");
}

TEST(Session, CapacityIsWithinTheContext) {
  const Model model = small_model();
  EXPECT_EQ(Session(model).capacity(), 16);
  EXPECT_EQ(Session(model, Threads(1), 7).capacity(), 7);
  EXPECT_EQ(message_of([&] { Session(model, Threads(1), 17); }),
            "Session.capacity: expected 0 to 16, got 17");
  EXPECT_EQ(message_of([&] { Session(model).truncate(1); }),
            "Session.truncate: expected 0 to 0, got 1");
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  const float inf = std::numeric_limits<float>::infinity();
  const float logits[] = {-inf, 2.0f, NAN, 3.0f, 3.0f}, none[] = {-inf, NAN};
  EXPECT_EQ(greedy({logits, {1, 1, 1, 5}}), 3);
  EXPECT_EQ(message_of([&] {
              greedy({none, {1, 1, 1, 2}});
            }),
            "greedy.logits: expected a logit above -inf, got none");
}

TEST(Sampler, ProbabilitiesSumToOne) {
  const float logits[] = {1000.0f, 999.0f, -5.0f, 1001.5f};
  double sum = 0;
  for (int token = 0; token < 4; ++token)
    sum += std::exp(log_probability({logits, {1, 1, 1, 4}}, token));
  EXPECT_NEAR(sum, 1, 1e-14);
  EXPECT_NEAR(
      log_probability({logits, {1, 1, 1, 4}}, 0) - log_probability({logits, {1, 1, 1, 4}}, 1), 1,
      1e-12);
  EXPECT_THROW(log_probability({logits, {1, 1, 1, 4}}, 4), Error);
}

}  // namespace
}  // namespace rapt::test
