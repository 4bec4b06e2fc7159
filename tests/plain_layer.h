#pragma once

// The multi-head layer in plain loops over any real type, for f64 truth and for the error of f32.

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "attention/reference.h"
#include "plain_linear.h"
#include "rapt/layer.h"

namespace rapt::test {

template <class Real>
using Matrix = std::vector<std::vector<Real>>;

/// Rows of x W^T + b.
template <class Real>
Matrix<Real> project(const Matrix<Real>& x, const AnyConstTensor& w, const ConstTensor& bias) {
  Matrix<Real> y;
  for (const std::vector<Real>& row : x) {
    y.emplace_back();
    for (std::int64_t n = 0; n < w.extents[2]; ++n) {
      Real sum = bias.data == nullptr ? 0 : static_cast<Real>(bias.at(0, 0, 0, n));
      for (std::int64_t e = 0; e < w.extents[3]; ++e)
        sum += row[e] * static_cast<Real>(w.at(0, 0, n, e));
      y.back().push_back(sum);
    }
  }
  return y;
}

/// Turns every head of every row; row t stands at position first + t of `length` tokens.
template <class Real>
void rotate(const std::optional<Rotary>& rotary, std::int64_t dim, std::int64_t first,
            std::int64_t length, Matrix<Real>& x) {
  if (!rotary) return;
  for (std::size_t t = 0; t < x.size(); ++t) {
    const RotaryTable turn = rotary->table({first + static_cast<std::int64_t>(t)}, {length});
    const bool half = turn.config.style == RotaryStyle::kHalf;
    for (std::size_t head = 0; head < x[t].size(); head += dim)
      for (std::int64_t i = 0; i < turn.pairs(); ++i) {
        Real& a = x[t][head + (half ? i : 2 * i)];
        Real& b = x[t][head + (half ? i + turn.pairs() : 2 * i + 1)];
        const Real x0 = a, x1 = b, cos = turn.cos[i], sin = turn.sin[i];
        a = x0 * cos - x1 * sin;
        b = x1 * cos + x0 * sin;
      }
  }
}

/// An RMS norm of every run of `weight`'s size in every row.
template <class Real>
void norm(const ConstTensor& weight, float eps, Matrix<Real>& x) {
  if (weight.data == nullptr) return;
  const std::int64_t size = weight.extents[3];
  for (std::vector<Real>& row : x)
    for (std::size_t begin = 0; begin < row.size(); begin += size) {
      Real squares = 0;
      for (std::int64_t e = 0; e < size; ++e) squares += row[begin + e] * row[begin + e];
      const Real r = 1 / std::sqrt(squares / static_cast<Real>(size) + static_cast<Real>(eps));
      for (std::int64_t e = 0; e < size; ++e)
        row[begin + e] *= r * static_cast<Real>(weight.at(0, 0, 0, e));
    }
}

/// A score, changed by softcap and ALiBi.
template <class Real>
Real modified(const ScoreModifiers& modifiers, std::int64_t h, std::int64_t distance, Real s) {
  if (modifiers.softcap) {
    const Real cap = *modifiers.softcap;
    s = cap * std::tanh(s / cap);
  }
  if (!modifiers.alibi_slopes.empty())
    s -= static_cast<Real>(modifiers.alibi_slopes[h]) * static_cast<Real>(std::abs(distance));
  return s;
}

/// The layer as a textbook has it, of one sequence without padding: T rows of y.
///
/// @pre  every query sees a key
template <class Real>
Matrix<Real> plain_layer(const MultiHeadAttention::Config& c, const MultiHeadAttention::Weights& w,
                         const ReferenceMask& mask, const Matrix<Real>& x,
                         const Matrix<Real>& memory) {
  Matrix<Real> q = project(x, w.q, w.q_bias), k = project(memory, w.k, w.k_bias);
  const Matrix<Real> v = project(memory, w.v, w.v_bias);
  const auto queries = static_cast<std::int64_t>(x.size()),
             keys = static_cast<std::int64_t>(memory.size());
  norm(w.q_norm, c.norm_eps, q);
  norm(w.k_norm, c.norm_eps, k);
  rotate(c.rotary, c.head_dim, keys - queries, keys, q);
  rotate(c.rotary, c.head_dim, 0, keys, k);
  Problem shape;  // for visibility
  shape.q_tokens = queries;
  shape.kv_tokens = keys;
  const Real scale = c.scale ? *c.scale : 1 / std::sqrt(static_cast<Real>(c.head_dim));
  Matrix<Real> o(queries, std::vector<Real>(c.q_heads * c.v_head_dim));
  for (std::int64_t i = 0; i < queries; ++i)
    for (std::int64_t h = 0; h < c.q_heads; ++h) {
      const std::int64_t g = h / (c.q_heads / c.kv_heads);
      Real sum = 0;
      for (std::int64_t j = 0; j < keys; ++j) {
        if (!reference_visible(shape, mask, 0, h, i, j)) continue;
        Real dot = 0;
        for (std::int64_t e = 0; e < c.head_dim; ++e)
          dot += q[i][h * c.head_dim + e] * k[j][g * c.head_dim + e];
        const Real p = std::exp(modified(c.modifiers, h, keys - queries + i - j, scale * dot));
        sum += p;
        for (std::int64_t e = 0; e < c.v_head_dim; ++e)
          o[i][h * c.v_head_dim + e] += p * v[j][g * c.v_head_dim + e];
      }
      for (std::int64_t e = 0; e < c.v_head_dim; ++e) o[i][h * c.v_head_dim + e] /= sum;
    }
  return project(o, w.o, w.o_bias);
}

template <class Real>
Matrix<Real> rows_of(const ConstTensor& x, std::int64_t b) {
  Matrix<Real> rows(x.extents[2]);
  for (std::int64_t t = 0; t < x.extents[2]; ++t)
    for (std::int64_t e = 0; e < x.extents[3]; ++e) rows[t].push_back(x.at(0, b, t, e));
  return rows;
}

}  // namespace rapt::test
