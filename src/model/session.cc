#include "rapt/session.h"

#include <algorithm>

#include "base/check.h"
#include "base/memory.h"
#include "model/config_fields.h"
#include "model/decoder.h"

namespace rapt {
namespace {

// Tokens that run through the layers together: enough to read the weights seldom, few enough that a
// long prompt needs little working memory. Shows in no bit.
constexpr std::int64_t kBlockTokens = 512;

}  // namespace

struct Session::State {
  Model model;
  Threads threads;
  std::int64_t capacity;
  PagedKvCache cache;
  std::int64_t sequence;
  std::int64_t length = 0;
  MultiHeadAttention::Workspace workspace;
  Scratch activations;
  std::vector<DenseKvCache> memory;  // of the encoder's output, a layer each
  std::vector<float> logits;
  AttentionObserver observer;
  HeadInterventions interventions;

  State(const Model& m, const Threads& t, std::int64_t tokens)
      : model(m),
        threads(t),
        capacity(tokens),
        cache(session_cache_shape(m.config(), m.decoder().options().cache, tokens)),
        sequence(cache.create()) {}

  void check(std::span<const std::int32_t> tokens, std::int64_t room, const char* room_name) const;
  void take(std::span<const std::int32_t> tokens, Logits which, std::int64_t logit_rows);
  void truncate(std::int64_t tokens);
};

void Session::State::check(std::span<const std::int32_t> tokens, std::int64_t room,
                           const char* room_name) const {
  const std::int64_t vocab = model.config().vocab_size;
  require(!tokens.empty(), ErrorCode::kBadArgument, "Session.tokens", "at least one token", "none");
  require(std::ssize(tokens) <= room, ErrorCode::kBadArgument, "Session.tokens",
          "at most " + std::to_string(room) + ", " + room_name, tokens.size());
  for (std::size_t n = 0; n < tokens.size(); ++n)
    if (tokens[n] < 0 || tokens[n] >= vocab)  // the message would be memory
      require(false, ErrorCode::kBadArgument, "Session.tokens[" + std::to_string(n) + "]",
              "0 to " + std::to_string(vocab - 1), tokens[n]);
}

void Session::State::take(std::span<const std::int32_t> tokens, Logits which,
                          std::int64_t logit_rows) {
  const std::int64_t vocab = model.config().vocab_size, count = std::ssize(tokens);
  logits.resize(logit_rows * vocab);
  float* to = logits.data();
  for (std::int64_t first = 0; first < count; first += kBlockTokens) {
    const std::int64_t block = std::min(kBlockTokens, count - first);
    const bool at_end = first + block == count;
    const std::int64_t rows = which == Logits::kAll ? block : at_end ? 1 : 0;
    cache.extend(sequence, block);
    const DecoderSequence part{sequence, block, rows};
    model.decoder().run({threads,
                         tokens.subspan(first, block),
                         {&part, 1},
                         cache,
                         capacity,
                         workspace,
                         activations,
                         observer ? &observer : nullptr,
                         interventions.empty() ? nullptr : &interventions,
                         memory},
                        {to, {1, 1, rows, vocab}});
    to += rows * vocab;
  }
  length += count;
}

void Session::State::truncate(std::int64_t tokens) {
  cache.truncate(sequence, tokens);
  length = tokens;
}

Session::Session(const Model& model, const Threads& threads, std::int64_t capacity) {
  const std::int64_t longest = model.config().context();
  require(capacity >= 0 && capacity <= longest, ErrorCode::kBadArgument, "Session.capacity",
          "0 to " + std::to_string(longest), capacity);
  state_ = with_memory("Session", [&] {
    return std::make_unique<State>(model, threads, capacity == 0 ? longest : capacity);
  });
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

std::int64_t Session::length() const { return state_->length; }
std::int64_t Session::capacity() const { return state_->capacity; }

std::size_t Session::cache_bytes() const {
  std::size_t bytes = rapt::cache_bytes(state_->cache.shape());
  for (const DenseKvCache& layer : state_->memory) bytes += layer.size_bytes();
  return bytes;
}

void Session::encode(std::span<const std::int32_t> tokens) {
  State& state = *state_;
  const ModelConfig& config = state.model.config();
  require(config.encoder.has_value(), ErrorCode::kBadArgument, "Session.encode",
          "a model with an encoder", config.architecture);
  const std::int64_t positions = config.encoder->max_position_embeddings;
  with_memory("Session.encode", [&] {
    state.check(tokens, positions > 0 ? positions : kLargestExtent, "the encoder's positions");
    state.memory =
        state.model.decoder().encode(state.threads, tokens, state.workspace, state.activations);
    state.truncate(0);
  });
}

ConstTensor Session::prefill(std::span<const std::int32_t> tokens, Logits which) {
  return with_memory("Session.prefill", [&] {
    const ModelConfig& config = state_->model.config();
    require(!config.encoder || !state_->memory.empty(), ErrorCode::kBadArgument, "Session.encode",
            "the encoder's input before the tokens of " + config.architecture, "none");
    state_->check(tokens, state_->capacity - state_->length, "the room that is left");
    const std::int64_t known = state_->interventions.positions() - state_->length;
    require(std::ssize(tokens) <= known, ErrorCode::kBadArgument, "Session.tokens",
            "at most " + std::to_string(known) + ", the positions that interventions have",
            tokens.size());
    const std::int64_t rows = which == Logits::kAll ? std::ssize(tokens) : 1;
    try {
      state_->take(tokens, which, rows);
    } catch (...) {  // out of memory half way, or an observer's own reason
      state_->truncate(state_->length);
      throw;
    }
    const Dims extents = {1, 1, rows, config.vocab_size};
    return ConstTensor(state_->logits.data(), extents);
  });
}

void Session::observe(AttentionObserver observer) { state_->observer = std::move(observer); }

void Session::intervene(HeadInterventions interventions) {
  interventions.check(state_->model.config());
  state_->interventions = std::move(interventions);
}

void Session::truncate(std::int64_t length) {
  require(length >= 0 && length <= state_->length, ErrorCode::kBadArgument, "Session.truncate",
          "0 to " + std::to_string(state_->length), length);
  state_->truncate(length);
}

}  // namespace rapt
