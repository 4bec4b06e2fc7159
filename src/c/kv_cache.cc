#include "rapt/kv_cache.h"

#include "c/convert.h"

namespace rapt::c {
namespace {

DenseKvCache::Shape shape_of(const rapt_kv_cache_shape* shape) {
  const rapt_kv_cache_shape from = read_struct(shape, "rapt_kv_cache_shape");
  return {from.batch,      from.kv_heads, from.head_dim,
          from.v_head_dim, from.capacity, dtype_of(from.dtype, "rapt_kv_cache_shape.dtype")};
}

AnyTensor view_of(const rapt_tensor* tensor, const char* where) {
  return output_of(given(tensor, where), where);
}

}  // namespace
}  // namespace rapt::c

using rapt::c::guard;
using rapt::c::value_of;
using rapt::c::view_of;

rapt_status rapt_kv_cache_create(const rapt_kv_cache_shape* shape, rapt_kv_cache** out) {
  return rapt::c::create("rapt_kv_cache_create out", out,
                         [&] { return rapt::DenseKvCache(rapt::c::shape_of(shape)); });
}

rapt_status rapt_kv_cache_bytes(const rapt_kv_cache_shape* shape, size_t* bytes) {
  return rapt::c::answer("rapt_kv_cache_bytes bytes", bytes,
                         [&] { return rapt::DenseKvCache::bytes_of(rapt::c::shape_of(shape)); });
}

rapt_status rapt_kv_cache_append(rapt_kv_cache* cache, const rapt_tensor* k, const rapt_tensor* v) {
  return guard([&] {
    value_of(cache, "rapt_kv_cache_append cache")
        .append(view_of(k, "rapt_kv_cache_append k"), view_of(v, "rapt_kv_cache_append v"));
  });
}

rapt_status rapt_kv_cache_append_one(rapt_kv_cache* cache, int64_t sequence, const rapt_tensor* k,
                                     const rapt_tensor* v) {
  return guard([&] {
    value_of(cache, "rapt_kv_cache_append_one cache")
        .append(sequence, view_of(k, "rapt_kv_cache_append_one k"),
                view_of(v, "rapt_kv_cache_append_one v"));
  });
}

rapt_status rapt_kv_cache_truncate(rapt_kv_cache* cache, int64_t sequence, int64_t length) {
  return guard([&] { value_of(cache, "rapt_kv_cache_truncate cache").truncate(sequence, length); });
}

rapt_status rapt_kv_cache_read(const rapt_kv_cache* cache, int64_t sequence, const rapt_tensor* k,
                               const rapt_tensor* v) {
  return guard([&] {
    value_of(cache, "rapt_kv_cache_read cache")
        .read(sequence, view_of(k, "rapt_kv_cache_read k"), view_of(v, "rapt_kv_cache_read v"));
  });
}

rapt_status rapt_kv_cache_length(const rapt_kv_cache* cache, int64_t sequence, int64_t* length) {
  return rapt::c::answer("rapt_kv_cache_length length", length, [&] {
    const rapt::DenseKvCache& kept = value_of(cache, "rapt_kv_cache_length cache");
    const std::int64_t batch = kept.shape().batch;
    rapt::require(sequence >= 0 && sequence < batch, rapt::ErrorCode::kBadArgument,
                  "rapt_kv_cache_length sequence", "0 to batch - 1", sequence);
    return kept.length(sequence);
  });
}

void rapt_kv_cache_destroy(rapt_kv_cache* cache) { delete cache; }
