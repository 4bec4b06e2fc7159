#include "masks.h"

#include <algorithm>

#include "base/splitmix64.h"
#include "rapt/problem.h"

namespace rapt::test {
namespace {

using Pair = ReferencePair;

// What the lists hold, as formulas: of a slot, of a block, of a pair of tokens.
std::int64_t document_of(std::int64_t slot) { return 3 + slot / 57; }
std::int64_t shuffled_document_of(std::int64_t slot) { return slot / 29 % 3; }
std::int64_t document_of_sequence(std::int64_t b, std::int64_t slot) {
  return slot / (57 + 10 * b);
}
std::int64_t kind_of(std::int64_t slot) { return slot / 11 % 3; }
bool kind_sees(std::int64_t x, std::int64_t y) { return y == 0 || x == y || (x == 2 && y == 1); }
bool is_global(std::int64_t slot) { return slot == 0 || slot == 5 || slot == 530; }
std::int64_t tree_size(std::int64_t keys) { return std::min<std::int64_t>(keys, 40); }
std::int64_t parent_of(std::int64_t node) { return node == 0 ? -1 : (node - 1) / 3; }
bool block_set(std::int64_t h, std::int64_t x, std::int64_t y) {
  return splitmix64(17 + h, 1000 * x + y) % 3 == 0;
}
bool token_set(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) {
  return splitmix64(1000 * b + h, 1000000 * i + j) % 5 < 2;  // about two of five
}

template <class F>
PerSequence<std::int64_t> one_list(const Problem& p, F&& of_slot) {
  PerSequence<std::int64_t> lists(1);
  for (std::int64_t slot = 0; slot < p.kv_tokens; ++slot) lists[0].push_back(of_slot(slot));
  return lists;
}

bool below_tree(const Pair& p) {
  const std::int64_t root = p.keys - tree_size(p.keys);
  if (p.key_index < root) return p.key_index <= p.place;
  for (std::int64_t node = p.place - root; node >= 0; node = parent_of(node))
    if (root + node == p.key_index) return true;
  return false;
}

Mask tree(const Problem& p) {
  PerSequence<std::int64_t> parents;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    parents.emplace_back();
    for (std::int64_t n = 0; n < tree_size(p.kv_range(b).size()); ++n)
      parents.back().push_back(parent_of(n));
  }
  return p.batch == 0 ? Mask::tree({{}}) : Mask::tree(parents);
}

Mask blocks(const Problem& p, std::int64_t heads, std::int64_t q_block, std::int64_t kv_block) {
  const BlockMask::Shape shape{
      1, heads, p.kv_tokens / q_block + 1, p.kv_tokens / kv_block + 1, q_block, kv_block};
  return Mask::blocks(
      BlockMask::from_predicate(shape, [](std::int64_t, std::int64_t h, std::int64_t x,
                                          std::int64_t y) { return block_set(h, x, y); }));
}

/// A bit for every sequence, head and pair.
Mask dense(const Problem& p) {
  const Dims extents = {p.batch, p.q_heads, p.q_tokens, p.kv_tokens};
  std::vector<std::uint8_t> bits;
  for (std::int64_t b = 0; b < extents[0]; ++b)
    for (std::int64_t h = 0; h < extents[1]; ++h)
      for (std::int64_t i = 0; i < extents[2]; ++i)
        for (std::int64_t j = 0; j < extents[3]; ++j) bits.push_back(token_set(b, h, i, j));
  bits.push_back(0);  // never empty
  return Mask::dense({bits.data(), extents});
}

/// Broadcast over heads and queries.
Mask dense_keys(const Problem& p) {
  std::vector<std::uint8_t> bits;
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t j = 0; j < p.kv_tokens; ++j) bits.push_back(token_set(b, 0, 0, j));
  bits.push_back(0);
  return Mask::dense({bits.data(), {p.batch, 1, 1, p.kv_tokens}});
}

NamedMask band(const char* name, const Mask& mask, ReferenceMask reference) {
  return {name, [mask](const Problem&) { return mask; }, std::move(reference)};
}

std::vector<NamedMask> band_list() {
  return {
      band("none", Mask::none(), {}),
      band("causal", Mask::causal(), reference_causal()),
      band("window1", Mask::sliding_window(1), reference_window(0, 0)),
      band("window5", Mask::sliding_window(5), reference_window(4, 0)),
      band("window600", Mask::sliding_window(600), reference_window(599, 0)),
      band("window_3_2", Mask::window(3, 2), reference_window(3, 2)),
      band("window_40_700", Mask::window(40, 700), reference_window(40, 700)),
      band("causal_and_window_33_5", Mask::causal() & Mask::window(33, 5), reference_window(33, 0)),
  };
}

