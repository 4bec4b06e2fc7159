#include "array.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "dlpack.h"
#include "error.h"

namespace rapt::python {

namespace {

struct ElementName {
  Element element;
  const char* name;
  std::int64_t bytes;
};

constexpr ElementName kNames[] = {{Element::kF32, "float32", 4}, {Element::kBF16, "bfloat16", 2},
                                  {Element::kF16, "float16", 2}, {Element::kBool, "bool", 1},
                                  {Element::kU8, "uint8", 1},    {Element::kI32, "int32", 4},
                                  {Element::kI64, "int64", 8}};

const ElementName* name_of(Element element) {
  for (const ElementName& name : kNames)
    if (name.element == element) return &name;
  return nullptr;
}

Element element_of_format(const char* format) {
  std::string_view f = format == nullptr ? "B" : format;
  if (f.size() == 2 && (f[0] == '<' || f[0] == '=' || f[0] == '@')) f.remove_prefix(1);
  if (f == "f") return Element::kF32;
  if (f == "e") return Element::kF16;
  if (f == "?") return Element::kBool;
  if (f == "B") return Element::kU8;
  if (f == "i") return Element::kI32;
  if (f == "l" || f == "q") return Element::kI64;
  return Element::kOther;
}

Element element_of(dlpack::DataType type) {
  if (type.lanes != 1) return Element::kOther;
  const auto is = [&](dlpack::Code code, int bits) {
    return type.code == code && type.bits == bits;
  };
  if (is(dlpack::kFloat, 32)) return Element::kF32;
  if (is(dlpack::kFloat, 16)) return Element::kF16;
  if (is(dlpack::kBfloat, 16)) return Element::kBF16;
  if (is(dlpack::kBool, 8)) return Element::kBool;
  if (is(dlpack::kUInt, 8)) return Element::kU8;
  if (is(dlpack::kInt, 32)) return Element::kI32;
  if (is(dlpack::kInt, 64)) return Element::kI64;
  return Element::kOther;
}

DType dtype_of(Element element) {
  return element == Element::kF32    ? DType::kF32
         : element == Element::kBF16 ? DType::kBF16
                                     : DType::kF16;
}

std::string text_of(nb::handle object) { return nb::cast<std::string>(nb::str(object)); }

std::string type_of(nb::handle object) {
  return text_of(nb::handle(reinterpret_cast<PyObject*>(Py_TYPE(object.ptr()))).attr("__name__"));
}

constexpr const char* kResult = "result";

nb::handle numpy_empty() {
  // Never given back: the interpreter may be gone when statics are destroyed. No guarded static: the
  // import lets other threads run, and one that waited for the guard would keep the GIL.
  static PyObject* empty = nullptr;
  if (empty == nullptr)
    empty = nb::object(nb::module_::import_("numpy").attr("empty")).release().ptr();
  return empty;
}

nb::object numpy_type(DType dtype) {
  static const nb::handle f32 = nb::str("float32").release(), f16 = nb::str("float16").release();
  if (dtype == DType::kBF16) return nb::module_::import_("ml_dtypes").attr("bfloat16");
  return nb::borrow(dtype == DType::kF32 ? f32 : f16);
}

}  // namespace

struct Array::Release {
  Py_buffer buffer{};
  dlpack::ManagedTensor* managed = nullptr;
  dlpack::VersionedTensor* versioned = nullptr;

