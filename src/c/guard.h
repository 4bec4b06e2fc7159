#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "base/check.h"
#include "rapt/rapt.h"

namespace rapt::c {

/// Keeps the message for rapt_error_message, cut to its buffer: nothing is allocated.
rapt_status fail(rapt_status status, const char* message) noexcept;

rapt_status status_of(ErrorCode code) noexcept;

/// RAPT_OK after f(); what it throws becomes a status and a message.
template <class F>
rapt_status guard(F&& f) noexcept {
  try {
    f();
    return RAPT_OK;
  } catch (const Error& error) {
    return fail(status_of(error.code()), error.what());
  } catch (const std::bad_alloc&) {
  } catch (const std::length_error&) {
  } catch (const std::exception& fault) {
    return fail(RAPT_INTERNAL, fault.what());
  } catch (...) {
    return fail(RAPT_INTERNAL, "rapt: expected rapt::Error, got an exception without a name");
  }
  return fail(RAPT_OUT_OF_MEMORY, "rapt: expected enough memory, got too little");
}

inline void require_pointer(const void* pointer, const char* where, const char* expected) {
  require(pointer != nullptr, ErrorCode::kBadArgument, where, expected, "a null pointer");
}

/// What messages call a kind of handle.
template <std::size_t kSize>
struct KindName {
  consteval KindName(const char (&name)[kSize]) { std::copy_n(name, kSize, text); }
  char text[kSize];
};

/// A value behind a C pointer. The mark tells kinds apart, and, while its memory is not used anew, a
/// handle that was destroyed.
template <class T, KindName kKind>
struct Handle {
  static constexpr const char* kName = kKind.text;
  ~Handle() { mark = nullptr; }

  const char* volatile mark;
  T value;
};

/// The value of a handle that a caller gave.
template <class H>
auto& value_of(H* handle, const char* where) {
  require_pointer(handle, where, H::kName);
  require(handle->mark == H::kName, ErrorCode::kBadArgument, where, H::kName,
          "another object, or one that was destroyed");
  return handle->value;
}

/// Makes a handle of make().
template <class H, class F>
rapt_status create(const char* where, H** out, F&& make) noexcept {
  return guard([&] {
    require_pointer(out, where, "a place for the handle");
    *out = nullptr;
    *out = new H{{H::kName, make()}};
  });
}

/// Writes `*out`.
template <class T, class F>
rapt_status answer(const char* where, T* out, F&& value) noexcept {
  return guard([&] {
    require_pointer(out, where, "a place for the answer");
    *out = static_cast<T>(value());
  });
}

/// Writes a text as snprintf does.
template <class F>
rapt_status answer_text(const char* where, char* text, std::size_t capacity, std::size_t* length,
                        F&& make) noexcept {
  return guard([&] {
    if (capacity > 0) require_pointer(text, where, "a place for the text");
    const std::string made = make();
    if (length != nullptr) *length = made.size();
    if (capacity == 0) return;
    const std::size_t kept = std::min(made.size(), capacity - 1);
    std::memcpy(text, made.data(), kept);
    text[kept] = '\0';
  });
}

/// Bytes of a struct's first version, which end with this field: a later one only adds to them.
template <class T>
inline constexpr std::size_t kFirstSize = 0;
template <>
inline constexpr std::size_t kFirstSize<rapt_problem> = offsetof(rapt_problem, sinks) +
                                                        sizeof(rapt_problem::sinks);
template <>
inline constexpr std::size_t kFirstSize<rapt_kv_cache_shape> =
    offsetof(rapt_kv_cache_shape, capacity) + sizeof(rapt_kv_cache_shape::capacity);
template <>
inline constexpr std::size_t kFirstSize<rapt_inputs> = offsetof(rapt_inputs, bias) +
                                                       sizeof(rapt_inputs::bias);
template <>
inline constexpr std::size_t kFirstSize<rapt_result> = offsetof(rapt_result, l) +
                                                       sizeof(rapt_result::l);
template <>
inline constexpr std::size_t kFirstSize<rapt_rotary_config> =
    offsetof(rapt_rotary_config, long_factor) + sizeof(rapt_rotary_config::long_factor);

/// A caller's struct, of this version or another: fields that it has not are 0, and those that this
/// library does not know must be.
template <class T>
T read_struct(const T* given, const char* name) {
  constexpr std::size_t kFirst = kFirstSize<T>;
  constexpr std::size_t kMost = 1 << 14;  // beyond, it is no size
  static_assert(kFirst > 0 && kFirst <= sizeof(T));
  require_pointer(given, name, "a struct");
  const std::size_t size = given->size;
  if (size < kFirst || size > kMost)
    require(false, ErrorCode::kBadArgument, std::string(name) + ".size",
            "its sizeof, at least " + std::to_string(kFirst), size);
  const char* const bytes = reinterpret_cast<const char*>(given);
  const bool known = std::all_of(bytes + std::min(size, sizeof(T)), bytes + size,
                                 [](char byte) { return byte == 0; });
  if (!known)
    require(false, ErrorCode::kUnsupported, std::string(name) + ".size",
            "zeros beyond the " + std::to_string(sizeof(T)) + " bytes that this version knows",
            "others");
  T read{};
  std::memcpy(&read, given, std::min(size, sizeof(T)));
  return read;
}

}  // namespace rapt::c
