#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "rapt/kv_cache.h"
#include "rapt/tensor.h"

namespace rapt {

/// A KV cache in pages, of many sequences and of all layers of a model.
///
/// A page holds keys and values of `page_size` consecutive slots, for every layer and kv head, as
/// the kernels' tiles. A sequence is a list of pages; sequences that share a prefix share its pages,
/// which are counted, and copied when one of the sharers writes into them. Pages are taken from
/// the system as they are first needed and kept; never more than `pages`.
///
/// Quantised types keep a scale for every token and head, of keys and of values:
///
///     scale = max_e |x_e| / M, in f32;  element = nearest(x_e / scale), ties to even
///     x_e is read as element * scale;   M = 127 (int8), 448 (fp8 e4m3)
///
/// A token of zeros has scale 0, and so has one whose scale is too small for f32; one that holds Inf
/// or NaN has scale NaN. Elements are 0 then. Where the largest |x_e| is within 2^-24 of f32's, it
/// may be read as Inf.
///
/// With `v_in_k` a token's values are the first Dv features of its key (latent attention: D 576, Dv
/// 512), and are kept there alone, in rows of tokens; keys are transposed as they are read.
///
/// Tokens are appended in two steps, since layers compute theirs one after the other: `extend`
/// makes room in every layer, the only step that needs pages, then `store` writes each layer's. Not
/// thread-safe; layers may be read and attended to from several threads while nothing is written.
///
/// @cost  page_bytes() a page: layers Hkv (D + Dv rounded up to 16) elements a token, 8 bytes a token
///        and head of quantised types, and for each layer and head a cache line; keys, values and
///        scales of a page's head are rounded up to cache lines. With v_in_k, layers Hkv (D rounded
///        up to 16) elements a token.
/// @source arXiv:2309.06180 (pages)
class PagedKvCache {
 public:
  struct Shape {
    std::int64_t layers = 1;
    std::int64_t kv_heads = 1;
    std::int64_t head_dim = 0;
    std::int64_t v_head_dim = 0;   ///< 0 means head_dim
    std::int64_t page_size = 256;  ///< tokens, a multiple of 16
    std::int64_t pages = 0;        ///< that exist at most, below 2^31
    DType dtype = DType::kF32;     ///< of the keys and values that are stored
    bool v_in_k = false;  ///< values are the first v_head_dim features of keys; no quantised dtype
  };

  /// @throws Error{kBadArgument} naming the field, Error{kOutOfMemory}.
  explicit PagedKvCache(const Shape& shape);
  ~PagedKvCache();
  PagedKvCache(PagedKvCache&&) noexcept;
  PagedKvCache& operator=(PagedKvCache&&) noexcept;

  /// Bytes of one page of this shape; `pages` does not matter.
  /// @throws Error{kBadArgument} as the constructor.
  static std::size_t page_bytes(const Shape& shape);

  const Shape& shape() const;           ///< with v_head_dim filled in
  std::int64_t free_pages() const;      ///< that a sequence can still take
  std::int64_t sequences() const;       ///< that live
  std::size_t allocated_bytes() const;  ///< taken from the system so far

  /// A new sequence without tokens. Ids are not used again.
  std::int64_t create();

  /// A new sequence that shares the first `tokens` of another.
  /// @throws Error{kBadArgument} if there is no such sequence or it is shorter.
  /// @cost   O(pages), no copy.
  std::int64_t fork(std::int64_t sequence, std::int64_t tokens);

  /// Ends a sequence; pages that no other shares are free again.
  /// @throws Error{kBadArgument} if there is no such sequence.
  void free(std::int64_t sequence);

  bool has(std::int64_t sequence) const;
  std::int64_t length(std::int64_t sequence) const;  ///< @pre has(sequence)

  /// Pages that `extend` by `tokens` would take, the copy of a shared last page included.
  /// @throws Error{kBadArgument} if there is no such sequence or tokens is not 0 to 2^40.
  std::int64_t pages_needed(std::int64_t sequence, std::int64_t tokens) const;

  /// Pages that would be free again if all of these sequences ended.
  /// @throws Error{kBadArgument} if there is no such sequence.
  /// @cost   O(their pages).
  std::int64_t pages_freed(std::span<const std::int64_t> sequences) const;

  /// Makes a sequence longer by tokens whose keys and values are unspecified until they are
  /// stored. A last page that is shared is copied first.
  /// @throws Error{kBadArgument} as pages_needed; Error{kOutOfMemory} if there are not enough free
  ///         pages, or the system has no memory. Then nothing has changed.
  void extend(std::int64_t sequence, std::int64_t tokens);

  /// Writes keys and values of one layer at slots [first, first + T), tensors of any type: those of
  /// the cache's are copied bit for bit, others rounded once, or quantised.
  ///
  /// @pre    The slots were made by `extend` since the sequence was last forked from or to.
  /// @shape  k [1, T, Hkv, D]   v [1, T, Hkv, Dv]
  /// @throws Error{kBadShape}; Error{kBadArgument} if there is no such layer or sequence, it has
  ///         not these slots, or a page is shared; with v_in_k.
  void store(std::int64_t layer, std::int64_t sequence, std::int64_t first, const AnyConstTensor& k,
             const AnyConstTensor& v);

  /// The same with v_in_k, and only there: k has the values.
  void store(std::int64_t layer, std::int64_t sequence, std::int64_t first,
             const AnyConstTensor& k);

  /// Forgets the tokens from `length` on; pages that are then not used are free again.
  /// @throws Error{kBadArgument} if there is no such sequence, or length is not 0 to the present one.
  void truncate(std::int64_t sequence, std::int64_t length);

  /// Copies the first tokens of a layer out: to the cache's type bit for bit, to others rounded
  /// once. Of quantised types it gives element * scale in f32, rounded to the tensor's type.
  /// @shape  k [1, T, Hkv, D]   v [1, T, Hkv, Dv]
  /// @throws Error{kBadShape}; Error{kBadArgument} if there is no such layer or sequence, or it has
  ///         fewer than T tokens.
  void read(std::int64_t layer, std::int64_t sequence, const AnyTensor& k,
            const AnyTensor& v) const;

  /// One layer, for attention. Lives as long as the cache, and moves with it.
  /// @throws Error{kBadArgument} if there is no such layer.
  const KvTiles& layer(std::int64_t layer) const;

 private:
  void store_checked(std::int64_t layer, std::int64_t sequence, std::int64_t first,
                     const AnyConstTensor& k, const AnyConstTensor& v);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rapt
