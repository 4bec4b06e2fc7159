#pragma once

// What the tests share: numbers, tensors of every layout, equality of bits, a forced ISA.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/isa.h"
#include "base/splitmix64.h"
#include "rapt/attention.h"
#include "rapt/error.h"

namespace rapt::test {

/// Random numbers that are the same on every machine: no C library, no libstdc++ distribution.
class Rng {
 public:
  explicit Rng(std::uint64_t seed) : seed_(seed) {}

  std::uint64_t next() { return splitmix64(seed_, ++drawn_); }

  /// In [-1, 1), a multiple of 2^-23.
  float uniform() { return static_cast<float>(next() >> 40) * 0x1p-23f - 1.0f; }

  /// Variance 1, mean 0, nearly bell-shaped, within [-3, 3).
  float normal() {
    float sum = uniform();
    sum += uniform();
    sum += uniform();
    return sum;
  }

  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(n));
  }

 private:
  std::uint64_t seed_, drawn_ = 0;
};

enum class Layout {
  kContiguous,
  kHeadMajor,     // [B, H, T, D] in memory
  kFeatureMajor,  // [B, H, D, T] in memory: features are T apart
  kReversed,      // every stride negative
  kUnaligned,     // rows of odd pitch, base one float past an aligned address
  kBroadcast,     // stride 0 over sequences and heads
};
inline constexpr int kLayouts = 6;

inline const char* name(Layout layout) {
  static const char* const names[kLayouts] = {"contiguous", "head_major", "feature_major",
                                              "reversed",   "unaligned",  "broadcast"};
  return names[static_cast<int>(layout)];
}

/// A tensor that owns its memory; `view` shows it in logical order whatever the layout.
template <class T>
struct TensorOf {
  std::vector<T> memory;
  TensorView<T> view;

  TensorOf() = default;
  explicit TensorOf(const Dims& extents, Layout layout = Layout::kContiguous) {
    static constexpr int kPlain[4] = {0, 1, 2, 3};
    static constexpr int kHeads[4] = {0, 2, 1, 3};
    static constexpr int kFeatures[4] = {0, 2, 3, 1};
    const int* axes = layout == Layout::kHeadMajor      ? kHeads
                      : layout == Layout::kFeatureMajor ? kFeatures
                                                        : kPlain;
    const std::int64_t odd = layout == Layout::kUnaligned ? 1 : 0;
    Dims strides{};
    std::int64_t pitch = 1;
    for (int n = 3; n >= 0; --n) {
      strides[axes[n]] = pitch;
      pitch = pitch * extents[axes[n]] + odd;
    }
    memory.assign(pitch + 16, T{});
    T* data = memory.data() + odd;
    if (layout == Layout::kBroadcast) strides[0] = strides[2] = 0;
    if (layout == Layout::kReversed)
      for (int axis = 0; axis < 4; ++axis) {
        if (extents[axis] > 0) data += (extents[axis] - 1) * strides[axis];
        strides[axis] = -strides[axis];
      }
    view = TensorView<T>(data, extents, strides);
  }
  TensorOf(const TensorOf&) = delete;
  TensorOf& operator=(const TensorOf&) = delete;
  TensorOf(TensorOf&&) = default;
  TensorOf& operator=(TensorOf&&) = default;
};
using Tensor = TensorOf<float>;

/// Calls f(a, b, c, d) for every index, in order.
template <class F>
void for_each_index(const Dims& extents, F&& f) {
  for (std::int64_t a = 0; a < extents[0]; ++a)
    for (std::int64_t b = 0; b < extents[1]; ++b)
      for (std::int64_t c = 0; c < extents[2]; ++c)
        for (std::int64_t d = 0; d < extents[3]; ++d) f(a, b, c, d);
}

inline constexpr DType kAllDTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

