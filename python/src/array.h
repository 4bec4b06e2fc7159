#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rapt/tensor.h"

namespace rapt::python {

namespace nb = nanobind;

/// Element types of arrays that some argument takes.
enum class Element { kF32, kBF16, kF16, kBool, kU8, kI32, kI64, kOther };

/// The library that new arrays are to be of.
struct Library {
  void* exchange_api = nullptr;  ///< torch's; numpy where there is none
};

/// A Python array, read where it is: numpy's and other buffers, torch's tensors and whatever else
/// speaks DLPack on the CPU. It is never copied.
///
/// Made and destroyed with the GIL held; it keeps the object and its memory alive.
class Array {
 public:
  /// @throws Error{kBadArgument} starting with `where`: no array, not on the CPU, elements that are
  ///         not aligned, strides that are not whole elements, a tensor that asks for a gradient.
  Array(nb::handle object, const char* where);

  /// A new array; what it holds is unspecified.
  static Array empty(const Library& library, DType dtype, std::vector<std::int64_t> extents);

  /// A view of four axes; fewer get leading extents of 1.
  /// @throws Error{kBadArgument} unless elements are f32, bf16 or f16; Error{kBadShape} unless there
  ///         are `axes` axes.
  AnyConstTensor view(int axes = 4) const;

  /// The same of f32 alone.
  ConstTensor f32_view(int axes = 4) const;

  /// The same to write to.
  /// @throws Error{kBadArgument} also if it is read-only or elements share memory.
  AnyTensor mutable_view(int axes = 4) const;
  MutableTensor mutable_f32_view(int axes = 4) const;

  Library library() const { return {exchange_api_}; }
  nb::object object() const { return object_; }
  const char* where() const { return where_; }
  Element element() const { return element_; }
  int axes() const { return axes_; }
  std::int64_t extent(int axis) const { return extents_[axis]; }
  std::int64_t stride(int axis) const { return strides_[axis]; }
  void* data() const { return data_; }

  /// "float64 [2, 3]", for errors.
  std::string describe() const;

 private:
  static constexpr int kMaxAxes = 8;
  struct Release;  // gives back what a protocol lent

  Array() = default;
  bool take_buffer();
  bool take_exchange_api();
  bool take_dlpack();
  void take(void* tensor);
  void check_memory() const;
  void set_axes(int axes);
  Dims four(const std::int64_t* from, std::int64_t missing) const;
  static Array empty_tensor(const Library& library, DType dtype, std::vector<std::int64_t> extents);

  nb::object object_;
  const char* where_ = "";
  std::shared_ptr<Release> release_;
  void* exchange_api_ = nullptr;  // of a torch tensor
  void* data_ = nullptr;
  Element element_ = Element::kOther;
  std::string type_name_;  // of elements of no known type
  bool read_only_ = false;
  int axes_ = 0;
  std::int64_t extents_[kMaxAxes] = {};
  std::int64_t strides_[kMaxAxes] = {};
};

/// Whole numbers: a sequence of them, or an array of one axis of int32 or int64.
std::vector<std::int64_t> ints_of(nb::handle object, const char* where);

/// A sequence of such, or an array of two axes.
std::vector<std::vector<std::int64_t>> int_lists_of(nb::handle object, const char* where);

/// Numbers: a sequence of them, or an array of one axis of f32, bf16 or f16.
std::vector<float> floats_of(nb::handle object, const char* where);

/// Whether `out` and `in` lie in stretches of memory that meet.
bool overlap(const AnyConstTensor& out, const AnyConstTensor& in);

/// @throws Error{kBadArgument} starting with `where` unless y is x in place or lies apart from it.
void require_in_place_or_apart(const MutableTensor& y, const ConstTensor& x, const char* where);

}  // namespace rapt::python
