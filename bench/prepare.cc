#include "bench/prepare.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <memory>
#include <numeric>
#include <optional>
#include <string>

#include "base/splitmix64.h"
#include "bench/ceilings.h"
#include "bench/machine.h"
#include "kernels/ceilings/ceilings.h"
#include "rapt/batch.h"
#include "rapt/error.h"
#include "rapt/linear.h"
#include "rapt/paged_kv_cache.h"
#include "rapt/session.h"

namespace rapt::bench {
namespace {

// Tokens that fill a cache at a time.
constexpr std::int64_t kFillTokens = 2048;

// Room for tensors, packed blocks and sources of weights.
constexpr double kWorkingBytes = 256 << 20;

/// A contiguous tensor of numbers in [-1, 1), in huge pages where it is large.
class Tensor {
 public:
  explicit Tensor(const Dims& extents, DType dtype = DType::kF32) {
    const std::int64_t count = extents[0] * extents[1] * extents[2] * extents[3];
    void* data = memory_.reserve(static_cast<std::size_t>(count * size_of(dtype)));
    const AnyTensor line(data, dtype, {1, 1, 1, count}, {0, 0, 0, 1});
    std::uint32_t state = 1;
    for (std::int64_t i = 0; i < count; ++i) {
      state = state * 1664525u + 1013904223u;
      line.set(0, 0, 0, i, static_cast<float>(static_cast<std::int32_t>(state)) * 0x1p-31f);
    }
    view_ = AnyTensor(data, dtype, extents, contiguous_strides(extents));
  }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  const AnyTensor& view() const { return view_; }

 private:
  Scratch memory_;
  AnyTensor view_;
};

/// The type of the tokens that fill a cache of this type.
DType of_tensors(DType stored) { return is_quantised(stored) ? DType::kF32 : stored; }

template <class T>
void shuffle(std::vector<T>& list) {
  for (std::size_t n = list.size(); n > 1; --n) std::swap(list[n - 1], list[splitmix64(1, n) % n]);
}

std::int64_t copies(const Case& c) {
  const double bytes = c.rotated_bytes();
  return bytes == 0 ? 1 : static_cast<std::int64_t>(std::ceil(kReadBytes / bytes));
}

std::string gib(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GiB", bytes / (1 << 30));
  return text;
}

class AttentionCalls {
 public:
  AttentionCalls(const AttentionCase& c, std::int64_t copies, const std::vector<Threads>& threads)
      : case_(c),
        q_({p().batch, p().q_tokens, p().q_heads, p().head_dim}, p().storage.q),
        o_({p().batch, p().q_tokens, p().q_heads, p().value_dim()}, p().storage.o),
        k_({p().batch, kv_tokens(), p().kv_heads, p().head_dim}, of_tensors(p().storage.k)),
        v_({p().batch, kv_tokens(), p().kv_heads, p().value_dim()}, of_tensors(p().storage.v)) {
    for (const Threads& t : threads) plans_.push_back(make_plan(p(), t, c.source));
    if (c.source == KvSource::kTensors) return;
    if (c.source == KvSource::kPages) {
      fill_pages(copies);
      return;
    }
    for (std::int64_t n = 0; n < copies; ++n) {
      DenseKvCache& cache = caches_.emplace_back(
          DenseKvCache::Shape{p().batch, p().kv_heads, p().head_dim, p().v_head_dim, p().kv_tokens,
                              p().storage.k, c.source == KvSource::kRows});
      while (cache.length(0) < p().kv_tokens)
        if (c.source == KvSource::kRows)
          cache.append(k_.view());
        else
          cache.append(k_.view(), v_.view());
    }
  }

  void call(std::size_t plan) {
    Inputs inputs{q_.view(), k_.view(), v_.view()};
    if (pages_) {
      inputs.cache = &pages_->layer(0);
      inputs.sequences = {&sequences_[next_], 1};
    } else if (!caches_.empty()) {
      inputs.cache = &caches_[next_];
    }
    run(plans_[plan], inputs, scratch_, {o_.view(), {}, {}, {}});
    if (++next_ >= std::max(caches_.size(), sequences_.size())) next_ = 0;
  }