/// x rounded to a type.
inline float rounded(float x, DType dtype) {
  return with_type(dtype, [&]<class T>(T) { return to_float(from_float<T>(x)); });
}
inline void round_to(const MutableTensor& t, DType dtype) {
  if (dtype == DType::kF32) return;
  for_each_index(t.extents, [&](auto a, auto b, auto c, auto d) {
    t.at(a, b, c, d) = rounded(t.at(a, b, c, d), dtype);
  });
}

/// Copies between types: exactly, or rounded.
inline void convert(const AnyConstTensor& from, const AnyTensor& to) {
  for_each_index(to.extents,
                 [&](auto a, auto b, auto c, auto d) { to.set(a, b, c, d, from.at(a, b, c, d)); });
}

/// A copy in a type and layout.
struct Stored {
  std::variant<Tensor, TensorOf<BF16>, TensorOf<F16>> tensor;
  AnyTensor view;

  Stored(const AnyConstTensor& from, DType dtype, Layout layout = Layout::kContiguous) {
    with_type(dtype, [&]<class T>(T) { tensor = TensorOf<T>(from.extents, layout); });
    view = std::visit([](const auto& t) { return AnyTensor(t.view); }, tensor);
    if (from.data != nullptr) convert(from, view);
  }
};

inline void fill(const MutableTensor& out, float value) {
  for_each_index(out.extents, [&](auto a, auto b, auto c, auto d) { out.at(a, b, c, d) = value; });
}

/// Random values of standard deviation `deviation`, equal for every layout but the broadcast one.
inline void fill_normal(const MutableTensor& out, std::uint64_t seed, float deviation = 1.0f) {
  Rng rng(seed);
  for_each_index(out.extents, [&](auto a, auto b, auto c, auto d) {
    out.at(a, b, c, d) = deviation * rng.normal();
  });
}

inline Tensor normal(const Dims& extents, std::uint64_t seed, float deviation = 1.0f,
                     Layout layout = Layout::kContiguous) {
  Tensor tensor(extents, layout);
  fill_normal(tensor.view, seed, deviation);
  return tensor;
}

/// [begin, begin + count) of the token axis.
template <class T>
TensorView<T> tokens(const TensorView<T>& t, std::int64_t begin, std::int64_t count) {
  return {
      t.data + begin * t.strides[1], {t.extents[0], count, t.extents[2], t.extents[3]}, t.strides};
}

/// One sequence of a batch.
template <class T>
TensorView<T> sequence(const TensorView<T>& t, std::int64_t b) {
  return {t.data + b * t.strides[0], {1, t.extents[1], t.extents[2], t.extents[3]}, t.strides};
}

/// The same of any type.
template <class Memory>
AnyView<Memory> tokens(const AnyView<Memory>& t, std::int64_t begin, std::int64_t count) {
  return {t.address(0, begin, 0, 0),
          t.dtype,
          {t.extents[0], count, t.extents[2], t.extents[3]},
          t.strides};
}
template <class Memory>
AnyView<Memory> sequence(const AnyView<Memory>& t, std::int64_t b) {
  return {t.address(b, 0, 0, 0), t.dtype, {1, t.extents[1], t.extents[2], t.extents[3]}, t.strides};
}

inline void copy(const ConstTensor& from, const MutableTensor& to) {
  for_each_index(to.extents,
                 [&](auto a, auto b, auto c, auto d) { to.at(a, b, c, d) = from.at(a, b, c, d); });
}

inline std::uint32_t bits(float x) {
  std::uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  return word;
}

inline constexpr std::uint32_t kNanBits = 0x7FC00000;

