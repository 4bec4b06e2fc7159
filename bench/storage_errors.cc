// Errors of every storage type at 65,536 keys, as the table of docs/numerics.md: storage_errors.
//
// Exits with 1 where rapt's error is beyond 2 e + 2^-23 max|v|, e the plain loop's.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "attention/reference.h"
#include "base/splitmix64.h"
#include "rapt/attention.h"

namespace {

using namespace rapt;

constexpr std::int64_t kTokens = 65536, kDim = 128;

/// A tensor of normal numbers, and the same in a storage type.
struct Given {
  std::vector<float> numbers;
  std::vector<std::uint32_t> memory;
  ConstTensor exact;
  AnyTensor stored;

  Given(std::int64_t tokens, std::uint64_t seed, DType dtype)
      : numbers(static_cast<std::size_t>(tokens * kDim)),
        memory(numbers.size()),
        exact(numbers.data(), {1, tokens, 1, kDim}),
        stored(memory.data(), dtype, exact.extents) {
    for (std::size_t n = 0; n < numbers.size(); ++n) {
      double sum = 0;  // of three uniform numbers: variance 1
      for (std::uint64_t part = 0; part < 3; ++part)
        sum += static_cast<double>(splitmix64(seed, 3 * n + part) >> 11) * 0x1p-52 - 1;
      numbers[n] = static_cast<float>(sum);
      const auto token = static_cast<std::int64_t>(n) / kDim;
      stored.set(0, token, 0, static_cast<std::int64_t>(n) % kDim, numbers[n]);
    }
  }
};

template <class T>
double largest_difference(const std::vector<T>& a, const std::vector<double>& b) {
  double largest = 0;
  for (std::size_t n = 0; n < a.size(); ++n) largest = std::max(largest, std::abs(a[n] - b[n]));
  return largest;
}

/// Prints the line of the last `rows` queries. True if rapt keeps its bound.
bool show(const char* path, std::int64_t rows, DType dtype, const Given& k, const Given& v) {
  const Given q(rows, 1, dtype);
  Problem p;
  p.q_tokens = rows;
  p.kv_tokens = kTokens;
  p.head_dim = kDim;
  p.mask = Mask::causal();
  p.storage = Storage::all(dtype);
  p.storage.o = DType::kF32;  // the error before o is rounded
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(rows));
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int64_t>(i);
  const ReferenceInputs given{q.exact, k.exact, v.exact, {}};
  const ReferenceInputs stored{q.stored, k.stored, v.stored, {}};
  const auto unrounded = reference_attention<double>(p, reference_causal(), given, tokens);
  const auto truth = reference_attention<double>(p, reference_causal(), stored, tokens);
  const auto loop = reference_attention<float>(p, reference_causal(), stored, tokens);

  std::vector<float> o(static_cast<std::size_t>(rows * kDim));
  Scratch scratch;
  run(make_plan(p, Threads(1)), {.q = q.stored, .k = k.stored, .v = v.stored}, scratch,
      {.o = AnyTensor(o.data(), {1, rows, 1, kDim}), .lse = {}, .m = {}, .l = {}});
  const double error = largest_difference(o, truth.o), e = largest_difference(loop.o, truth.o);
  const float largest_v = std::ranges::max(v.numbers, {}, [](float x) { return std::abs(x); });
  std::printf("| %s | %s | %.1e | %.1e | %.1e |\n", path, name(dtype), error, e,
              largest_difference(truth.o, unrounded.o));
  return error <= 2 * e + 0x1p-23 * std::abs(largest_v);
}

}  // namespace

int main() {
  std::puts("| | type | rapt | plain f32 loop | rounding q, k and v |\n|---|---|---|---|---|");
  bool is_within = true;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const Given k(kTokens, 2, dtype), v(kTokens, 3, dtype);
    is_within &= show("decode", 1, dtype, k, v);
    is_within &= show("prefill, last 24 rows", 24, dtype, k, v);
  }
  return is_within ? 0 : 1;
}
