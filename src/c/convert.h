#pragma once

#include "c/handles.h"

namespace rapt::c {

/// The C structs as the C++ API has them. `where` begins the message of what is refused.
/// @throws Error{kBadArgument, kUnsupported} naming the field.

DType dtype_of(rapt_dtype dtype, const char* where);

AnyConstTensor input_of(const rapt_tensor& tensor, const char* where);
AnyTensor output_of(const rapt_tensor& tensor, const char* where);

/// Of f32 alone; without data, whatever else it is.
MutableTensor f32_of(const rapt_tensor& tensor, const char* where);

/// Of f32 with data, unless it has no element.
MutableTensor filled_f32_of(const rapt_tensor& tensor, const char* where);

/// The tensor behind an argument.
const rapt_tensor& given(const rapt_tensor* tensor, const char* where);

/// NULL is the calling thread.
Threads threads_of(const rapt_threads* threads, const char* where);

Problem problem_of(const rapt_problem* problem);
Inputs inputs_of(const rapt_inputs* inputs);
Result result_of(const rapt_result* result);

/// The numbers of an array.
template <class T>
std::vector<T> values_of(const T* values, std::int64_t count, const char* where) {
  require_extent(count, 0, where);
  if (count > 0) require_pointer(values, where, "an array");
  return std::vector<T>(values, values + count);
}

}  // namespace rapt::c