/// Equality of extents and of every bit; a NaN equals only the same NaN, and -0 differs from +0.
inline testing::AssertionResult same_bits(const ConstTensor& a, const ConstTensor& b) {
  if (a.extents != b.extents) return testing::AssertionFailure() << "extents differ";
  std::int64_t differing = 0;
  Dims first{};
  for_each_index(a.extents, [&](auto i, auto j, auto k, auto l) {
    if (bits(a.at(i, j, k, l)) == bits(b.at(i, j, k, l))) return;
    if (differing++ == 0) first = {i, j, k, l};
  });
  if (differing == 0) return testing::AssertionSuccess();
  const float x = a.at(first[0], first[1], first[2], first[3]);
  const float y = b.at(first[0], first[1], first[2], first[3]);
  return testing::AssertionFailure()
         << differing << " elements differ, first at [" << first[0] << ", " << first[1] << ", "
         << first[2] << ", " << first[3] << "]: " << x << " (0x" << std::hex << bits(x)
         << ") against " << y << " (0x" << bits(y) << ")";
}

/// FNV-1a over the bits, in logical order.
inline std::uint64_t hash_bits(const ConstTensor& t) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for_each_index(t.extents, [&](auto a, auto b, auto c, auto d) {
    hash = (hash ^ bits(t.at(a, b, c, d))) * 0x100000001B3;
  });
  return hash;
}

/// The message of the Error that `f` throws.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// Sets RAPT_FORCE_ISA for as long as it lives.
class ForcedIsa {
 public:
  explicit ForcedIsa(Isa isa) {
    if (const char* before = std::getenv("RAPT_FORCE_ISA")) before_ = before;
    setenv("RAPT_FORCE_ISA", name(isa), 1);
  }
  ~ForcedIsa() {
    if (before_.empty())
      unsetenv("RAPT_FORCE_ISA");
    else
      setenv("RAPT_FORCE_ISA", before_.c_str(), 1);
  }
  ForcedIsa(const ForcedIsa&) = delete;
  ForcedIsa& operator=(const ForcedIsa&) = delete;

 private:
  std::string before_;
};

/// Everything that one run writes, filled with a value that none does: a missed element shows. o is
/// widened from the problem's type.
struct Outputs {
  Tensor o, lse, m, l;
  DType o_dtype;

  explicit Outputs(const Problem& p, Layout layout = Layout::kContiguous)
      : o({p.batch, p.q_tokens, p.q_heads, p.value_dim()}, layout),
        lse({1, p.batch, p.q_heads, p.q_tokens}, layout),
        m({1, p.batch, p.q_heads, p.q_tokens}, layout),
        l({1, p.batch, p.q_heads, p.q_tokens}, layout),
        o_dtype(p.storage.o) {
    for (const MutableTensor& t : {o.view, lse.view, m.view, l.view}) fill(t, -12345.0f);
  }

  Result result() const { return {o.view, lse.view, m.view, l.view}; }
};

/// Equality of every bit of o, lse, m and l.
inline testing::AssertionResult same_bits(const Outputs& a, const Outputs& b) {
  const std::pair<const char*, std::pair<const Tensor*, const Tensor*>> parts[] = {
      {"o", {&a.o, &b.o}}, {"lse", {&a.lse, &b.lse}}, {"m", {&a.m, &b.m}}, {"l", {&a.l, &b.l}}};
  for (const auto& [what, pair] : parts)
    if (auto same = same_bits(pair.first->view, pair.second->view); !same)
      return testing::AssertionFailure() << what << ": " << same.message();
  return testing::AssertionSuccess();
}

/// Runs `plan` in working memory full of NaN: what a run reads there it must have written.
inline Outputs run_attention(const Plan& plan, const Inputs& inputs,
                             Layout layout = Layout::kContiguous) {
  Scratch scratch;
  std::memset(scratch.reserve(plan.scratch_bytes()), 0xFF, plan.scratch_bytes());
  Outputs outputs(plan.problem(), layout);
  const Stored o(outputs.o.view, outputs.o_dtype, layout);
  Result result = outputs.result();
  result.o = o.view;
  run(plan, inputs, scratch, result);
  convert(o.view, outputs.o.view);
  return outputs;
}

inline Outputs run_attention(const Problem& problem, const ConstTensor& q, const ConstTensor& k,
                             const ConstTensor& v, int threads = 1) {
  return run_attention(make_plan(problem, Threads(threads)), {q, k, v});
}

}  // namespace rapt::test
