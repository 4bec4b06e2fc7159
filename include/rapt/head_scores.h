#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rapt/head_interventions.h"
#include "rapt/model.h"
#include "rapt/threads.h"

namespace rapt {

/// What a head may be doing: a place that its weights A_ij are on. x_j is the token of key j.
enum class HeadRole {
  kPreviousToken,   ///< A at i - j = 1
  kDuplicateToken,  ///< mass on j < i with x_j = x_i
  kInduction,       ///< mass on j <= i with x_(j - 1) = x_i: what followed the token before
  kSink,            ///< mass on the first token of a window
  kLocal,           ///< mass on the eight last tokens, the query's own among them
  kBroad,           ///< entropy over that of equal weights on all it sees
  kSentenceStart,   ///< mass on tokens of HeadScoreOptions::token_class
  kBracket,         ///< A at HeadScoreOptions::links of the query
};

inline constexpr int kHeadRoles = 8;

/// "previous token", "duplicate token", and so on.
const char* name(HeadRole role);

/// What head_scores is told of a text.
struct HeadScoreOptions {
  std::int64_t context = 0;  ///< tokens of a window, with its beginning; 0: the model's context

  /// By token of the text, or empty: whether it is of the class of kSentenceStart, and the token
  /// that it is linked to, or -1, for kBracket. Links into another window or to a later token do
  /// not count, and the first token of a window is of no class: it is the sink's.
  std::vector<std::uint8_t> token_class;
  std::vector<std::int64_t> links;

  HeadInterventions interventions = {};  ///< of the run that is looked at
  bool similarity = false;               ///< fill HeadScores::similarity, too
};

/// How strongly each head of a model does each of them, on one text.
struct HeadScores {
  std::int64_t layers = 0, heads = 0;
  std::vector<double> scores = {};   ///< [roles, L, Hq], within [0, 1]; NaN where no row counts
  std::vector<double> chances = {};  ///< the same by chance
  std::vector<double> entropy = {};  ///< [L, Hq] mean of a row's, in nats

  /// [L, Hq, Hq] how alike two heads of a layer attend, sum sqrt(A B), mean over the rows that see
  /// more than one key; or empty. 1 is the same weights (see head_similarity.h).
  std::vector<double> similarity = {};

  std::vector<std::int64_t> rows = {};  ///< [roles, L, Hq] those that count

  double score(HeadRole role, HeadIndex head) const { return scores[index(role, head)]; }

  /// What attention without preferences gives: equal weights on all that the mask shows. 1 for
  /// kBroad.
  double chance(HeadRole role, HeadIndex head) const { return chances[index(role, head)]; }

  std::int64_t rows_of(HeadRole role, HeadIndex head) const { return rows[index(role, head)]; }

 private:
  std::size_t index(HeadRole role, HeadIndex head) const {
    return static_cast<std::size_t>(
        (static_cast<std::int64_t>(role) * layers + head.layer) * heads + head.head);
  }
};

/// Scores of all heads: means over the rows of a text that count for the role (see observe.h). A
/// text longer than the context is cut into windows that do not overlap, each with `beginning`
/// before it; its figures are means over all of them. For kSentenceStart all rows of a text count
/// that has such a token, those before the first one too.
///
/// The same bits for any number of threads and every instruction set.
/// @throws Error{kBadArgument} if there is no token, context is out of range, or a list of the
///         options has another length than the text, or the model gives NaN, naming the head; Error
///         as Session::prefill and intervene.
/// @cost   the model without its head, and a pass over all scores, one more for each different
///         mask; with similarity two more, and 8 flops for each pair of heads and of tokens.
/// @source as observe.h
HeadScores head_scores(const Model& model, const Threads& threads,
                       std::span<const std::int32_t> beginning,
                       std::span<const std::int32_t> tokens, const HeadScoreOptions& options = {});

}  // namespace rapt
