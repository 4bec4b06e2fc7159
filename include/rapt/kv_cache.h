#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "rapt/tensor.h"

namespace rapt {

/// Strides, in elements, of keys and values that lie in rows, [token][feature].
struct KvRowStrides {
  std::int64_t k_token, k_feature, v_token, v_feature;
};

/// Keys and values of consecutive slots of one kv head: in the layout that the kernels read, or where
/// KvTiles::Extents has strides, in rows of tokens.
///
/// k: tiles [group of 16 keys][feature][16 keys]; v: rows [key][Dv rounded up to 16].
struct KvTile {
  DType dtype;
  const void* k;
  const void* v;
  std::uint32_t nonfinite_groups;   ///< bit g: value rows 16 g .. 16 g + 15 may hold Inf or NaN;
                                    ///< not read of rows of tokens
  const float* k_scales = nullptr;  ///< [keys] of quantised types: what a key's elements are times
  const float* v_scales = nullptr;
};

struct HeadTiles;

/// Keys and values of sequences, as attention reads them, whatever keeps them.
class KvTiles {
 public:
  virtual ~KvTiles() = default;

  struct Extents {
    std::int64_t kv_heads, head_dim, v_head_dim;
    DType dtype;
    std::optional<KvRowStrides> rows{};  ///< where tokens lie in rows, not in tiles
  };
  virtual Extents extents() const = 0;

  /// Whether there is such a sequence; its tokens.
  virtual bool has(std::int64_t sequence) const = 0;
  virtual std::int64_t length(std::int64_t sequence) const = 0;

  /// Slots that lie one after the other, from each multiple of so many on: a multiple of 16, or in
  /// rows any number.
  virtual std::int64_t tile_slots() const = 0;

  /// The tile of one head from `slot` on, a multiple of 16, in rows any, up to the next multiple of
  /// tile_slots(). Slots at or beyond length() hold unspecified values.
  virtual KvTile tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t slot) const = 0;

  /// Slots from 0 on that two sequences have in the same memory: all of them if they are one.
  virtual std::int64_t shared_slots(std::int64_t a, std::int64_t b) const {
    return a == b ? length(a) : 0;
  }

  /// The first of slots [begin, end) that lies nowhere, or `end`. Attention asks before it writes
  /// anything, and refuses a missing slot that some row sees.
  virtual std::int64_t first_missing(std::int64_t /*sequence*/, std::int64_t /*begin*/,
                                     std::int64_t end) const {
    return end;
  }

  /// @throws Error{kBadArgument} that says why a slot lies nowhere.
  virtual void refuse_missing(std::int64_t sequence, std::int64_t slot) const;
};

/// A dense KV cache: for every sequence and kv head, room for `capacity` keys and values, stored as
/// the kernels' tiles. New keys are stored first and attention reads only what is stored.
///
/// With `v_in_k` a token's values are the first Dv features of its key (latent attention: D 576, Dv
/// 512), and are kept there alone, in rows of tokens; keys are transposed as they are read.
///
/// @cost  B Hkv (D + Dv rounded up to 16) elements of `dtype` a token, `capacity` rounded up to 16
///        tokens; with v_in_k, B Hkv (D rounded up to 16).
class DenseKvCache final : public KvTiles {
 public:
  struct Shape {
    std::int64_t batch = 1;
    std::int64_t kv_heads = 1;
    std::int64_t head_dim = 0;
    std::int64_t v_head_dim = 0;  ///< 0 means head_dim
    std::int64_t capacity = 0;    ///< tokens a sequence
    DType dtype = DType::kF32;    ///< of the keys and values that are stored; no quantised one
    bool v_in_k = false;          ///< values are the first v_head_dim features of keys
  };

  /// @throws Error{kBadArgument} naming the field, Error{kOutOfMemory}.
  explicit DenseKvCache(const Shape& shape);

  /// size_bytes() of a cache of this shape, without making it.
  /// @throws Error as the constructor.
  static std::size_t bytes_of(const Shape& shape);

  const Shape& shape() const { return shape_; }
  Extents extents() const override;
  bool has(std::int64_t sequence) const override;
  std::int64_t length(std::int64_t sequence) const override { return lengths_[sequence]; }
  std::size_t size_bytes() const { return size_bytes_; }

  /// Appends tokens of any type to every sequence. Those of the cache's type are copied bit for
  /// bit; others are rounded once: nearest, ties to even, infinity beyond the largest number.
  /// @shape  k [B, T, Hkv, D]   v [B, T, Hkv, Dv]
  /// @throws Error{kBadShape}; Error{kBadArgument} if a sequence would exceed the capacity: then
  ///         nothing was appended. Error{kBadArgument} with v_in_k.
  void append(const AnyConstTensor& k, const AnyConstTensor& v);

  /// The same with v_in_k, and only there: k has the values.
  void append(const AnyConstTensor& k);

  /// Appends tokens to one sequence.
  /// @shape  k [1, T, Hkv, D]   v [1, T, Hkv, Dv]
  /// @throws Error as above, and Error{kBadArgument} if there is no such sequence.
  void append(std::int64_t sequence, const AnyConstTensor& k, const AnyConstTensor& v);
  void append(std::int64_t sequence, const AnyConstTensor& k);

  /// Forgets the tokens of `sequence` from `length` on.
  /// @throws Error{kBadArgument} if there is no such sequence, or if length is negative or above
  ///         the present one.
  void truncate(std::int64_t sequence, std::int64_t length);

  /// Copies the first tokens of one sequence out again: to the cache's type bit for bit, to others
  /// as `append`.
  /// @shape  k [1, T, Hkv, D]   v [1, T, Hkv, Dv]
  /// @throws Error{kBadShape}; Error{kBadArgument} if there is no such sequence, or it has fewer
  ///         than T tokens.
  void read(std::int64_t sequence, const AnyTensor& k, const AnyTensor& v) const;

  /// The room of a sequence is one tile.
  std::int64_t tile_slots() const override;
  KvTile tile(std::int64_t sequence, std::int64_t kv_head, std::int64_t slot) const override;

 private:
  void append_all(const AnyConstTensor& k, const AnyConstTensor& v);
  void append_one(std::int64_t sequence, const AnyConstTensor& k, const AnyConstTensor& v);
  void store(std::int64_t sequence, std::int64_t source, const AnyConstTensor& k,
             const AnyConstTensor& v);
  void check_room(std::int64_t sequence, std::int64_t tokens) const;
  HeadTiles head(std::int64_t sequence, std::int64_t kv_head) const;

  struct Free {
    void operator()(std::byte* memory) const noexcept;
  };
  Shape shape_;
  std::int64_t head_bytes_ = 0;  // of k and v of one (sequence, kv head)
  std::size_t size_bytes_ = 0;
  std::unique_ptr<std::byte, Free> memory_;
  std::unique_ptr<std::uint32_t[]> nonfinite_;  // [sequence, kv head, chunk]
  std::vector<std::int64_t> lengths_;
};

}  // namespace rapt