  ~Release() {
    if (buffer.obj != nullptr) PyBuffer_Release(&buffer);
    if (managed != nullptr && managed->deleter != nullptr) managed->deleter(managed);
    if (versioned != nullptr && versioned->deleter != nullptr) versioned->deleter(versioned);
  }
};

Array::Array(nb::handle object, const char* where) : object_(nb::borrow(object)), where_(where) {
  if (!take_buffer() && !take_exchange_api() && !take_dlpack())
    refuse(where, "an array of numpy, torch or any that speaks DLPack", type_of(object));
  check_memory();
}

bool Array::take_buffer() {
  if (PyObject_CheckBuffer(object_.ptr()) == 0) return false;
  auto release = std::make_shared<Release>();
  bool is_bf16 = false;
  if (PyObject_GetBuffer(object_.ptr(), &release->buffer, PyBUF_RECORDS_RO) != 0) {
    // numpy lends no buffer of a type that it does not know; the same bits, it does.
    PyErr_Clear();
    type_name_ = text_of(object_.attr("dtype"));
    if (type_name_ != "bfloat16") refuse(where_, "float32, bfloat16 or float16", type_name_);
    const nb::object bits = object_.attr("view")("uint16");
    if (PyObject_GetBuffer(bits.ptr(), &release->buffer, PyBUF_RECORDS_RO) != 0)
      nb::raise_python_error();
    is_bf16 = true;
  }
  const Py_buffer& buffer = release->buffer;
  element_ = is_bf16 ? Element::kBF16 : element_of_format(buffer.format);
  if (element_ == Element::kOther) {
    type_name_ = nb::hasattr(object_, "dtype") ? text_of(object_.attr("dtype")) : buffer.format;
  }
  set_axes(buffer.ndim);
  data_ = buffer.buf;
  read_only_ = buffer.readonly != 0;
  if (buffer.itemsize == 0) refuse(where_, "elements of a byte or more", type_name_);
  for (int a = 0; a < axes_; ++a) {
    extents_[a] = buffer.shape[a];
    if (buffer.strides[a] % buffer.itemsize != 0)
      refuse(where_, "strides of whole elements", std::to_string(buffer.strides[a]) + " bytes");
    strides_[a] = buffer.strides[a] / buffer.itemsize;
  }
  release_ = std::move(release);
  return true;
}

bool Array::take_exchange_api() {
  static PyObject* const name = PyUnicode_InternFromString("__dlpack_c_exchange_api__");
  auto* type = reinterpret_cast<PyObject*>(Py_TYPE(object_.ptr()));
  const nb::object capsule = nb::steal(PyObject_GetAttr(type, name));
  if (!capsule.is_valid()) {
    PyErr_Clear();
    return false;
  }
  auto* api =
      static_cast<dlpack::ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  PyErr_Clear();
  while (api != nullptr && api->version.major != 1) api = api->previous;
  if (api == nullptr || api->from_object == nullptr) return false;
  if (nb::cast<bool>(nb::getattr(object_, "requires_grad", nb::bool_(false))))
    refuse(where_, "a tensor that asks for no gradient (detach it)", "requires_grad");
  dlpack::Tensor tensor{};
  if (api->from_object(object_.ptr(), &tensor) != 0) {
    PyErr_Clear();
    refuse(where_, "a dense tensor in memory of the CPU", text_of(object_.attr("device")));
  }
  take(&tensor);
  exchange_api_ = api;
  return true;
}

bool Array::take_dlpack() {
  if (!nb::hasattr(object_, "__dlpack__")) return false;
  const auto device = nb::cast<nb::tuple>(object_.attr("__dlpack_device__")());
  if (nb::cast<int>(device[0]) != dlpack::kCpu)
    refuse(where_, "memory of the CPU", "DLPack device " + text_of(device));
  nb::object capsule;
  try {
    capsule = object_.attr("__dlpack__")(nb::arg("max_version") = nb::make_tuple(1, 0));
  } catch (nb::python_error& e) {
    if (!e.matches(PyExc_TypeError)) throw;
    capsule = object_.attr("__dlpack__")();
  }
  release_ = std::make_shared<Release>();
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned") != 0) {
    release_->versioned = static_cast<dlpack::VersionedTensor*>(
        PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    PyCapsule_SetName(capsule.ptr(), "used_dltensor_versioned");
    take(&release_->versioned->tensor);
    read_only_ = (release_->versioned->flags & dlpack::kReadOnly) != 0;
  } else {
    release_->managed =
        static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
    if (release_->managed == nullptr) nb::raise_python_error();
    PyCapsule_SetName(capsule.ptr(), "used_dltensor");
    take(&release_->managed->tensor);
  }
  return true;
}

void Array::take(void* memory) {
  const auto& tensor = *static_cast<const dlpack::Tensor*>(memory);
  if (tensor.device_type != dlpack::kCpu)
    refuse(where_, "memory of the CPU", text_of(object_.attr("device")));
  element_ = element_of(tensor.dtype);
  if (element_ == Element::kOther) type_name_ = text_of(object_.attr("dtype"));
  set_axes(tensor.ndim);
  data_ = static_cast<char*>(tensor.data) + tensor.byte_offset;
  std::int64_t contiguous = 1;
  for (int a = axes_ - 1; a >= 0; --a) {
    extents_[a] = tensor.shape[a];
    strides_[a] = tensor.strides == nullptr ? contiguous : tensor.strides[a];
    contiguous *= extents_[a];
  }
}

void Array::set_axes(int axes) {
  if (axes > kMaxAxes) refuse(where_, "at most 8 axes", std::to_string(axes));
  axes_ = axes;
}

void Array::check_memory() const {
  const ElementName* name = name_of(element_);
  if (name != nullptr && reinterpret_cast<std::uintptr_t>(data_) % name->bytes != 0)
    refuse(where_, "elements at multiples of their size", "unaligned memory");
}

std::string Array::describe() const {
  const ElementName* name = name_of(element_);
  std::string text = (name != nullptr ? name->name : type_name_) + " [";
  for (int a = 0; a < axes_; ++a) text += (a == 0 ? "" : ", ") + std::to_string(extents_[a]);
  return text + "]";
}

Dims Array::four(const std::int64_t* from, std::int64_t missing) const {
  Dims dims{missing, missing, missing, missing};
  std::copy_n(from, axes_, dims.end() - axes_);
  return dims;
}

AnyConstTensor Array::view(int axes) const {
  if (element_ > Element::kF16) refuse(where_, "float32, bfloat16 or float16", describe());
  if (axes_ != axes)
    refuse(where_, std::to_string(axes) + " axes", describe(), ErrorCode::kBadShape);
  return {data_, dtype_of(element_), four(extents_, 1), four(strides_, 0)};
}

ConstTensor Array::f32_view(int axes) const {
  if (element_ != Element::kF32) refuse(where_, "float32", describe());
  return view(axes).as<float>();
}

AnyTensor Array::mutable_view(int axes) const {
  const AnyConstTensor v = view(axes);
  if (read_only_) refuse(where_, "memory that may be written", "a read-only array");
  const bool is_empty = std::count(v.extents.begin(), v.extents.end(), 0) > 0;
  for (int a = 0; a < 4; ++a)
    if (v.strides[a] == 0 && v.extents[a] > 1 && !is_empty)
      refuse(where_, "elements with memory of their own", "a stride of 0");
  return {data_, v.dtype, v.extents, v.strides};
}

MutableTensor Array::mutable_f32_view(int axes) const {
  if (element_ != Element::kF32) refuse(where_, "float32", describe());
  return mutable_view(axes).as<float>();
}

Array Array::empty(const Library& library, DType dtype, std::vector<std::int64_t> extents) {
  if (library.exchange_api != nullptr) return empty_tensor(library, dtype, std::move(extents));
  const nb::object shape = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(extents.size())));
  Py_ssize_t a = 0;
  for (const std::int64_t extent : extents)
    PyTuple_SET_ITEM(shape.ptr(), a++, PyLong_FromLongLong(extent));
  return Array(numpy_empty()(shape, numpy_type(dtype)), kResult);
}