void add_kinds(std::vector<NamedMask>& all) {
  all.push_back(band("top_left", Mask::causal_top_left(),
                     [](const Pair& p) { return p.key_index <= p.query_index; }));
  all.push_back(band("strided_7", Mask::strided(7),
                     [](const Pair& p) { return (p.query_position - p.key_position) % 7 == 0; }));
  all.push_back(band("dilated_20_3", Mask::dilated_window(20, 3), [](const Pair& p) {
    const std::int64_t back = p.query_position - p.key_position;
    return back >= 0 && back <= 57 && back % 3 == 0;
  }));
  all.push_back({"documents",
                 [](const Problem& p) { return Mask::documents(one_list(p, document_of)); },
                 [](const Pair& p) {
                   return p.place >= 0 && document_of(p.place) == document_of(p.key_index);
                 }});
  all.push_back(
      {"documents_shuffled",
       [](const Problem& p) { return Mask::documents(one_list(p, shuffled_document_of)); },
       [](const Pair& p) {
         return p.place >= 0 && shuffled_document_of(p.place) == shuffled_document_of(p.key_index);
       }});
  all.push_back({"structure",
                 [](const Problem& p) {
                   std::vector<std::vector<bool>> table(3, std::vector<bool>(3));
                   for (int x = 0; x < 3; ++x)
                     for (int y = 0; y < 3; ++y) table[x][y] = kind_sees(x, y);
                   return Mask::structure(one_list(p, kind_of), table);
                 },
                 [](const Pair& p) {
                   return p.place >= 0 && kind_sees(kind_of(p.place), kind_of(p.key_index));
                 }});
  all.push_back({"tree", tree, below_tree, true});
  all.push_back(
      {"blocks", [](const Problem& p) { return blocks(p, 1, 64, 64); },
       [](const Pair& p) { return p.place >= 0 && block_set(0, p.place / 64, p.key_index / 64); }});
  all.push_back({"blocks_of_heads", [](const Problem& p) { return blocks(p, p.q_heads, 20, 23); },
                 [](const Pair& p) {
                   return p.place >= 0 && block_set(p.h, p.place / 20, p.key_index / 23);
                 }});
  all.push_back(
      {"dense_keys", dense_keys, [](const Pair& p) { return token_set(p.b, 0, 0, p.j); }, true});
}

void add_compositions(std::vector<NamedMask>& all) {
  const Mask prefix = Mask::causal() | Mask::prefix({70});
  all.push_back(band("prefix", prefix, [](const Pair& p) {
    return p.key_position <= p.query_position || p.key_index < 70;
  }));
  const Mask longformer = (Mask::sliding_window(32) | Mask::global({{0, 5, 530}})) & Mask::causal();
  all.push_back(band("window_and_global", longformer, [](const Pair& p) {
    const bool near = p.query_position - p.key_position < 32;
    const bool anchor = is_global(p.key_index) || (p.place >= 0 && is_global(p.place));
    return p.key_position <= p.query_position && (near || (anchor && p.place >= 0));
  }));
  all.push_back(band("not_window", ~Mask::window(30, 9), [](const Pair& p) {
    const std::int64_t back = p.query_position - p.key_position;
    return back > 30 || back < -9;
  }));
  all.push_back(band("nothing", ~Mask::none(), [](const Pair&) { return false; }));
  all.push_back({"documents_of_sequences_and_causal",
                 [](const Problem& p) {
                   PerSequence<std::int64_t> ids(
                       static_cast<std::size_t>(std::max<std::int64_t>(p.batch, 1)));
                   for (std::int64_t b = 0; b < p.batch; ++b)
                     for (std::int64_t slot = 0; slot < p.kv_tokens; ++slot)
                       ids[static_cast<std::size_t>(b)].push_back(document_of_sequence(b, slot));
                   return Mask::documents(ids) & Mask::causal();
                 },
                 [](const Pair& p) {
                   return p.place >= 0 && p.key_position <= p.query_position &&
                          document_of_sequence(p.b, p.place) ==
                              document_of_sequence(p.b, p.key_index);
                 },
                 true});
  all.push_back({"dense_or_window",
                 [](const Problem& p) { return dense(p) | Mask::sliding_window(3); },
                 [](const Pair& p) {
                   const std::int64_t back = p.query_position - p.key_position;
                   return token_set(p.b, p.h, p.i, p.j) || (back >= 0 && back < 3);
                 },
                 true});
}

}  // namespace

const std::vector<NamedMask>& masks() {
  static const std::vector<NamedMask> all = [] {
    std::vector<NamedMask> list = band_list();
    add_kinds(list);
    add_compositions(list);
    return list;
  }();
  return all;
}

std::span<const NamedMask> bands() { return {masks().data(), band_list().size()}; }

const NamedMask& mask_named(const std::string& name) {
  const auto& all = masks();
  return *std::find_if(all.begin(), all.end(), [&](const NamedMask& m) { return name == m.name; });
}

}  // namespace rapt::test
