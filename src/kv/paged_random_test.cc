#include <gtest/gtest.h>

#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "paged_tokens.h"
#include "rapt/paged_kv_cache.h"
#include "util.h"

namespace rapt::test {
namespace {

/// A plain model of a cache: what each sequence holds, token by token, and which pages are shared.
class Model {
 public:
  struct Page {
    explicit Page(std::int64_t* alive) : alive(alive) { ++*alive; }
    ~Page() { --*alive; }
    std::int64_t* alive;
  };
  struct Sequence {
    std::vector<int> tokens;  // numbers of the table's
    std::vector<std::shared_ptr<Page>> pages;

    bool copies_last(std::int64_t page_size) const {
      return static_cast<std::int64_t>(tokens.size()) % page_size != 0 &&
             pages.back().use_count() > 1;
    }
  };

  explicit Model(std::int64_t page_size) : page_size(page_size) {}

  static std::int64_t size(const Sequence& s) { return static_cast<std::int64_t>(s.tokens.size()); }
  void cut(Sequence& s, std::int64_t length) const {
    s.tokens.resize(static_cast<std::size_t>(length));
    s.pages.resize(static_cast<std::size_t>((length + page_size - 1) / page_size));
  }
  std::int64_t needed(const Sequence& s, std::int64_t count) const {
    const std::int64_t all = (size(s) + count + page_size - 1) / page_size;
    return all - static_cast<std::int64_t>(s.pages.size()) +
           (count > 0 && s.copies_last(page_size) ? 1 : 0);
  }
  void extend(Sequence& s, const std::vector<int>& tokens) {
    if (tokens.empty()) return;
    if (s.copies_last(page_size)) s.pages.back() = std::make_shared<Page>(&pages);
    s.tokens.insert(s.tokens.end(), tokens.begin(), tokens.end());
    while (static_cast<std::int64_t>(s.pages.size()) * page_size < size(s))
      s.pages.push_back(std::make_shared<Page>(&pages));
  }

  std::int64_t page_size;
  std::int64_t pages = 0;  // distinct ones
  std::map<std::int64_t, Sequence> sequences;
};

/// Random operations on a cache and its model, that must agree after each.
class RandomOperations {
 public:
  RandomOperations(const PagedKvCache::Shape& shape, std::uint64_t seed)
      : shape_(shape),
        rng_(seed),
        cache_(shape),
        model_(shape.page_size),
        table_(kTable, shape, seed) {
    PagedKvCache plain(
        {1, shape.kv_heads, shape.head_dim, shape.v_head_dim, kTable, 1, shape.dtype});
    expected_ = std::make_unique<Tokens>(kTable, shape);
    plain.read(0, add(plain, table_), expected_->k.view, expected_->v.view);
  }

  void run(int operations) {
    for (int n = 0; n < operations && !testing::Test::HasFailure(); ++n) {
      step();
      ASSERT_EQ(cache_.free_pages(), shape_.pages - model_.pages);
      ASSERT_EQ(cache_.sequences(), static_cast<std::int64_t>(model_.sequences.size()));
    }
    while (!model_.sequences.empty()) {
      check_contents();
      free();
    }
    ASSERT_EQ(cache_.free_pages(), shape_.pages);
    ASSERT_EQ(cache_.sequences(), 0);
  }

  std::int64_t refused = 0, copied = 0;

 private:
  static constexpr std::int64_t kTable = 256;

  void step() {
    const std::int64_t kind = rng_.below(100);
    if (model_.sequences.empty() || kind < 3)
      model_.sequences[cache_.create()] = {};
    else if (kind < 15)
      fork();
    else if (kind < 60)
      extend();
    else if (kind < 72)
      truncate();
    else if (kind < 82)
      free();
    else if (kind < 95)
      check_contents();
    else
      refuse();
  }

  std::pair<const std::int64_t, Model::Sequence>& any() {
    auto at = model_.sequences.begin();
    std::advance(at, rng_.below(static_cast<std::int64_t>(model_.sequences.size())));
    return *at;
  }

  void fork() {
    const auto& [id, from] = any();
    const std::int64_t tokens = rng_.below(Model::size(from) + 1);
    Model::Sequence copy = from;
    model_.cut(copy, tokens);
    const std::int64_t fork = cache_.fork(id, tokens);
    ASSERT_FALSE(model_.sequences.contains(fork));
    model_.sequences[fork] = std::move(copy);
  }