Array Array::empty_tensor(const Library& library, DType dtype, std::vector<std::int64_t> extents) {
  const auto& api = *static_cast<const dlpack::ExchangeApi*>(library.exchange_api);
  const auto bits = static_cast<std::uint8_t>(8 * size_of(dtype));
  dlpack::Tensor prototype{};
  prototype.device_type = dlpack::kCpu;
  prototype.ndim = static_cast<std::int32_t>(extents.size());
  prototype.dtype = {dtype == DType::kBF16 ? dlpack::kBfloat : dlpack::kFloat, bits, 1};
  prototype.shape = extents.data();
  dlpack::VersionedTensor* tensor = nullptr;
  std::string error;
  const auto set_error = [](void* text, const char* /*kind*/, const char* message) {
    *static_cast<std::string*>(text) = message;
  };
  if (api.allocate(&prototype, &tensor, &error, set_error) != 0)
    throw Error(ErrorCode::kOutOfMemory, std::string(kResult) + ": " + error);
  Array array;
  array.where_ = kResult;
  array.exchange_api_ = library.exchange_api;
  array.take(&tensor->tensor);
  void* object = nullptr;
  if (api.to_object(tensor, &object) != 0) nb::raise_python_error();
  array.object_ = nb::steal(static_cast<PyObject*>(object));
  return array;
}

