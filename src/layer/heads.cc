#include "base/check.h"
#include "rapt/layer.h"

namespace rapt {
namespace {

template <class T>
TensorView<T> split(const TensorView<T>& x, std::int64_t heads) {
  require(heads > 0 && x.extents[0] == 1 && x.extents[3] % heads == 0, ErrorCode::kBadShape,
          "split_heads.x", "[1, B, T, a multiple of " + std::to_string(heads) + "]", x.extents);
  const std::int64_t dim = x.extents[3] / heads;
  return {x.data,
          {x.extents[1], x.extents[2], heads, dim},
          {x.strides[1], x.strides[2], dim * x.strides[3], x.strides[3]}};
}

template <class T>
TensorView<T> merge(const TensorView<T>& x) {
  const std::int64_t heads = x.extents[2], dim = x.extents[3];
  require(heads <= 1 || x.strides[2] == dim * x.strides[3], ErrorCode::kBadShape, "merge_heads.x",
          "heads " + std::to_string(dim * x.strides[3]) + " elements apart", x.strides[2]);
  return {x.data,
          {1, x.extents[0], x.extents[1], heads * dim},
          {0, x.strides[0], x.strides[1], x.strides[3]}};
}

}  // namespace

ConstTensor split_heads(const ConstTensor& x, std::int64_t heads) { return split(x, heads); }
MutableTensor split_heads(const MutableTensor& x, std::int64_t heads) { return split(x, heads); }
ConstTensor merge_heads(const ConstTensor& x) { return merge(x); }
MutableTensor merge_heads(const MutableTensor& x) { return merge(x); }

}  // namespace rapt
