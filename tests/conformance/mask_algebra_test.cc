// Masks are predicates: `&`, `|` and `~` are and, or and not of what each query sees.

#include <gtest/gtest.h>

#include "cases.h"

namespace rapt::test {
namespace {

/// What every query sees: a bit for each (b, h, i, j), in order.
using Seen = std::vector<bool>;

Seen combine(const Seen& a, const Seen& b, bool both) {
  Seen out(a.size());
  for (std::size_t n = 0; n < a.size(); ++n) out[n] = both ? a[n] && b[n] : a[n] || b[n];
  return out;
}

/// A problem to try masks on, with what each of `masks()` shows there by the reference.
class Stage {
 public:
  explicit Stage(const AttentionCase& c) : problem_(c.problem()) {
    existing_ = reference({});
    for (const NamedMask& named : masks()) {
      made_.push_back(named.make(problem_));
      seen_.push_back(reference(named.reference));
    }
  }

  const Mask& mask(std::size_t n) const { return made_[n]; }
  const Seen& seen(std::size_t n) const { return seen_[n]; }

  /// Pairs of tokens that are not padding and that `seen` leaves out.
  Seen without(const Seen& seen) const {
    Seen out(seen.size());
    for (std::size_t n = 0; n < seen.size(); ++n) out[n] = existing_[n] && !seen[n];
    return out;
  }

  /// By Problem::visible.
  Seen shown_by(const Mask& mask) const {
    Problem p = problem_;
    p.mask = mask;
    Seen seen;
    for_each_index(extents(),
                   [&](auto b, auto h, auto i, auto j) { seen.push_back(p.visible(b, h, i, j)); });
    return seen;
  }

 private:
  Dims extents() const {
    return {problem_.batch, problem_.q_heads, problem_.q_tokens, problem_.kv_tokens};
  }

  Seen reference(const ReferenceMask& mask) const {
    Seen seen;
    for_each_index(extents(), [&](auto b, auto h, auto i, auto j) {
      seen.push_back(reference_visible(problem_, mask, b, h, i, j));
    });
    return seen;
  }

  Problem problem_;
  Seen existing_;
  std::vector<Mask> made_;
  std::vector<Seen> seen_;
};

/// One key, as many as queries, fewer and more, with padding, with positions, beyond a chunk.
std::vector<AttentionCase> stages() {
  struct Shape {
    std::int64_t q, k;
    Padding padding;
    Positions positions;
  };
  std::vector<AttentionCase> cases;
  for (const Shape& shape : {Shape{3, 1, Padding::kNone, Positions::kDefault},
                             {6, 6, Padding::kNone, Positions::kDefault},
                             {19, 7, Padding::kMixed, Positions::kDefault},
                             {7, 19, Padding::kLeft, Positions::kGiven},
                             {2, 530, Padding::kLeft, Positions::kDefault}}) {
    AttentionCase& c = cases.emplace_back();
    c.batch = shape.padding == Padding::kMixed ? 3 : 1;
    c.q_tokens = shape.q;
    c.kv_tokens = shape.k;
    c.q_heads = 2;
    c.mask = &masks().front();
    c.padding = shape.padding;
    c.positions = shape.positions;
  }
  return cases;
}

TEST(MaskAlgebra, EveryMaskIsItsReference) {
  for (const AttentionCase& c : stages()) {
    const Stage stage(c);
    for (std::size_t n = 0; n < masks().size(); ++n)
      EXPECT_EQ(stage.shown_by(stage.mask(n)), stage.seen(n)) << masks()[n].name << c.name();
  }
}

TEST(MaskAlgebra, EveryPairObeysTheLaws) {
  for (const AttentionCase& c : stages()) {
    const Stage stage(c);
    for (std::size_t x = 0; x < masks().size(); ++x) {
      const Mask& a = stage.mask(x);
      EXPECT_EQ(stage.shown_by(~a), stage.without(stage.seen(x))) << masks()[x].name << c.name();
      EXPECT_EQ(stage.shown_by(~~a), stage.seen(x)) << masks()[x].name << c.name();
      for (std::size_t y = 0; y <= x; ++y) {
        SCOPED_TRACE(std::string(masks()[x].name) + ", " + masks()[y].name + " of " + c.name());
        const Mask& b = stage.mask(y);
        const Seen both = combine(stage.seen(x), stage.seen(y), true);
        const Seen either = combine(stage.seen(x), stage.seen(y), false);
        EXPECT_EQ(stage.shown_by(a & b), both);
        EXPECT_EQ(stage.shown_by(b & a), both);
        EXPECT_EQ(stage.shown_by(~(~a | ~b)), both);
        EXPECT_EQ(stage.shown_by(a | b), either);
        EXPECT_EQ(stage.shown_by(b | a), either);
        EXPECT_EQ(stage.shown_by(~(~a & ~b)), either);
      }
    }
  }
}

TEST(MaskAlgebra, AndAndOrAssociateAndDistribute) {
  Rng rng(5);
  const auto count = static_cast<std::int64_t>(masks().size());
  for (const AttentionCase& c : stages()) {
    const Stage stage(c);
    for (int draw = 0; draw < 60; ++draw) {
      const auto x = rng.below(count), y = rng.below(count), z = rng.below(count);
      SCOPED_TRACE(std::string(masks()[x].name) + ", " + masks()[y].name + ", " + masks()[z].name +
                   " of " + c.name());
      const Mask &m = stage.mask(x), &n = stage.mask(y), &o = stage.mask(z);
      EXPECT_EQ(stage.shown_by((m & n) & o), stage.shown_by(m & (n & o)));
      EXPECT_EQ(stage.shown_by((m | n) | o), stage.shown_by(m | (n | o)));
      EXPECT_EQ(stage.shown_by(m & (n | o)), stage.shown_by((m & n) | (m & o)));
      EXPECT_EQ(stage.shown_by(m | (n & o)), stage.shown_by((m | n) & (m | o)));
    }
  }
}

}  // namespace
}  // namespace rapt::test
