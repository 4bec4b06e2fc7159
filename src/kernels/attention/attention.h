#pragma once

#include <cstdint>
#include <type_traits>

#include "base/isa.h"
#include "rapt/dtype.h"

namespace rapt {

/// Keys in a chunk, and in a group: the canonical order's C and its lanes.
inline constexpr int kChunkKeys = 512;
inline constexpr int kGroupKeys = 16;
inline constexpr int kChunkGroups = kChunkKeys / kGroupKeys;

/// Groups of the next chunk that a stream of pages knows, to fetch them ahead.
inline constexpr int kAheadGroups = 8;

/// Query rows in a tile: a multiple of every instruction set's register tile.
inline constexpr int kTileQueries = 48;

/// A tile is computed in strips: 12 rows, a multiple of every register tile, whose scores stay in L1
/// from one product to the next. A stream is one strip of up to 16 rows.
inline constexpr int kStripQueries = 12;
inline constexpr int kStreamQueries = 16;
inline constexpr int kMostStripQueries = kStreamQueries;

/// A stream of so few rows goes through values once.
inline constexpr int kFewStreamRows = 2;

/// Groups of a plain tensor's keys that a stream packs at a time: they stay in L1.
inline constexpr int kRowGroups = 2;

/// Floats between the rows of a score buffer: a chunk, padded so that rows do not share cache sets.
inline constexpr int kScoreStride = kChunkKeys + 16;

/// Whether the elements T of a cache have scales: is_quantised of their type.
template <class T>
inline constexpr bool kIsQuantised = std::is_same_v<T, std::int8_t> || std::is_same_v<T, F8E4M3>;

/// Keys of a chunk, one bit each.
struct KeyBits {
  std::uint64_t words[kChunkKeys / 64];

  /// The bits of group `g`, in the low 16.
  std::uint32_t group(int g) const {
    return static_cast<std::uint32_t>(words[g / 4] >> (g % 4 * kGroupKeys)) & 0xFFFF;
  }
  bool has(int key) const { return (words[key / 64] >> (key % 64) & 1) != 0; }
};

/// Elements [key][feature] of one type in memory.
struct KeyRows {
  const void* data;
  std::int64_t key_stride, feature_stride;  ///< in elements
  int keys;
  std::int64_t dim;
};

/// Where 16 keys and their values lie.
struct KvGroup {
  const void* k;  ///< [head_dim][16], or rows
  const void* v;  ///< [16][v_row]
};

/// One strip of a tile against one chunk of keys of one kv head.
///
/// Row r sees the keys of `visible[r]`, and no other. The kernels know no mask, cache or model. What
/// a row does not see never reaches its m, l or acc, not even as NaN.
///
/// @shape  q [rows, head_dim], scaled;
///         k tiles [group of 16 keys][head_dim][16 keys]; v [keys, v_row];
///         s [rows, kScoreStride]; m, l [rows]; acc [rows, v_stride].
struct AttentionTile {
  bool stream;  ///< k and v come from memory and are read once, in order; else from a cache
  int rows;
  std::int64_t head_dim;
  std::int64_t v_stride;  ///< Dv rounded up to 16
  std::int64_t v_row;     ///< elements from a value to the next
  const float* q;
  DType dtype;  ///< of k and v, of v alone with `k_rows`; f32 unless `stream`, or native bf16
  const void* k;
  const void* v;
  std::uint32_t nonfinite_groups;  ///< bit g, seen in part: v rows 16 g .. may hold Inf or NaN
  const std::uint32_t* seen;       ///< [rows] bit g: the row sees a key of group g
  const std::uint32_t* whole;      ///< [rows] bit g: it sees all 16
  const KeyBits* visible;          ///< [rows] read only in groups that some row sees in part
  float* s;                        ///< scores, then weights p
  float* lane_max;                 ///< [rows, 16], running maximum of the scores in each lane
  float* m;
  float* l;
  float* acc;

  // Keys and values of a stream that lie in pages or in rows, instead of k and v: [kChunkGroups]. Of
  // pages kAheadGroups more, the next chunk's; beyond the last key each is the one before it.
  const KvGroup* groups = nullptr;

  // How keys lie that are streamed from rows, at `groups`: packed as they are used, kRowGroups groups
  // at a time.
  const KeyRows* k_rows = nullptr;
  DType k_dtype = DType::kF32;
  float* k_packed = nullptr;

  // [kChunkKeys] Of quantised keys and values: a finished score is times its key's scale, and a weight,
  // once it is in l, times its value's.
  const float* k_scales = nullptr;
  const float* v_scales = nullptr;

