#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "rapt/head_interventions.h"
#include "rapt/model.h"
#include "rapt/observer.h"
#include "rapt/tensor.h"
#include "rapt/threads.h"

namespace rapt {

/// Which tokens' logits a call returns.
enum class Logits {
  kLast,  ///< the last token's: what generation needs
  kAll,   ///< every token's: losses
};

/// One sequence in a model: its KV cache, its working memory, its length. Of an encoder-decoder it is
/// the decoder's, and `encode` comes first.
///
/// Logits have the same bits for any number of threads, any cut of the prompt into calls, and for
/// prefill and decode (docs/numerics.md). Not thread-safe; sessions of one model are independent.
class Session {
 public:
  /// A session for up to `capacity` tokens; 0 means the model's context(). It is also the length
  /// that dynamic NTK and LongRoPE scale positions for (see rotary.h).
  /// @throws Error{kBadArgument} if capacity is negative or above the model's context();
  ///         Error{kOutOfMemory}.
  explicit Session(const Model& model, const Threads& threads = Threads(),
                   std::int64_t capacity = 0);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  std::int64_t length() const;      ///< tokens taken so far
  std::int64_t capacity() const;    ///< tokens that fit in all
  std::size_t cache_bytes() const;  ///< of all of them, as they come, and of what `encode` keeps

  /// Takes the whole input of an encoder-decoder's encoder, and keeps the keys and values of its
  /// output that each layer of the decoder attends to. The session has no tokens then.
  ///
  /// @throws Error{kBadArgument} if the model has no encoder, there is no token, one is outside the
  ///         vocabulary, or there are more than the encoder's positions; Error{kOutOfMemory}. The
  ///         session is then as it was before.
  /// @cost   the encoder on all tokens, then a token's keys and values a layer; cache_bytes grows.
  void encode(std::span<const std::int32_t> tokens);

  /// Takes `tokens` and returns logits [1, 1, 1 or T, vocab_size], which live until the next call.
  ///
  /// @throws Error{kBadArgument} if there is no token, one is outside the vocabulary, the context
  ///         has no room for all of them, or an encoder-decoder has no encoder's input;
  ///         Error{kOutOfMemory}. The session is then as it was before.
  ConstTensor prefill(std::span<const std::int32_t> tokens, Logits which = Logits::kLast);

  /// Takes one token and returns the logits of the next, [1, 1, 1, vocab_size].
  /// @throws Error as prefill.
  /// @cost   2 flops a weight; allocates O(layers) small blocks, for the plan.
  ConstTensor decode(std::int32_t token) { return prefill({&token, 1}); }

  /// Forgets the tokens from `length` on.
  /// @throws Error{kBadArgument} if length is negative or above the present one.
  void truncate(std::int64_t length);

  /// From now on `observer` is called for every layer and every block of tokens, in order, within
  /// prefill and decode; an empty one ends it. It must not use the session, and what it throws
  /// leaves the session as it was before the call.
  /// @cost   a copy of q and o a layer; without an observer none.
  void observe(AttentionObserver observer);

  /// From now on the outputs of the heads named are changed before W_O; an empty value ends it. Keys
  /// and values of tokens taken before stay. An observer sees the changed outputs.
  /// @throws Error{kBadArgument, kBadShape} as HeadInterventions::check. A call that takes a position
  ///         beyond its positions() throws Error{kBadArgument}.
  void intervene(HeadInterventions interventions);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rapt