 private:
  /// Sequences whose pages lie in random order: all were taken before, and given back in that order.
  void fill_pages(std::int64_t copies) {
    const std::int64_t size = case_.page_size, each = (p().kv_tokens + size - 1) / size;
    pages_.emplace(PagedKvCache::Shape{1, p().kv_heads, p().head_dim, p().v_head_dim, size,
                                       copies * each, p().storage.k});
    std::vector<std::int64_t> takers;
    for (std::int64_t n = 0; n < copies * each; ++n) {
      takers.push_back(pages_->create());
      pages_->extend(takers.back(), 1);
    }
    shuffle(takers);
    for (const std::int64_t taker : takers) pages_->free(taker);
    for (std::int64_t n = 0; n < copies; ++n) {
      const std::int64_t sequence = pages_->create();
      pages_->extend(sequence, p().kv_tokens);
      for (std::int64_t first = 0; first < p().kv_tokens; first += k_.view().extents[1])
        pages_->store(0, sequence, first, k_.view(), v_.view());
      sequences_.push_back(sequence);
    }
  }

  const Problem& p() const { return case_.problem; }
  std::int64_t kv_tokens() const {
    return case_.source == KvSource::kTensors ? p().kv_tokens
                                              : std::min(p().kv_tokens, kFillTokens);
  }

  AttentionCase case_;
  std::vector<Plan> plans_;
  Tensor q_, o_, k_, v_;
  std::vector<DenseKvCache> caches_;
  std::optional<PagedKvCache> pages_;
  std::vector<std::int64_t> sequences_;  // of the pages
  std::size_t next_ = 0;
  Scratch scratch_;
};

class BatchCalls {
 public:
  BatchCalls(const BatchCase& c, std::int64_t copies, const std::vector<Threads>& threads)
      : case_(c),
        q_({1, c.sequences, p().q_heads, p().head_dim}),
        o_({1, c.sequences, p().q_heads, p().value_dim()}),
        k_({1, kFillTokens, p().kv_heads, p().head_dim}),
        v_({1, kFillTokens, p().kv_heads, p().value_dim()}),
        cache_({1, p().kv_heads, p().head_dim, p().v_head_dim, c.page_size,
                copies * (c.sequences + 1) * (p().kv_tokens / c.page_size + 1), p().storage.k}) {
    for (std::int64_t n = 0; n < copies; ++n) {
      const std::vector<BatchEntry> entries = fill();
      for (const Threads& t : threads)
        plans_.push_back(make_batch_plan(p(), t, cache_.layer(0), entries));
    }
    threads_ = threads.size();
  }

  void call(std::size_t threads) {
    run(plans_[next_ * threads_ + threads], q_.view(), cache_.layer(0), scratch_,
        {o_.view(), {}, {}, {}});
    if (++next_ >= plans_.size() / threads_) next_ = 0;
  }

 private:
  const Problem& p() const { return case_.problem; }

  std::vector<BatchEntry> fill() {
    const std::int64_t root = cache_.create();
    if (case_.shared) grow(root, case_.shared_tokens);
    std::vector<BatchEntry> entries;
    for (std::int64_t n = 0; n < case_.sequences; ++n) {
      const std::int64_t sequence = cache_.fork(root, cache_.length(root));
      grow(sequence, p().kv_tokens);
      entries.push_back({sequence, p().q_tokens, p().kv_tokens, p().mask});
    }
    return entries;
  }

  void grow(std::int64_t sequence, std::int64_t length) {
    while (cache_.length(sequence) < length) {
      const std::int64_t first = cache_.length(sequence),
                         count = std::min(length - first, kFillTokens);
      const auto tokens = [&](const Tensor& x) {
        const ConstTensor all = x.view().as<float>();
        return ConstTensor(all.data, {1, count, all.extents[2], all.extents[3]}, all.strides);
      };
      cache_.extend(sequence, count);
      cache_.store(0, sequence, first, tokens(k_), tokens(v_));
    }
  }

  BatchCase case_;
  Tensor q_, o_, k_, v_;
  PagedKvCache cache_;
  std::vector<BatchPlan> plans_;  // [copies, threads]
  std::size_t threads_ = 0, next_ = 0;
  Scratch scratch_;
};

class LinearCalls {
 public:
  LinearCalls(const LinearCase& c, std::int64_t copies, const std::vector<Threads>& threads)
      : threads_(threads), x_({1, 1, c.rows, c.inputs}), y_({1, 1, c.rows, c.outputs}) {
    const Tensor weight({1, 1, c.outputs, c.inputs});
    for (std::int64_t n = 0; n < copies; ++n)
      maps_.emplace_back(weight.view().as<float>(), ConstTensor(), c.type);
  }

