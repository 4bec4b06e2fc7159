#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rapt/model.h"
#include "rapt/observe.h"
#include "rapt/observer.h"
#include "rapt/threads.h"

namespace rapt {

/// Adds what a layer of a session attends to, to the statistics of its earlier tokens: to be called by
/// an AttentionObserver. Its q and the pages of its cache are read where they are.
///
/// @param  options by token of the whole text, of as many or more than the session has taken so far:
///         tokens, token_class, links and key_weights [1, 1, Hq, T]. A link to a key that is yet to
///         come is none.
/// @throws Error as add_observed; Error{kBadArgument} if a list is shorter than the text so far.
void add_observed(const LayerAttention& layer, const ObserveOptions& options,
                  const Threads& threads, Scratch& scratch, HeadStatistics& statistics);

/// Statistics of every layer of a model on a text, [layers]: one run of the model. Without
/// options.tokens they are the text's.
/// @throws Error as Session and add_observed.
std::vector<HeadStatistics> observe_layers(const Model& model, std::span<const std::int32_t> text,
                                           const ObserveOptions& options, const Threads& threads);

}  // namespace rapt