  void extend() {
    auto& [id, sequence] = any();
    const std::int64_t before = Model::size(sequence),
                       count = rng_.below(rng_.below(8) == 0 ? 3 * shape_.page_size : 5),
                       needed = model_.needed(sequence, count);
    ASSERT_EQ(cache_.pages_needed(id, count), needed);
    if (needed > shape_.pages - model_.pages) {
      ++refused;
      try {
        cache_.extend(id, count);
        FAIL();
      } catch (const Error& error) {
        ASSERT_EQ(error.code(), ErrorCode::kOutOfMemory);
      }
      ASSERT_EQ(cache_.length(id), before);
      return free();
    }
    copied += count > 0 && sequence.copies_last(shape_.page_size);
    std::vector<int> numbers(static_cast<std::size_t>(count));
    for (int& number : numbers) number = static_cast<int>(rng_.below(kTable));
    model_.extend(sequence, numbers);
    cache_.extend(id, count);
    // In two pieces, the second first.
    const std::int64_t cut = rng_.below(count + 1);
    for (std::int64_t layer = 0; layer < shape_.layers; ++layer) {
      store(layer, id, before + cut, numbers.data() + cut, count - cut);
      store(layer, id, before, numbers.data(), cut);
    }
  }

  void store(std::int64_t layer, std::int64_t id, std::int64_t first, const int* numbers,
             std::int64_t count) {
    const Tensor k({1, count, shape_.kv_heads, shape_.head_dim}),
        v({1, count, shape_.kv_heads, shape_.v_head_dim});
    for (std::int64_t t = 0; t < count; ++t) {
      copy(tokens(table_.k.view, number(layer, numbers[t]), 1), tokens(k.view, t, 1));
      copy(tokens(table_.v.view, number(layer, numbers[t]), 1), tokens(v.view, t, 1));
    }
    cache_.store(layer, id, first, k.view, v.view);
  }

  /// Layers hold different tokens.
  static std::int64_t number(std::int64_t layer, int token) { return (token + layer) % kTable; }

  void truncate() {
    auto& [id, sequence] = any();
    const std::int64_t length = rng_.below(Model::size(sequence) + 1);
    cache_.truncate(id, length);
    model_.cut(sequence, length);
  }

  void free() {
    const std::int64_t id = any().first;
    cache_.free(id);
    model_.sequences.erase(id);
    ASSERT_FALSE(cache_.has(id));
    freed_ = id;
  }

  void check_contents() {
    const auto& [id, sequence] = any();
    const std::int64_t layer = rng_.below(shape_.layers), count = Model::size(sequence);
    ASSERT_EQ(cache_.length(id), count);
    const Tensor k({1, count, shape_.kv_heads, shape_.head_dim}),
        v({1, count, shape_.kv_heads, shape_.v_head_dim});
    cache_.read(layer, id, k.view, v.view);
    const auto same = [&](const Tensor& got, const Tensor& want) {
      const std::int64_t width = got.view.strides[1];
      for (std::int64_t t = 0; t < count; ++t) {
        const std::int64_t n = number(layer, sequence.tokens[static_cast<std::size_t>(t)]);
        if (std::memcmp(got.view.data + t * width, want.view.data + n * width,
                        static_cast<std::size_t>(width) * sizeof(float)) != 0)
          return false;
      }
      return true;
    };
    ASSERT_TRUE(same(k, expected_->k)) << "sequence " << id;
    ASSERT_TRUE(same(v, expected_->v)) << "sequence " << id;
  }

  void refuse() {
    const auto& [id, sequence] = any();
    const std::int64_t length = Model::size(sequence);
    const Tokens one(1, shape_);
    const auto code = [&](auto&& f) {
      try {
        f();
      } catch (const Error& error) {
        return error.code();
      }
      return ErrorCode::kIo;
    };
    const ErrorCode codes[] = {
        code([&] { cache_.truncate(id, length + 1); }),
        code([&] { cache_.fork(id, length + 1); }),
        code([&] { cache_.store(0, id, length, one.k.view, one.v.view); }),
        code([&] { cache_.free(freed_); }),
        code([&] { cache_.extend(freed_, 1); }),
        code([&] { cache_.fork(freed_, 0); }),
    };
    for (const ErrorCode got : codes) ASSERT_EQ(got, ErrorCode::kBadArgument);
    if (length == 0 || sequence.pages[0].use_count() == 1) return;
    ASSERT_EQ(code([&] { cache_.store(0, id, 0, one.k.view, one.v.view); }),
              ErrorCode::kBadArgument);
  }

  PagedKvCache::Shape shape_;
  Rng rng_;
  PagedKvCache cache_;
  Model model_;
  Tokens table_;
  std::unique_ptr<Tokens> expected_;  // what the table's are read as
  std::int64_t freed_ = -1;
};

TEST(PagedKvCache, AgreesWithAPlainModelIn100000RandomOperations) {
  std::uint64_t seed = 0;
  for (const DType dtype : kCacheDTypes)
    for (const std::int64_t page_size : {16, 48, 64, 544}) {
      SCOPED_TRACE(testing::Message() << name(dtype) << ", pages of " << page_size);
      RandomOperations random({2, 2, 3, 2, page_size, 24, dtype}, ++seed);
      random.run(5000);
      EXPECT_GT(random.refused, 50);
      EXPECT_GT(random.copied, 50);
    }
}

}  // namespace
}  // namespace rapt::test
