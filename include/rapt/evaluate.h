#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "rapt/head_interventions.h"
#include "rapt/model.h"
#include "rapt/statistics.h"
#include "rapt/threads.h"

namespace rapt {

/// How a text of any length is cut into windows that fit the model's context.
///
/// With P the tokens that begin every window (a beginning-of-sequence token, mostly), window w is
/// those P and the text's tokens [w stride, w stride + context - P). The first window scores all of
/// its text, each later one only what no window before it held: its last `stride` tokens, fewer in
/// the last window where the text ends. So the loss of a token depends on tokens before it alone, at
/// least context - P - stride of them where the text has them. Where P is 0 the very first token has
/// nothing before it and is not scored.
struct EvaluationOptions {
  std::int64_t context = 0;  ///< tokens of a window, with its P; 0: the model's context
  std::int64_t stride = 0;   ///< 1 to context - max(P, 1); 0: half of `context`, or that limit
  /// Called after each window with the number of text tokens that are done.
  std::function<void(std::int64_t done)> progress;
  HeadInterventions interventions = {};  ///< of every window, in the model's heads
  /// Of an encoder-decoder: the tokens that its encoder reads. Every window then begins with the
  /// model's decoder_start_token_ids, and `beginning` unless they end with it.
  std::vector<std::int32_t> encoder_input = {};
};

/// The scored tokens of one window.
struct WindowLoss {
  std::int64_t tokens = 0;
  double nats = 0;  ///< sum of their -ln p
};

struct Evaluation {
  std::vector<double> nats;              ///< -ln p of every scored token, in order
  std::vector<WindowLoss> windows;       ///< the same by window
  std::int64_t context = 0, stride = 0;  ///< as used

  double total_nats() const;  ///< the sum of `nats`, in order
};

/// The loss of `model` on a text's `tokens`, with `beginning` before every window.
///
/// The same bits for any number of threads and every instruction set. Memory does not grow with the
/// text beyond 8 bytes a token and 16 a window.
///
/// @throws Error{kBadArgument} if no token can be scored, context or stride is out of range, a token
///         is outside the vocabulary, the model's logits are NaN, or an encoder's input is missing or
///         has no encoder; Error as Session::intervene and Session::encode.
/// @cost   the model on tokens.size() context / stride tokens.
Evaluation evaluate(const Model& model, const Threads& threads,
                    std::span<const std::int32_t> beginning, std::span<const std::int32_t> tokens,
                    const EvaluationOptions& options = {});

/// A 95% interval of nats a token: percentiles of 2000 means, each over as many windows as there
/// are, drawn with replacement by a fixed seed. Neighbouring windows are alike, and the interval
/// knows nothing of that: it is rather too narrow.
///
/// @throws Error{kBadArgument} if there are fewer than two windows, or one has no token or a NaN.
/// @source Efron, "Bootstrap methods: another look at the jackknife", 1979.
Interval bootstrap_interval(std::span<const WindowLoss> windows);

}  // namespace rapt
