// Every rejected argument of masks, block maps, modifiers, positions and the bias is an Error that
// names it.

#include <gtest/gtest.h>

#include <limits>

#include "rejects.h"
#include "util.h"

namespace rapt::test {
namespace {

constexpr std::int64_t kFar = std::int64_t{1} << 40;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Bad {
  const char* what;
  std::function<void()> f;
};

void expect_rejected(const std::vector<Bad>& all, ErrorCode code = kArgument) {
  for (const Bad& bad : all) EXPECT_TRUE(rejects(bad.what, code, bad.f)) << bad.what;
}

Problem good() {
  Problem p;
  p.batch = 2;
  p.q_tokens = 5;
  p.kv_tokens = 9;
  p.q_heads = 4;
  p.kv_heads = 2;
  p.head_dim = 8;
  return p;
}

/// Makes a plan of `good()`, changed.
Bad plan(const char* what, std::function<void(Problem&)> change) {
  return {what, [change = std::move(change)] {
            Problem p = good();
            change(p);
            make_plan(p, Threads(1));
          }};
}

Bad plan_of(const char* what, const Mask& mask) {
  return plan(what, [mask](Problem& p) { p.mask = mask; });
}

TEST(BadMask, Numbers) {
  expect_rejected({
      {"Mask::sliding_window tokens", [] { Mask::sliding_window(-3); }},
      {"Mask::strided stride", [] { Mask::strided(0); }},
      {"Mask::strided stride", [] { Mask::strided(-2); }},
      {"Mask::strided stride", [] { Mask::strided(std::numeric_limits<std::int64_t>::max()); }},
      {"Mask::dilated_window tokens", [] { Mask::dilated_window(0, 2); }},
      {"Mask::dilated_window dilation", [] { Mask::dilated_window(2, 0); }},
  });
}

TEST(BadMask, Lists) {
  expect_rejected({
      {"Mask::prefix lengths", [] { Mask::prefix({}); }},
      {"Mask::prefix lengths",
       [] {
         Mask::prefix({4, -1});
       }},
      {"Mask::documents", [] { Mask::documents({}); }},
      {"Mask::documents_from_offsets", [] { Mask::documents_from_offsets({}); }},
      {"Mask::documents_from_offsets[0][0]",
       [] {
         Mask::documents_from_offsets({{1, 9}});
       }},
      {"Mask::documents_from_offsets[1][2]",
       [] {
         Mask::documents_from_offsets({{0, 9}, {0, 5, 4}});
       }},
      {"Mask::documents_from_offsets[0][1]",
       [] {
         Mask::documents_from_offsets({{0, kFar + 1}});
       }},
      {"Mask::global", [] { Mask::global({}); }},
      {"Mask::global[0][0]", [] { Mask::global({{-1}}); }},
      {"Mask::global[1][1]",
       [] {
         Mask::global({{0}, {5, 5}});
       }},
      {"Mask::global[0][2]",
       [] {
         Mask::global({{0, 5, 4}});
       }},
      {"Mask::global[0][0]", [] { Mask::global({{kFar + 1}}); }},
      {"Mask::tree parents", [] { Mask::tree({}); }},
      {"Mask::tree parents[0][0]", [] { Mask::tree({{0}}); }},
      {"Mask::tree parents[0][0]", [] { Mask::tree({{-2}}); }},
      {"Mask::tree parents[1][2]",
       [] {
         Mask::tree({{-1}, {-1, 0, 2}});
       }},
  });
}

TEST(BadMask, Structure) {
  const std::vector<std::vector<bool>> two = {{true, false}, {true, true}};
  expect_rejected({
      {"Mask::structure kinds", [=] { Mask::structure({}, two); }},
      {"Mask::structure kinds[0][1]",
       [=] {
         Mask::structure({{0, 2}}, two);
       }},
      {"Mask::structure kinds[1][0]",
       [=] {
         Mask::structure({{0}, {-1}}, two);
       }},
      {"Mask::structure visible",
       [] {
         Mask::structure({{0}}, {{true}, {true, true}});
       }},
      {"Mask::structure visible", [] { Mask::structure({{0}}, {}); }},
      {"Mask::structure visible",
       [] { Mask::structure({{0}}, std::vector(65, std::vector<bool>(65))); }},
  });
  EXPECT_NO_THROW(Mask::structure({{63}}, std::vector(64, std::vector<bool>(64))));
}

TEST(BadMask, ListsThatDoNotFitTheProblem) {
  const std::vector<std::vector<bool>> one = {{true}};
  const std::vector<std::int64_t> full(9, 0), less(8, 0), none;
  expect_rejected({
      plan_of("Mask::prefix lengths", Mask::prefix({1, 2, 3})),
      plan_of("Mask::documents", Mask::documents({full, full, full})),
      plan_of("Mask::documents[0]", Mask::documents({less})),
      plan_of("Mask::documents[1]", Mask::documents({full, less})),
      plan_of("Mask::documents[0]", Mask::documents({none})),
      plan_of("Mask::documents[1]", Mask::documents_from_offsets({{0, 4, 9}, {0, 8}})),
      plan_of("Mask::documents[0]", Mask::documents_from_offsets({none})),
      plan_of("Mask::structure", Mask::structure({full, full, full}, one)),
      plan_of("Mask::structure[0]", Mask::structure({less}, one)),
      plan_of("Mask::global", Mask::global({{1}, {2}, {3}})),
      plan_of("Mask::tree parents", Mask::tree({{-1}, {-1}, {-1}})),
      plan_of("Mask::tree parents[0]", Mask::tree({std::vector<std::int64_t>(10, -1)})),
      plan_of("Mask::tree parents[1]", Mask::tree({{-1}, std::vector<std::int64_t>(10, -1)})),
  });
  // Within a composition too, and where padding leaves fewer keys.
  const Mask wrong = Mask::documents({less});
  expect_rejected({
      plan_of("Mask::documents[0]", Mask::causal() & wrong),
      plan_of("Mask::documents[0]", wrong | Mask::causal()),
      plan_of("Mask::documents[0]", ~(Mask::causal() | ~wrong)),
      plan("Mask::tree parents[0]",
           [](Problem& p) {
             p.kv_ranges = {{0, 9}, {4, 9}};
             p.mask = Mask::tree({std::vector<std::int64_t>(6, -1)});
           }),
  });
  Problem p = good();
  p.kv_ranges = {{1, 9}, {0, 8}};
  p.mask = wrong;
  EXPECT_NO_THROW(make_plan(p, Threads(1)));
  p.mask = Mask::global({{200}});  // a slot that no token has
  EXPECT_NO_THROW(make_plan(p, Threads(1)));
}

TEST(BadMask, Dense) {
  const std::vector<std::uint8_t> bits(2 * 4 * 5 * 9, 1);
  const auto dense = [&](const Dims& extents) { return Mask::dense({bits.data(), extents}); };
  expect_rejected({
      {"Mask::dense bits",
       [] {
         Mask::dense({nullptr, {1, 1, 5, 9}});
       }},
      {"Mask::dense bits",
       [&] {
         dense({1, 1, -5, 9});
       }},
      {"Mask::dense bits",
       [&] {
         dense({1, 1, kFar + 1, 9});
       }},
      plan_of("Mask::dense bits", dense({3, 1, 1, 1})),
      plan_of("Mask::dense bits", dense({1, 2, 1, 1})),
      plan_of("Mask::dense bits", dense({1, 1, 4, 1})),
      plan_of("Mask::dense bits", dense({1, 1, 1, 8})),
      plan_of("Mask::dense bits", dense({1, 1, 0, 9})),
  });
  for (int axes = 0; axes < 16; ++axes) {  // broadcast over every set of axes
    Dims extents = {2, 4, 5, 9};
    for (int axis = 0; axis < 4; ++axis)
      if ((axes >> axis & 1) != 0) extents[axis] = 1;
    Problem p = good();
    p.mask = dense(extents);
    EXPECT_EQ(p.visible_pairs(), 2 * 4 * 5 * 9);
    EXPECT_NO_THROW(make_plan(p, Threads(1)));
  }
}

TEST(BadMask, Pictures) {
  expect_rejected({
      {"Mask::draw sequence", [] { Mask::draw(good(), -1); }},
      {"Mask::draw sequence", [] { Mask::draw(good(), 2); }},
      {"Mask::draw head", [] { Mask::draw(good(), 0, -1); }},
      {"Mask::draw head", [] { Mask::draw(good(), 0, 4); }},
      {"Problem.head_dim", [] { Mask::draw(Problem()); }},
  });
}

TEST(BadBlockMask, Shapes) {
  const auto make = [](const BlockMask::Shape& shape) { return [shape] { BlockMask{shape}; }; };
  expect_rejected({
      {"BlockMask.batch", make({0, 1, 1, 1, 1, 1})},
      {"BlockMask.heads", make({1, 0, 1, 1, 1, 1})},
      {"BlockMask.q_blocks", make({1, 1, -1, 1, 1, 1})},
      {"BlockMask.kv_blocks", make({1, 1, 1, -1, 1, 1})},
      {"BlockMask.q_block", make({1, 1, 1, 1, 0, 1})},
      {"BlockMask.kv_block", make({1, 1, 1, 1, 1, 0})},
      {"BlockMask blocks", make({kFar, 2, 1, 1, 1, 1})},
      {"BlockMask blocks", make({kFar, kFar, kFar, kFar, 1, 1})},
      plan_of("BlockMask.batch", Mask::blocks(BlockMask({3, 1, 1, 1, 8, 8}))),
      plan_of("BlockMask.heads", Mask::blocks(BlockMask({1, 2, 1, 1, 8, 8}))),
  });
}

TEST(BadBlockMask, Contents) {
  const BlockMask::Shape shape = {1, 2, 3, 4, 8, 8};
  BlockMask map(shape);
  const Tensor scores({1, 2, 3, 4}), wrong({1, 2, 3, 3});
  expect_rejected({
      {"BlockMask::set b", [&] { map.set(1, 0, 0, 0); }},
      {"BlockMask::set h", [&] { map.set(0, 2, 0, 0); }},
      {"BlockMask::set x", [&] { map.set(0, 0, 3, 0); }},
      {"BlockMask::set y", [&] { map.set(0, 0, 0, -1); }},
      {"BlockMask::from_indices kv_blocks",
       [&] {
         BlockMask::from_indices(shape, {{0}, {1}, {2}, {3}, {0}});
       }},
      {"BlockMask::from_indices kv_blocks[2]",
       [&] {
         BlockMask::from_indices(shape, {{0}, {1}, {4}, {3}, {0}, {0}});
       }},
      {"BlockMask::from_indices kv_blocks[0]",
       [&] {
         BlockMask::from_indices(shape, {{-1}, {1}, {2}, {3}, {0}, {0}});
       }},
      {"BlockMask::from_top keep", [&] { BlockMask::from_top(shape, scores.view, -1); }},
  });
  EXPECT_TRUE(rejects("BlockMask::from_top scores", kShape,
                      [&] { BlockMask::from_top(shape, wrong.view, 1); }));
  EXPECT_FALSE(map.at(0, 0, 3, 0));
  EXPECT_FALSE(map.at(0, 0, 0, -1));
}

TEST(BadBlockMask, MeanScores) {
  const Tensor q({1, 20, 4, 8}), k({1, 30, 2, 8}), scores({1, 4, 3, 4});
  const auto means = [&](const ConstTensor& keys, std::int64_t q_block, std::int64_t kv_block,
                         const Tensor& to) {
    return [&to, &q, keys, q_block, kv_block] {
      mean_block_scores(q.view, keys, q_block, kv_block, to.view);
    };
  };
  EXPECT_NO_THROW(means(k.view, 8, 8, scores)());
  expect_rejected({{"mean_block_scores q_block", means(k.view, 0, 8, scores)},
                   {"mean_block_scores kv_block", means(k.view, 8, -1, scores)}});
  const Tensor heads({1, 30, 3, 8}), dim({1, 30, 2, 7}), batch({2, 30, 2, 8}), none({1, 30, 0, 8});
  for (const Tensor* bad : {&heads, &dim, &batch, &none})
    EXPECT_TRUE(rejects("mean_block_scores k", kShape, means(bad->view, 8, 8, scores)));
  EXPECT_TRUE(rejects("mean_block_scores scores", kShape, means(k.view, 8, 16, scores)));
}

TEST(BadModifiers, Fields) {
  const auto modified = [](const char* what, std::function<void(ScoreModifiers&)> change) {
    return plan(what, [change = std::move(change)](Problem& p) { change(p.modifiers); });
  };
  expect_rejected({
      modified("ScoreModifiers.softcap", [](auto& m) { m.softcap = 0.0f; }),
      modified("ScoreModifiers.softcap", [](auto& m) { m.softcap = -1.0f; }),
      modified("ScoreModifiers.softcap", [](auto& m) { m.softcap = kInfinity; }),
      modified("ScoreModifiers.softcap", [](auto& m) { m.softcap = kNan; }),
      modified("ScoreModifiers.alibi_slopes", [](auto& m) { m.alibi_slopes = alibi_slopes(2); }),
      modified("ScoreModifiers.alibi_slopes",
               [](auto& m) {
                 m.alibi_slopes = {1, 1, 1, 3e38f};
               }),
      modified("ScoreModifiers.sinks",
               [](auto& m) {
                 m.sinks = {1, 1, 1, -3e38f};
               }),
      modified("ScoreModifiers.alibi_slopes",
               [](auto& m) {
                 m.alibi_slopes = {1, 1, kInfinity, 1};
               }),
      modified("ScoreModifiers.alibi_slopes",
               [](auto& m) {
                 m.alibi_slopes = {1, 1, 1, kNan};
               }),
      modified("ScoreModifiers.sinks",
               [](auto& m) {
                 m.sinks = {0, 0};
               }),
      modified("ScoreModifiers.sinks",
               [](auto& m) {
                 m.sinks = {0, kNan, 0, 0};
               }),
      modified("ScoreModifiers.sinks",
               [](auto& m) {
                 m.sinks = {0, 0, kInfinity, 0};
               }),
      {"alibi_slopes heads", [] { alibi_slopes(0); }},
      {"alibi_slopes heads", [] { alibi_slopes(kFar); }},
  });
  Problem p = good();
  p.modifiers.sinks = {0, -kInfinity, 0, 0};
  EXPECT_NO_THROW(make_plan(p, Threads(1)));
}

TEST(BadModifiers, RelativeBias) {
  const auto relative = [](const char* what, std::int64_t buckets, std::int64_t max_distance,
                           bool bidirectional, std::int64_t values, float first = 0.0f) {
    return plan(what, [=](Problem& p) {
      std::vector<float> table(static_cast<std::size_t>(values), 0.0f);
      if (!table.empty()) table.front() = first;
      p.modifiers.relative_bias = RelativeBias{buckets, max_distance, bidirectional, table};
    });
  };
  expect_rejected({
      relative("ScoreModifiers.relative_bias.buckets", 1, 128, false, 4),
      relative("ScoreModifiers.relative_bias.buckets", 2, 128, true, 8),
      relative("ScoreModifiers.relative_bias.buckets", 33, 128, true, 132),
      relative("ScoreModifiers.relative_bias.buckets", (1 << 20) + 2, 1 << 20, true, 8),
      relative("ScoreModifiers.relative_bias.max_distance", 32, 16, false, 128),
      relative("ScoreModifiers.relative_bias.max_distance", 32, 8, true, 128),
      relative("ScoreModifiers.relative_bias.max_distance", 32, (1 << 20) + 1, true, 128),
      relative("ScoreModifiers.relative_bias.table", 32, 128, true, 127),
      relative("ScoreModifiers.relative_bias.table", 32, 128, true, 0),
      relative("ScoreModifiers.relative_bias.table", 32, 128, true, 128, kNan),
      relative("ScoreModifiers.relative_bias.table", 32, 128, true, 128, -kInfinity),
  });
  EXPECT_NO_THROW(relative("", 2, 2, false, 8).f());
  EXPECT_NO_THROW(relative("", 4, 2, true, 16).f());
}

TEST(BadPositions, CountsAndMagnitudes) {
  const auto list = [](std::int64_t count, std::int64_t value) {
    return std::vector<std::int64_t>(static_cast<std::size_t>(count), value);
  };
  expect_rejected({
      plan("Problem.q_positions", [&](Problem& p) { p.q_positions = list(4, 0); }),
      plan("Problem.q_positions", [&](Problem& p) { p.q_positions = list(11, 0); }),
      plan("Problem.kv_positions", [&](Problem& p) { p.kv_positions = list(5, 0); }),
      plan("Problem.kv_positions", [&](Problem& p) { p.kv_positions = list(27, 0); }),
      plan("Problem.q_positions", [&](Problem& p) { p.q_positions = list(5, kFar + 1); }),
      plan("Problem.kv_positions", [&](Problem& p) { p.kv_positions = list(18, -kFar - 1); }),
  });
  Problem p = good();
  p.q_positions = list(10, kFar);
  p.kv_positions = list(9, -kFar);
  for (const Mask& mask : {Mask::causal(), Mask::window(3, 3), Mask::dilated_window(9, 4)}) {
    p.mask = mask;
    EXPECT_NO_THROW(make_plan(p, Threads(1)));
  }
}

TEST(BadBias, OfInputs) {
  Problem p = good();
  const Tensor q({2, 5, 4, 8}), k({2, 9, 2, 8}), bias({2, 4, 5, 9});
  Outputs out(p);
  Scratch scratch;
  const Plan without = make_plan(p, Threads(1));
  p.modifiers.additive_bias = true;
  const Plan with = make_plan(p, Threads(1));
  const auto run_with = [&](const Plan& plan, const ConstTensor& of_inputs) {
    return [&, of_inputs] {
      run(plan, {.q = q.view, .k = k.view, .v = k.view, .bias = of_inputs}, scratch, out.result());
    };
  };
  EXPECT_NO_THROW(run_with(with, bias.view)());
  expect_rejected({{"Inputs.bias", run_with(without, bias.view)},
                   {"Inputs.bias", run_with(with, {nullptr, bias.view.extents})}});
  for (int axis = 0; axis < 4; ++axis)
    for (const std::int64_t extent : {-1, 0, 3, 10}) {
      ConstTensor wrong = bias.view;
      wrong.extents[axis] = extent;
      EXPECT_TRUE(rejects("Inputs.bias", kShape, run_with(with, wrong))) << axis << ", " << extent;
    }
  EXPECT_TRUE(rejects("Inputs.bias", kShape, [&] {
    ConstTensor wrong = bias.view;
    wrong.extents[3] = 8;
    run_partial(with, {.q = q.view, .k = k.view, .v = k.view, .bias = wrong}, scratch, {0, 1});
  }));
}

// Far slots cost what their runs do, and extents whose product overflows are no matrix.
TEST(BadMask, FarSlotsAndOverflowingExtents) {
  constexpr std::int64_t kFarSlot = std::int64_t{1} << 40;
  EXPECT_NO_THROW(Mask::global({{0, kFarSlot}}));
  EXPECT_NO_THROW(Mask::documents_from_offsets({{0, 5, kFarSlot}}));
  const std::uint8_t bit = 1;
  const TensorView<const std::uint8_t> huge(&bit, {1, 1, kFarSlot, kFarSlot}, {0, 0, 0, 0});
  EXPECT_TRUE(rejects("Mask::dense bits", ErrorCode::kBadArgument, [&] { Mask::dense(huge); }));
  BlockMask blocks({.q_blocks = 2, .kv_blocks = 2});
  blocks.set(0, 0, 1, 1);
  EXPECT_TRUE(blocks.at(0, 0, 1, 1));
  EXPECT_FALSE(blocks.at(0, 1, 1, 1));
  EXPECT_FALSE(blocks.at(-1, 0, 1, 1));
  const ConstTensor nothing(nullptr, {1, 1, 2, 2});
  EXPECT_TRUE(rejects("BlockMask::from_top scores", ErrorCode::kBadArgument,
                      [&] { BlockMask::from_top({.q_blocks = 2, .kv_blocks = 2}, nothing, 1); }));
}

// ALiBi's distances are exact, or refused.
TEST(BadMask, PositionsTooFarForAlibi) {
  Problem p;
  p.q_tokens = p.kv_tokens = 2;
  p.head_dim = 1;
  p.modifiers.alibi_slopes = {0.5f};
  p.q_positions = {0, 1 << 23};
  EXPECT_NO_THROW(p.validate());
  p.q_positions = {0, (1 << 23) + 1};
  EXPECT_TRUE(
      rejects("ScoreModifiers.alibi_slopes", ErrorCode::kBadArgument, [&] { p.validate(); }));
}

}  // namespace
}  // namespace rapt::test