namespace {

bool is_array(nb::handle object) {
  return PyObject_CheckBuffer(object.ptr()) != 0 || nb::hasattr(object, "__dlpack__");
}

/// Items of a sequence that is no array.
std::vector<nb::object> items_of(nb::handle object, const char* where, const char* expected) {
  const nb::object items = nb::steal(PySequence_Fast(object.ptr(), ""));
  if (!items.is_valid()) {
    PyErr_Clear();
    refuse(where, expected, type_of(object));
  }
  std::vector<nb::object> list;
  for (Py_ssize_t n = 0; n < PySequence_Fast_GET_SIZE(items.ptr()); ++n)
    list.push_back(nb::borrow(PySequence_Fast_GET_ITEM(items.ptr(), n)));
  return list;
}

std::int64_t int_at(const Array& x, std::int64_t offset) {
  return x.element() == Element::kI32 ? static_cast<const std::int32_t*>(x.data())[offset]
                                      : static_cast<const std::int64_t*>(x.data())[offset];
}

Array int_array(nb::handle object, const char* where, int axes) {
  Array x(object, where);
  if ((x.element() != Element::kI32 && x.element() != Element::kI64) || x.axes() != axes)
    refuse(where, "int32 or int64 of " + std::to_string(axes) + " axes", x.describe());
  return x;
}

}  // namespace

std::vector<std::int64_t> ints_of(nb::handle object, const char* where) {
  std::vector<std::int64_t> list;
  if (is_array(object)) {
    const Array x = int_array(object, where, 1);
    for (std::int64_t n = 0; n < x.extent(0); ++n) list.push_back(int_at(x, n * x.stride(0)));
    return list;
  }
  for (const nb::object& item : items_of(object, where, "whole numbers")) {
    const Py_ssize_t n = PyNumber_AsSsize_t(item.ptr(), PyExc_OverflowError);
    if (n == -1 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      refuse(where, "whole numbers below 2^63", text_of(nb::repr(item)));
    }
    list.push_back(n);
  }
  return list;
}

std::vector<std::vector<std::int64_t>> int_lists_of(nb::handle object, const char* where) {
  std::vector<std::vector<std::int64_t>> lists;
  if (is_array(object)) {
    const Array x = int_array(object, where, 2);
    for (std::int64_t b = 0; b < x.extent(0); ++b) {
      std::vector<std::int64_t>& list = lists.emplace_back();
      for (std::int64_t n = 0; n < x.extent(1); ++n)
        list.push_back(int_at(x, b * x.stride(0) + n * x.stride(1)));
    }
    return lists;
  }
  for (const nb::object& item : items_of(object, where, "a list of lists of whole numbers"))
    lists.push_back(ints_of(item, where));
  return lists;
}

std::vector<float> floats_of(nb::handle object, const char* where) {
  std::vector<float> list;
  if (is_array(object)) {
    const Array x(object, where);
    const AnyConstTensor v = x.view(1);
    for (std::int64_t n = 0; n < v.extents[3]; ++n) list.push_back(v.at(0, 0, 0, n));
    return list;
  }
  for (const nb::object& item : items_of(object, where, "numbers")) {
    const double x = PyFloat_AsDouble(item.ptr());
    if (x == -1 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      refuse(where, "numbers", text_of(nb::repr(item)));
    }
    list.push_back(static_cast<float>(x));
  }
  return list;
}

bool overlap(const AnyConstTensor& out, const AnyConstTensor& in) {
  struct Stretch {
    const char *begin, *end;
  };
  const auto stretch = [](const AnyConstTensor& x) -> Stretch {
    std::int64_t low = 0, high = 1;
    for (int a = 0; a < 4; ++a) {
      if (x.extents[a] == 0) return {nullptr, nullptr};
      const std::int64_t last = (x.extents[a] - 1) * x.strides[a];
      (last < 0 ? low : high) += last;
    }
    const auto* data = static_cast<const char*>(x.data);
    return {data + low * size_of(x.dtype), data + high * size_of(x.dtype)};
  };
  const Stretch a = stretch(out), b = stretch(in);
  return a.begin < b.end && b.begin < a.end;
}

void require_in_place_or_apart(const MutableTensor& y, const ConstTensor& x, const char* where) {
  const bool in_place = y.data == x.data && y.strides == x.strides;
  if (!in_place && overlap(y, x)) refuse(where, "x itself or memory of its own", "a part of x");
}

}  // namespace rapt::python
