#pragma once

#include <memory>

#include "observe/row_observer.h"
#include "rapt/observe.h"

namespace rapt {

using MakeObserver = std::unique_ptr<RowObserver>(const Problem&, const ObserveOptions&);

MakeObserver make_entropy, make_normalised_entropy, make_support, make_renyi_support,
    make_confidence, make_lookback, make_sink_mass, make_learned_sink, make_previous_token,
    make_locality, make_duplicate_token, make_induction, make_token_class, make_link,
    make_weighted_mass, make_distances;

/// @throws Error{kBadArgument} unless a list by token has one element for each of all sequences, or of
/// every one.
void require_tokens(std::size_t elements, std::int64_t tokens, std::int64_t batch,
                    const char* where);

}  // namespace rapt
