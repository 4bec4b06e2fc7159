#pragma once

// ONNX's Attention in terms of rapt: an adapter of its semantics, nothing more.

#include <algorithm>
#include <limits>

#include "onnx_cases.h"
#include "rapt/attention.h"
#include "util.h"

namespace rapt::test {

/// One case: its problem, and its tensors as [B, T, H, D].
struct OnnxAttention {
  Problem problem;
  Tensor q, k, v, bias;  ///< k and v: those of the past, then the new ones

  explicit OnnxAttention(const OnnxCase& c)
      : q(input(c, "Q", "q_num_heads")),
        k(after_past(c, "past_key", input(c, "K", "kv_num_heads"))),
        v(after_past(c, "past_value", input(c, "V", "kv_num_heads"))) {
    const Dims &qs = q.view.extents, &ks = k.view.extents;
    problem.batch = qs[0];
    problem.q_tokens = qs[1];
    problem.kv_tokens = ks[1];
    problem.q_heads = qs[2];
    problem.kv_heads = ks[2];
    problem.head_dim = qs[3];
    problem.v_head_dim = v.view.extents[3];
    if (c.attributes.contains("scale")) problem.scale = c.attributes["scale"].get<float>();
    const float softcap = c.attributes.value("softcap", 0.0f);
    if (softcap != 0.0f) problem.modifiers.softcap = softcap;
    if (c.has("nonpad_kv_seqlen"))
      for (const auto length : c.inputs.at("nonpad_kv_seqlen").values<std::int64_t>())
        problem.kv_ranges.push_back({0, length});
    if (c.attribute("is_causal", 0) != 0) set_causal(c);
    if (c.has("attn_mask")) set_mask(c.inputs.at("attn_mask"));
  }

  Inputs inputs() const { return {.q = q.view, .k = k.view, .v = v.view, .bias = bias.view}; }

  /// What `qk_matmul_output` shows: 0 the scaled product, 1 after the softcap, 2 after mask and
  /// bias, 3 after the softmax.
  Tensor matrix(std::int64_t mode) const {
    Problem shown = problem;
    if (mode < 2) {
      shown.mask = Mask::none();
      shown.modifiers.additive_bias = false;
    }
    if (mode < 1) shown.modifiers.softcap.reset();
    Inputs in = inputs();
    if (mode < 2) in.bias = {};
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < problem.q_tokens; ++i) rows.push_back(i);
    Tensor out({problem.batch, problem.q_heads, problem.q_tokens, problem.kv_tokens});
    Scratch scratch;
    attention_rows(make_plan(shown, Threads(1)), in, scratch, rows, out.view,
                   mode == 3 ? RowKind::kWeights : RowKind::kScores);
    return out;
  }

 private:
  static Tensor input(const OnnxCase& c, const char* name, const char* heads) {
    const NpyArray& array = c.inputs.at(name);
    const auto values = array.values<float>();
    const ConstTensor given = heads_of(array.shape, c.attribute(heads, 0), values.data());
    Tensor copied(given.extents);
    copy(given, copied.view);
    return copied;
  }

  static Tensor after_past(const OnnxCase& c, const char* name, Tensor fresh) {
    if (!c.has(name)) return fresh;
    const Tensor past = input(c, name, "");
    Dims extents = fresh.view.extents;
    const std::int64_t count = past.view.extents[1];
    extents[1] += count;
    Tensor all(extents);
    copy(past.view, tokens(all.view, 0, count));
    copy(fresh.view, tokens(all.view, count, fresh.view.extents[1]));
    return all;
  }

  /// Query i sees keys 0 .. i + offset. The offset is that of the last query at the last key with
  /// nonpad_kv_seqlen; it is the length of the past where there is one, and else 0.
  void set_causal(const OnnxCase& c) {
    const bool from_top = !c.has("nonpad_kv_seqlen") && !c.has("past_key");
    problem.mask = from_top ? Mask::causal_top_left() : Mask::causal();
    if (!c.has("past_key")) return;
    const std::int64_t past = c.inputs.at("past_key").shape[2];
    for (std::int64_t i = 0; i < problem.q_tokens; ++i) problem.q_positions.push_back(past + i);
  }

  /// Axes are those of [B, Hq, Tq, Tk] from the right. One that has fewer keys hides the others.
  void set_mask(const NpyArray& mask) {
    Dims extents = {1, 1, 1, 1};
    std::copy(mask.shape.begin(), mask.shape.end(), extents.end() - mask.shape.size());
    const auto values = mask.values<float>();
    const ConstTensor given(values.data(), extents);
    extents[3] = problem.kv_tokens;
    const bool keep = mask.dtype == "|b1";
    Tensor padded(extents);
    fill(padded.view, keep ? 0.0f : -std::numeric_limits<float>::infinity());
    for_each_index(given.extents, [&](auto b, auto h, auto i, auto j) {
      padded.view.at(b, h, i, j) = given.at(b, h, i, j);
    });
    if (!keep) {
      problem.modifiers.additive_bias = true;
      bias = std::move(padded);
      return;
    }
    std::vector<std::uint8_t> bits;
    for_each_index(extents, [&](auto b, auto h, auto i, auto j) {
      bits.push_back(padded.view.at(b, h, i, j) != 0.0f);
    });
    problem.mask = problem.mask & Mask::dense({bits.data(), extents});
  }
};

}  // namespace rapt::test