  void call(std::size_t threads) {
    maps_[next_](threads_[threads], x_.view().as<float>(), y_.view().as<float>(), scratch_);
    if (++next_ == maps_.size()) next_ = 0;
  }

 private:
  std::vector<Threads> threads_;
  Tensor x_, y_;
  std::vector<Linear> maps_;
  std::size_t next_ = 0;
  Scratch scratch_;
};

class ReadCalls {
 public:
  ReadCalls(const ReadCase& c, std::int64_t, const std::vector<Threads>& threads)
      : threads_(threads),
        block_floats_(c.block_bytes / static_cast<std::int64_t>(sizeof(float))),
        data_({1, 1, 1, kReadFloats}),
        order_(static_cast<std::size_t>(kReadFloats / block_floats_)) {
    std::iota(order_.begin(), order_.end(), 0);
    shuffle(order_);
  }

  void call(std::size_t threads) {
    const Threads& team = threads_[threads];
    const float* data = data_.view().as<float>().data;
    team.run(team.count(), [&](int worker) {
      float sum = 0;
      for (std::size_t n = static_cast<std::size_t>(worker); n < order_.size();
           n += static_cast<std::size_t>(team.count()))
        sum += kernels_.read(data + order_[n] * block_floats_, block_floats_, 1);
      sink_ = sum;
    });
  }

 private:
  std::vector<Threads> threads_;
  std::int64_t block_floats_;
  Tensor data_;
  const CeilingKernels& kernels_ = entry_for(ceilings_table(), active_isa());
  std::vector<std::int64_t> order_;
  std::atomic<float> sink_ = 0;
};

class ModelCalls {
 public:
  ModelCalls(const ModelCase& c, std::int64_t, const std::vector<Threads>& threads)
      : length_(c.context - 1), model_(Model::random(c.config, 1, c.options)) {
    for (const Threads& t : threads) {
      Session& session = sessions_.emplace_back(model_, t, c.context);
      session.prefill(std::vector<std::int32_t>(static_cast<std::size_t>(length_), 1));
    }
  }

  void call(std::size_t threads) {
    Session& session = sessions_[threads];
    session.truncate(length_);
    session.decode(1);
  }

 private:
  std::int64_t length_;
  Model model_;
  std::vector<Session> sessions_;
};

template <class Calls, class C>
std::vector<std::function<void()>> make_calls(const C& c, std::int64_t copies,
                                              const std::vector<Threads>& threads) {
  const auto calls = std::make_shared<Calls>(c, copies, threads);
  std::vector<std::function<void()>> made;
  for (std::size_t n = 0; n < threads.size(); ++n)
    made.emplace_back([calls, n] { calls->call(n); });
  return made;
}

}  // namespace

double memory_bytes(const Case& c) {
  if (const auto* model = std::get_if<ModelCase>(&c.call))  // the embedding in f32, and the head's
    return kReadBytes + c.rotated_bytes() + kWorkingBytes +
           8.0 * static_cast<double>(model->config.vocab_size * model->config.hidden_size);
  return kReadBytes + static_cast<double>(copies(c)) * c.rotated_bytes() + kWorkingBytes;
}

void require_memory(const Case& c) {
  const double wanted = memory_bytes(c), available = available_bytes();
  if (wanted > available)
    throw Error(ErrorCode::kOutOfMemory,
                c.name + ": expected " + gib(wanted) + " of free memory, got " + gib(available));
}

std::vector<std::function<void()>> prepare(const Case& c, const std::vector<Threads>& threads) {
  if (const auto* attention = std::get_if<AttentionCase>(&c.call))
    return make_calls<AttentionCalls>(*attention, copies(c), threads);
  if (const auto* batch = std::get_if<BatchCase>(&c.call))
    return make_calls<BatchCalls>(*batch, copies(c), threads);
  if (const auto* read = std::get_if<ReadCase>(&c.call))
    return make_calls<ReadCalls>(*read, 1, threads);
  if (const auto* model = std::get_if<ModelCase>(&c.call))
    return make_calls<ModelCalls>(*model, 1, threads);
  return make_calls<LinearCalls>(std::get<LinearCase>(c.call), copies(c), threads);
}

}  // namespace rapt::bench
