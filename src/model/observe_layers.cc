#include "rapt/observe_layers.h"

#include <string>

#include "base/check.h"
#include "base/memory.h"
#include "rapt/session.h"

namespace rapt {
namespace {

/// Elements [begin, end) of a list by token; an empty one stays so.
template <class T>
void keep(std::vector<T>& list, std::int64_t begin, std::int64_t end, const char* where) {
  if (list.empty()) return;
  require(std::ssize(list) >= end, ErrorCode::kBadArgument, where,
          "at least " + std::to_string(end) + " elements, one a token", list.size());
  list.resize(static_cast<std::size_t>(end));
  list.erase(list.begin(), list.begin() + begin);
}

/// The options of the queries and keys of one call.
ObserveOptions part_of(ObserveOptions options, const Problem& problem) {
  const std::int64_t keys = problem.kv_tokens, first = keys - problem.q_tokens;
  keep(options.tokens, 0, keys, "ObserveOptions.tokens");
  keep(options.token_class, 0, keys, "ObserveOptions.token_class");
  keep(options.links, first, keys, "ObserveOptions.links");
  for (std::int64_t& link : options.links)
    if (link >= keys) link = -1;
  std::int64_t& weights = options.key_weights.extents[3];
  if (options.key_weights.data != nullptr && weights > keys) weights = keys;
  return options;
}

}  // namespace

void add_observed(const LayerAttention& layer, const ObserveOptions& options,
                  const Threads& threads, Scratch& scratch, HeadStatistics& statistics) {
  with_memory("observe", [&] {
    const Problem& problem = layer.plan.problem();
    const Inputs inputs{.q = layer.q,
                        .cache = &layer.cache.layer(layer.layer),
                        .sequences = std::span(&layer.sequence, 1)};
    add_observed(problem, inputs, part_of(options, problem), threads, scratch, statistics);
  });
}

std::vector<HeadStatistics> observe_layers(const Model& model, std::span<const std::int32_t> text,
                                           const ObserveOptions& options, const Threads& threads) {
  return with_memory("observe_layers", [&] {
    ObserveOptions of_text = options;
    if (of_text.tokens.empty()) of_text.tokens.assign(text.begin(), text.end());
    std::vector<HeadStatistics> layers(static_cast<std::size_t>(model.config().num_hidden_layers));
    Scratch scratch;
    Session session(model, threads, std::ssize(text));
    session.observe([&](const LayerAttention& layer) {
      add_observed(layer, of_text, threads, scratch, layers[static_cast<std::size_t>(layer.layer)]);
    });
    session.prefill(text);
    return layers;
  });
}

}  // namespace rapt
