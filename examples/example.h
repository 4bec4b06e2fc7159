#pragma once

// What the examples share: tensors of random numbers, comparison, and a list of what was shown.

#include <rapt/attention.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace example {

/// A contiguous tensor that owns its memory and serves as a view of it.
struct Tensor {
  std::vector<float> data;
  rapt::Dims extents;

  explicit Tensor(const rapt::Dims& extents)
      : data(extents[0] * extents[1] * extents[2] * extents[3]), extents(extents) {}

  operator rapt::MutableTensor() { return {data.data(), extents}; }
  operator rapt::ConstTensor() const { return {data.data(), extents}; }
  std::size_t size_bytes() const { return data.size() * sizeof(float); }
};

/// Normal numbers of deviation `scale`.
inline Tensor random(const rapt::Dims& extents, unsigned seed, float scale = 1) {
  Tensor t(extents);
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, scale);
  for (float& x : t.data) x = normal(engine);
  return t;
}

/// Equality of every bit: stricter than ==, which takes -0 for 0 and NaN for different from itself.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.extents == b.extents && std::memcmp(a.data.data(), b.data.data(), a.size_bytes()) == 0;
}

inline float max_difference(const Tensor& a, const Tensor& b) {
  float difference = 0;
  for (std::size_t i = 0; i < a.data.size(); ++i)
    difference = std::max(difference, std::abs(a.data[i] - b.data[i]));
  return difference;
}

/// The problem that q [B, Tq, Hq, D], k [B, Tk, Hkv, D] and v [B, Tk, Hkv, Dv] pose.
inline rapt::Problem problem_of(const rapt::ConstTensor& q, const rapt::ConstTensor& k,
                                const rapt::ConstTensor& v,
                                const rapt::Mask& mask = rapt::Mask::none()) {
  rapt::Problem problem;
  problem.batch = q.extents[0];
  problem.q_tokens = q.extents[1];
  problem.kv_tokens = k.extents[1];
  problem.q_heads = q.extents[2];
  problem.kv_heads = k.extents[2];
  problem.head_dim = q.extents[3];
  problem.v_head_dim = v.extents[3];
  problem.mask = mask;
  return problem;
}

/// o [B, Tq, Hq, Dv] of one call.
inline Tensor attention(const rapt::Problem& problem, const rapt::Inputs& inputs, int threads = 1) {
  const rapt::KvSource source =
      inputs.cache == nullptr ? rapt::KvSource::kTensors : rapt::KvSource::kCache;
  const rapt::Plan plan = rapt::make_plan(problem, rapt::Threads(threads), source);
  Tensor o({problem.batch, problem.q_tokens, problem.q_heads, problem.value_dim()});
  rapt::Scratch scratch;
  rapt::run(plan, inputs, scratch, {.o = o, .lse = {}, .m = {}, .l = {}});
  return o;
}

/// Sets the token `t` of sequence `b` of a tensor [B, T, H, D] to NaN.
inline void poison(Tensor& x, std::int64_t b, std::int64_t t) {
  const std::int64_t token = x.extents[2] * x.extents[3];
  std::fill_n(x.data.begin() + (b * x.extents[1] + t) * token, token,
              std::numeric_limits<float>::quiet_NaN());
}

/// Equality in bits of token `t` of sequence `b`.
inline bool same_token(const Tensor& x, const Tensor& y, std::int64_t b, std::int64_t t) {
  const std::int64_t token = x.extents[2] * x.extents[3];
  const std::int64_t first = (b * x.extents[1] + t) * token;
  return std::memcmp(&x.data[first], &y.data[first], token * sizeof(float)) == 0;
}

/// [B, Hq, Tq, Tk]: the weights that every query gives every key, or the scores they come from.
inline Tensor weights(const rapt::Problem& problem, const rapt::Inputs& inputs,
                      rapt::RowKind kind = rapt::RowKind::kWeights) {
  Tensor a({problem.batch, problem.q_heads, problem.q_tokens, problem.kv_tokens});
  std::vector<std::int64_t> rows(problem.q_tokens);
  for (std::int64_t i = 0; i < problem.q_tokens; ++i) rows[i] = i;
  rapt::Scratch scratch;
  rapt::attention_rows(rapt::make_plan(problem, rapt::Threads(1)), inputs, scratch, rows, a, kind);
  return a;
}

inline std::string percent(double x) { return std::to_string(std::lround(100 * x)) + "%"; }

/// What the mask is, how much it shows, and its picture: a line a query, a column a key.
inline void print_mask(const std::string& title, const rapt::Problem& p) {
  const std::int64_t pairs = p.batch * p.q_heads * p.q_tokens * p.kv_tokens;
  std::printf("\n%s: %s, %lld of %lld pairs\n\n    ", title.c_str(), p.mask.describe().c_str(),
              static_cast<long long>(p.visible_pairs()), static_cast<long long>(pairs));
  const std::string picture = rapt::Mask::draw(p);
  for (std::size_t n = 0; n + 1 < picture.size(); ++n)
    std::fputs(picture[n] == '\n' ? "\n    " : std::string(1, picture[n]).c_str(), stdout);
  std::puts("\n");
}

inline void print_shape(const char* name, const rapt::Dims& d) {
  std::printf("%-14s [%lld, %lld, %lld, %lld]\n", name, static_cast<long long>(d[0]),
              static_cast<long long>(d[1]), static_cast<long long>(d[2]),
              static_cast<long long>(d[3]));
}

/// Prints each statement with whether it holds; the program exits with 1 if one does not.
class Proof {
 public:
  void operator()(bool holds, const std::string& statement) {
    std::printf("%s %s\n", holds ? "[ok]    " : "[FAILED]", statement.c_str());
    failed_ = failed_ || !holds;
  }
  int exit_code() const { return failed_ ? 1 : 0; }

 private:
  bool failed_ = false;
};

}  // namespace example