  // Of native bf16: q holds what `scale_query` made, k and v are bf16, in pairs unless `stream`, and s
  // holds p rounded.
  float scale = 1.0f;  ///< of the finished score
};

/// What changes the scores of a tile before the softmax, in this order. Null pointers change nothing.
///
///     s := cap tanh(s / cap) log2 e            where `softcap` > 0 (s then comes in natural units)
///     s := fma(slope[r], |q_position[r] - k_position[j]|, s)       slope = -slope log2 e
///     s := fma(bias[r][j], log2 e, s)          for the relative, then for the additive bias; the
///                                              nearest finite number where s and bias are finite
struct ScoreChanges {
  float softcap = 0.0f;
  const float* slope = nullptr;                 ///< [rows]
  const float* q_position = nullptr;            ///< [rows]
  const float* k_position = nullptr;            ///< [kChunkKeys]
  const float* const* relative_bias = nullptr;  ///< [rows] each [kChunkKeys]
  const float* const* additive_bias = nullptr;  ///< [rows] each [kChunkKeys]
};

/// (m, l, acc) of some rows, the value of a node of the merge tree.
struct StateRows {
  float* m;
  float* l;
  float* acc;  ///< [rows, v_stride]
};

/// The kernels that read elements of one type. Same type to same type copies bits.
struct ReadKernels {
  /// Step 2: q[e] = scale x[e stride].
  void (*scale_query)(const void* x, std::int64_t stride, std::int64_t dim, float scale,
                      float* q) noexcept;

  /// Keys to tiles [group][dim][16] of a type; lanes of the last group beyond the keys are 0.
  void (*pack_keys[kDTypes])(const KeyRows& k, void* out) noexcept;

  /// Values to rows of a type, `v_stride` apart, features beyond `dim` 0; returns the groups that
  /// are not finite there.
  std::uint32_t (*pack_values[kDTypes])(const KeyRows& v, std::int64_t v_stride,
                                        void* out) noexcept;

  /// Whether all elements of v are finite.
  /// @pre  features lie side by side, a multiple of 16
  bool (*all_finite)(const KeyRows& v) noexcept;
};

/// The layout of native bf16, which VDPBF16PS multiplies: pairs of features and of keys. What
/// is packed is padded with 0: keys to a multiple of 16, features of k and keys of v to a multiple of 2.
///
/// @shape  k tiles [group of 16 keys][pair of features][16 keys][2]; v [pair of keys][v_stride][2]
struct PairKernels {
  /// From elements of bf16; pack_values returns the groups that are not finite.
  void (*pack_keys)(const KeyRows& k, void* out) noexcept;
  std::uint32_t (*pack_values)(const KeyRows& v, std::int64_t v_stride, void* out) noexcept;

  /// From a cache's tiles of bf16: `keys` is a multiple of 16.
  void (*pair_keys)(const void* tiles, std::int64_t keys, std::int64_t dim, void* out) noexcept;
  void (*pair_values)(const void* rows, std::int64_t keys, std::int64_t v_stride,
                      void* out) noexcept;
};

/// The attention kernels of one instruction set. All give the same bits: docs/numerics.md.
struct AttentionKernels {
  Isa isa;
  int tile_rows;  ///< rows of the register tile, for explain()
  ReadKernels read[kDTypes];

  const ReadKernels& reading(DType dtype) const { return read[static_cast<int>(dtype)]; }

  /// to[i] = from[i], i < count, a multiple of 16; of a cache's type, without its scales.
  void (*widen[kCacheTypes])(const void* from, std::int64_t count, float* to) noexcept;

  /// Steps 2 and 3, the scores: s = q k^T in units of log2, -inf where hidden; lane_max.
  void (*scores)(const AttentionTile& tile) noexcept;

  /// Step 3, the modifiers: changes s and lane_max where visible.
  void (*change_scores)(const AttentionTile& tile, const ScoreChanges& changes) noexcept;

  /// Step 4, first half: m = ceil(max), s := p = 2^(s - m), l = sum p.
  void (*softmax)(const AttentionTile& tile) noexcept;

  /// Step 4, second half: acc = p v. Panels of features go through all keys; in a stream a few keys
  /// at a time go through all features.
  void (*values)(const AttentionTile& tile) noexcept;

  /// Step 5: merges `count` nodes into `into`, first side first.
  void (*merge)(std::int64_t rows, std::int64_t v_stride, const StateRows* sides, int count,
                const StateRows& into) noexcept;

  /// Step 6: joins the logit sinks[r], in units of log2, that has no value.
  void (*join_sinks)(std::int64_t rows, std::int64_t v_stride, const float* sinks,
                     const StateRows& state) noexcept;

  /// Step 6: acc := o = acc / l and lse = (m + log2 l) ln 2; l := 0x7FC00000 if it is NaN.
  void (*finish)(std::int64_t rows, std::int64_t v_stride, const StateRows& state,
                 float* lse) noexcept;

  /// p[j] = 2^(s[j] - m) / l for the keys j of the groups in `seen`.
  void (*weights)(const float* s, std::uint32_t seen, float m, float l, float* p) noexcept;

  PairKernels pairs{};  ///< native bf16's alone
};

/// The kernels for `isa`, or for the best instruction set below it.
const AttentionKernels& attention_kernels(Isa isa);

}  // namespace rapt
