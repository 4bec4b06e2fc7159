#pragma once

// An engine's pages and block tables for the tests.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "rapt/block_tables.h"
#include "util.h"

namespace rapt::test {

/// How an engine lays out its pages.
struct EngineLayout {
  Layout page = Layout::kContiguous;  ///< kHeadMajor: heads outside of tokens
  bool together = false;              ///< a page of keys and one of values in turn
};

/// The sequences of a problem in pages in mixed order. Slots and pages that hold no token are NaN,
/// and entries beyond a sequence's tokens name no page.
class EnginePages {
 public:
  /// @shape  k [B, Tk, Hkv, D]   v [B, Tk, Hkv, Dv], in numbers that the problem's types have
  EnginePages(const Problem& p, const ConstTensor& k, const ConstTensor& v, std::int64_t page_size,
              const EngineLayout& layout = {})
      : pages_(p.batch * ceil_div(p.kv_tokens, page_size) + 2),
        entries_(ceil_div(p.kv_tokens, page_size) + 1) {
    const std::int64_t width = std::max(p.head_dim, p.value_dim());
    const Tensor filled({2 * pages_, page_size, p.kv_heads, width});
    fill(filled.view, std::numeric_limits<float>::quiet_NaN());
    const auto page_of = [&](std::int64_t page, bool values) {
      return layout.together ? 2 * page + (values ? 1 : 0) : page + (values ? pages_ : 0);
    };
    tables_.assign(static_cast<std::size_t>(p.batch * row_stride()), -1);
    Rng rng(7);
    std::vector<std::int32_t> free(static_cast<std::size_t>(pages_));
    for (std::size_t n = 0; n < free.size(); ++n) free[n] = static_cast<std::int32_t>(n);
    for (std::int64_t b = 0; b < p.batch; ++b)
      for (std::int64_t j = 0; j < p.kv_range(b).end; ++j) {
        if (j % page_size == 0) {
          std::swap(free[static_cast<std::size_t>(rng.below(std::ssize(free)))], free.back());
          entry(b, j / page_size) = free.back();
          free.pop_back();
        }
        const std::int64_t page = entry(b, j / page_size), at = j % page_size;
        for (std::int64_t h = 0; h < p.kv_heads; ++h) {
          for (std::int64_t e = 0; e < p.head_dim; ++e)
            filled.view.at(page_of(page, false), at, h, e) = k.at(b, j, h, e);
          for (std::int64_t e = 0; e < p.value_dim(); ++e)
            filled.view.at(page_of(page, true), at, h, e) = v.at(b, j, h, e);
        }
      }
    memory_ = std::make_unique<Stored>(filled.view, p.storage.k, layout.page);
    const AnyTensor all = memory_->view;
    Dims strides = all.strides;
    if (layout.together) strides[0] *= 2;
    const auto half = [&](bool values, std::int64_t dim) {
      return AnyConstTensor(all.address(page_of(0, values), 0, 0, 0), all.dtype,
                            {pages_, page_size, p.kv_heads, dim}, strides);
    };
    k_ = half(false, p.head_dim);
    v_ = half(true, p.value_dim());
    blocks_ = std::make_unique<BlockTables>(
        k_, v_, BlockTables::Tables{tables_.data(), p.batch, entries_, row_stride()});
  }

  const BlockTables& blocks() const { return *blocks_; }
  const AnyConstTensor& k() const { return k_; }
  std::int32_t& entry(std::int64_t sequence, std::int64_t n) {
    return tables_[static_cast<std::size_t>(sequence * row_stride() + n)];
  }
  Inputs inputs(const AnyConstTensor& q, const ConstTensor& bias = {}) const {
    return {.q = q, .k = {}, .v = {}, .cache = blocks_.get(), .bias = bias};
  }

 private:
  static std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
  std::int64_t row_stride() const { return entries_ + 1; }

  std::int64_t pages_, entries_;
  std::vector<std::int32_t> tables_;
  std::unique_ptr<Stored> memory_;
  AnyConstTensor k_, v_;
  std::unique_ptr<BlockTables> blocks_;
};

}  // namespace rapt::test
