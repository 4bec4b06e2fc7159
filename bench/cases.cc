#include "bench/cases.h"

#include <fnmatch.h>

#include "base/splitmix64.h"
#include "bench/ceilings.h"
#include "rapt/error.h"

namespace rapt::bench {
namespace {

std::string number(std::int64_t n) { return std::to_string(n); }

struct Heads {
  std::int64_t q, kv;
};
constexpr Heads kMha = {8, 8}, kGqa = {32, 8}, kMqa = {8, 1}, kOne = {1, 1};

constexpr char kNative[] = "native-bf16";

struct Extents {
  std::int64_t head_dim, tokens;
  Heads heads;
  DType dtype = DType::kF32;  // of q, k, v and o
  Arithmetic arithmetic = Arithmetic::kF32;

  std::string type() const { return arithmetic == Arithmetic::kF32 ? name(dtype) : kNative; }
};

Extents native(std::int64_t head_dim, std::int64_t tokens, Heads heads) {
  return {head_dim, tokens, heads, DType::kBF16, Arithmetic::kNativeBF16};
}

Problem problem_of(const Mask& mask, const Extents& extents, std::int64_t q_tokens) {
  Problem p;
  p.q_tokens = q_tokens;
  p.kv_tokens = extents.tokens;
  p.q_heads = extents.heads.q;
  p.kv_heads = extents.heads.kv;
  p.head_dim = extents.head_dim;
  p.storage = Storage::all(extents.dtype);
  p.arithmetic = extents.arithmetic;
  p.mask = mask;
  return p;
}

// D, T and the heads, as prefills are named.
std::string suffix(const Problem& p) {
  const std::string over = p.group() == 1 ? "" : "x" + number(p.kv_heads);
  return "/d" + number(p.head_dim) + "/t" + number(p.kv_tokens) + "/h" + number(p.q_heads) + over;
}

Case prefill(const std::string& mask_name, const Mask& mask, const Extents& extents) {
  const Problem p = problem_of(mask, extents, extents.tokens);
  return {"prefill/" + extents.type() + "/" + mask_name + suffix(p),
          AttentionCase{p, KvSource::kTensors}};
}

// The last chunk of a long prompt.
Case chunk(std::int64_t rows, const Extents& extents) {
  const Problem p = problem_of(Mask::causal(), extents, rows);
  return {"chunk" + number(rows) + "/f32/causal" + suffix(p), AttentionCase{p, KvSource::kTensors}};
}

// One in ten of the blocks of so many tokens, drawn at random.
Mask tenth_of_blocks(std::int64_t tokens, std::int64_t block) {
  const std::int64_t blocks = tokens / block;
  const BlockMask::Shape shape{1, 1, blocks, blocks, block, block};
  return Mask::blocks(BlockMask::from_predicate(
      shape, [](std::int64_t, std::int64_t, std::int64_t x, std::int64_t y) {
        return splitmix64(static_cast<std::uint64_t>(x), static_cast<std::uint64_t>(y)) % 10 == 0;
      }));
}

// The newest token, whose key is already in the cache.
Case decode(const std::string& heads_name, const Extents& extents) {
  const Problem p = problem_of(Mask::causal(), extents, 1);
  return {"decode/" + extents.type() + "/" + heads_name + "/d" + number(p.head_dim) + "/t" +
              number(p.kv_tokens),
          AttentionCase{p, KvSource::kCache}};
}

// The same from pages in random order.
Case decode_pages(const std::string& heads_name, std::int64_t page_size, const Extents& extents,
                  DType stored) {
  Case c = decode(heads_name, extents);
  auto& call = std::get<AttentionCase>(c.call);
  call.problem.storage.k = call.problem.storage.v = stored;
  call.source = KvSource::kPages;
  call.page_size = page_size;
  const std::string type = stored == DType::kF8E4M3 ? "fp8" : name(stored);
  c.name = "decode/" + type + "/" + heads_name + "/d" + number(extents.head_dim) + "/t" +
           number(extents.tokens) + "/pages" + number(page_size);
  return c;
}

// Latent attention: all heads read one key of 576 features, of which 512 are the value.
Case decode_latent(DType dtype) {
  Problem p = problem_of(Mask::causal(), {576, 16384, {128, 1}, dtype}, 1);
  p.v_head_dim = 512;
  return {std::string("decode/") + name(dtype) + "/mla128x1/d576/t16384",
          AttentionCase{p, KvSource::kRows}};
}

// 16 sequences at their newest tokens, after a prefix that is alike.
Case batch(bool shared, const Extents& extents, std::int64_t own) {
  Problem p = problem_of(Mask::causal(), extents, 1);
  p.kv_tokens += own;
  return {"batch16/" + extents.type() + "/mha/d" + number(p.head_dim) + "/t" +
              number(extents.tokens) + "+" + number(own) + (shared ? "/shared" : "/apart"),
          BatchCase{p, 16, extents.tokens, 256, shared}};
}

Case read_blocks(std::int64_t block_bytes) {
  return {"read/blocks" + number(block_bytes / 1024) + "k", ReadCase{block_bytes}};
}

// A call so small that what surrounds the arithmetic shows.
Case small_call(const Extents& extents) {
  const Problem p = problem_of(Mask::causal(), extents, 1);
  return {"small/f32/causal" + suffix(p), AttentionCase{p, KvSource::kCache, true}};
}

Case linear(WeightType type, std::int64_t rows, std::int64_t outputs, std::int64_t inputs) {
  const std::string type_name = type == WeightType::kNativeBF16 ? kNative : name(type);
  return {"linear/" + type_name + "/" + number(rows) + "x" + number(outputs) + "x" + number(inputs),
          LinearCase{type, rows, outputs, inputs}};
}

// A decoder of half a billion parameters, its head tied to the embedding.
Case half_billion(std::int64_t context) {
  ModelConfig config;
  config.vocab_size = 151936;
  config.hidden_size = 896;
  config.intermediate_size = 4864;
  config.num_hidden_layers = 24;
  config.num_attention_heads = 14;
  config.num_key_value_heads = 2;
  config.max_position_embeddings = 32768;
  config.tie_word_embeddings = true;
  return {"model/bf16/0.5b/t" + number(context),
          ModelCase{config.validated(), {WeightType::kBF16, DType::kBF16}, context}};
}

double weight_bytes(const LinearCase& c) {
  return static_cast<double>(c.outputs * c.inputs) * static_cast<double>(size_of(c.type));
}

// Of keys and values.
double kv_bytes(const AttentionCase& c) {
  const Problem& p = c.problem;
  const std::int64_t v_bytes =
      c.source == KvSource::kRows ? 0 : p.value_dim() * size_of(p.storage.v);
  return static_cast<double>(p.batch * p.kv_heads * p.kv_tokens *
                             (p.head_dim * size_of(p.storage.k) + v_bytes));
}

Work work_of(const AttentionCase& c) {
  const Problem& p = c.problem;
  const Storage& types = p.storage;
  const double bytes =
      kv_bytes(c) +
      static_cast<double>(p.batch * p.q_tokens * p.q_heads *
                          (p.head_dim * size_of(types.q) + p.value_dim() * size_of(types.o)));
  const double flops = 2.0 * static_cast<double>(p.visible_pairs() * (p.head_dim + p.value_dim()));
  return {flops, c.hot ? 0 : bytes, p.arithmetic == Arithmetic::kNativeBF16};
}

double cache_bytes(const BatchCase& c) {
  const Problem& p = c.problem;
  const std::int64_t spared = c.shared ? (c.sequences - 1) * c.shared_tokens : 0;
  return static_cast<double>((c.sequences * p.kv_tokens - spared) * p.kv_heads *
                             (p.head_dim + p.value_dim()) * size_of(p.storage.k));
}

Work work_of(const BatchCase& c) {
  const Problem& p = c.problem;
  const double rows = static_cast<double>(c.sequences * p.q_heads),
               width = static_cast<double>(p.head_dim + p.value_dim());
  return {2 * rows * static_cast<double>(p.kv_tokens) * width,
          cache_bytes(c) + sizeof(float) * rows * width};
}

Work work_of(const LinearCase& c) {
  const double rows = static_cast<double>(c.rows), outputs = static_cast<double>(c.outputs),
               inputs = static_cast<double>(c.inputs);
  return {2 * rows * outputs * inputs,
          weight_bytes(c) + sizeof(float) * (rows * inputs + rows * outputs),
          c.type == WeightType::kNativeBF16};
}

Work work_of(const ReadCase&) { return {static_cast<double>(kReadFloats), kReadBytes}; }  // it adds

// The linear maps of all layers, and the head.
double linear_weights(const ModelConfig& c) {
  const std::int64_t heads = (c.num_attention_heads + c.num_key_value_heads) * c.head_dim;
  return static_cast<double>(c.num_hidden_layers * c.hidden_size *
                                 (2 * heads + 3 * c.intermediate_size) +
                             c.vocab_size * c.hidden_size);
}

double bytes_of(const ModelCase& c) {
  const std::int64_t kv = c.config.num_hidden_layers * c.config.num_key_value_heads *
                          c.config.head_dim * 2 * size_of(c.options.cache);
  return linear_weights(c.config) * static_cast<double>(size_of(*c.options.weights)) +
         static_cast<double>(c.context * kv);
}

Work work_of(const ModelCase& c) {
  const std::int64_t pairs = c.config.num_hidden_layers * c.config.num_attention_heads * c.context;
  return {2 * linear_weights(c.config) + 4 * static_cast<double>(pairs * c.config.head_dim),
          bytes_of(c)};
}

double rotated_bytes_of(const AttentionCase& c) {
  return c.source == KvSource::kTensors || c.hot ? 0 : kv_bytes(c);
}

double rotated_bytes_of(const BatchCase& c) { return cache_bytes(c); }

double rotated_bytes_of(const LinearCase& c) { return c.rows == 1 ? weight_bytes(c) : 0; }

double rotated_bytes_of(const ReadCase&) { return kReadBytes; }

double rotated_bytes_of(const ModelCase& c) { return bytes_of(c); }

}  // namespace

Work Case::work() const {
  return std::visit([](const auto& c) { return work_of(c); }, call);
}

double Case::rotated_bytes() const {
  return std::visit([](const auto& c) { return rotated_bytes_of(c); }, call);
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      prefill("causal", Mask::causal(), {128, 4096, kMha}),
      prefill("dense", Mask::none(), {128, 4096, kMha}),
      prefill("causal", Mask::causal(), {64, 4096, kMha}),
      prefill("causal", Mask::causal(), {128, 2048, kGqa}),
      chunk(512, {128, 8192, kMha}),
      prefill("window256", Mask::sliding_window(256), {128, 4096, kMha}),
      prefill("blocks10of64", tenth_of_blocks(8192, 64), {128, 8192, kOne}),
      prefill("blocks10of128", tenth_of_blocks(8192, 128), {128, 8192, kOne}),
      prefill("causal", Mask::causal(), {128, 32768, kOne}),
      prefill("window1024", Mask::sliding_window(1024), {128, 32768, kOne}),
      decode("mha", {128, 65536, kMha}),
      decode("gqa32x8", {128, 65536, kGqa}),
      decode("mqa8x1", {128, 65536, kMqa}),
      decode("mha", {128, 4096, kMha}),
      decode("gqa32x8", {128, 4096, kGqa}),
      prefill("causal", Mask::causal(), {128, 4096, kMha, DType::kBF16}),
      decode("mha", {128, 65536, kMha, DType::kBF16}),
      decode("gqa32x8", {128, 65536, kGqa, DType::kBF16}),
      decode("mqa8x1", {128, 65536, kMqa, DType::kBF16}),
      decode("mha", {128, 65536, kMha, DType::kF16}),
      decode("gqa32x8", {128, 65536, kGqa, DType::kF16}),
      prefill("causal", Mask::causal(), native(128, 4096, kMha)),
      prefill("causal", Mask::causal(), native(64, 4096, kMha)),
      decode("mha", native(128, 65536, kMha)),
      decode("mqa8x1", native(128, 65536, kMqa)),
      decode_pages("mha", 256, {128, 65536, kMha}, DType::kF32),
      decode_pages("mha", 64, {128, 65536, kMha}, DType::kF32),
      decode_pages("mha", 16, {128, 65536, kMha}, DType::kF32),
      read_blocks(128 << 10),  // the keys, and the values, of such a page and head
      read_blocks(32 << 10),
      read_blocks(8 << 10),
      decode_pages("mha", 256, {128, 65536, kMha}, DType::kInt8),
      decode_pages("gqa32x8", 256, {128, 65536, kGqa}, DType::kInt8),
      decode_pages("mha", 256, {128, 65536, kMha}, DType::kF8E4M3),
      decode_latent(DType::kF32),
      decode_latent(DType::kBF16),
      batch(false, {128, 8192, kMha}, 512),
      batch(true, {128, 8192, kMha}, 512),
      small_call({64, 128, kMha}),
      linear(WeightType::kF32, 1024, 1024, 1024),
      linear(WeightType::kF32, 1024, 4096, 4096),
      linear(WeightType::kF32, 1, 4096, 4096),
      linear(WeightType::kBF16, 1024, 1024, 1024),
      linear(WeightType::kBF16, 1, 4096, 4096),
      linear(WeightType::kInt8, 1, 4096, 4096),
      linear(WeightType::kNativeBF16, 1024, 4096, 4096),
      linear(WeightType::kNativeBF16, 1, 4096, 4096),
      half_billion(1024),
  };
  return all;
}

std::vector<Case> cases_matching(const std::string& glob) {
  std::vector<Case> found;
  std::string names;
  for (const Case& c : cases()) {
    if (fnmatch(glob.c_str(), c.name.c_str(), 0) == 0) found.push_back(c);
    names += "\n  " + c.name;
  }
  if (found.empty())
    throw Error(
        ErrorCode::kBadArgument,
        "bench case: expected a pattern that matches one of these, got '" + glob + "'" + names);
  return found;
}

}  // namespace rapt::bench
