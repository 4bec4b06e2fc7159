#pragma once

// NumPy's .npy files: a header in Python's syntax, then the elements in C order.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace rapt::test {

/// f16 bits as a number; exact.
inline double from_half(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  double magnitude = std::ldexp(fraction + (exponent == 0 ? 0 : 1024), std::max(exponent, 1) - 25);
  if (exponent == 31) magnitude = fraction == 0 ? INFINITY : NAN;
  return bits >> 15 != 0 ? -magnitude : magnitude;
}

/// An array of bool ("|b1"), int64 ("<i8"), float16, float32 or float64 ("<f2", "<f4", "<f8").
struct NpyArray {
  std::string dtype;                ///< as NumPy writes it
  std::vector<std::int64_t> shape;  ///< empty: one element
  std::string bytes;

  std::int64_t size() const {
    std::int64_t product = 1;
    for (const std::int64_t extent : shape) product *= extent;
    return product;
  }

  /// All elements in C order, converted as by static_cast.
  template <class T>
  std::vector<T> values() const {
    if (dtype == "|b1") return converted<T, std::uint8_t>();
    if (dtype == "<i8") return converted<T, std::int64_t>();
    if (dtype == "<f2") return converted<T, std::uint16_t>(from_half);
    if (dtype == "<f4") return converted<T, float>();
    if (dtype == "<f8") return converted<T, double>();
    throw std::runtime_error("NpyArray: expected b1, i8, f2, f4 or f8, got " + dtype);
  }

 private:
  template <class T, class Stored, class Read>
  std::vector<T> converted(Read&& read) const {
    if (bytes.size() != size() * sizeof(Stored))
      throw std::runtime_error("NpyArray: expected " + std::to_string(size() * sizeof(Stored)) +
                               " bytes, got " + std::to_string(bytes.size()));
    std::vector<T> result;
    result.reserve(size());
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(Stored)) {
      Stored stored;
      std::memcpy(&stored, bytes.data() + at, sizeof stored);
      result.push_back(static_cast<T>(read(stored)));
    }
    return result;
  }

  template <class T, class Stored>
  std::vector<T> converted() const {
    return converted<T, Stored>([](Stored stored) { return stored; });
  }
};

/// Reads a file of format 1.x.
/// @throws std::runtime_error naming the file where it is none, or in Fortran order.
inline NpyArray read_npy(const std::filesystem::path& path) {
  static_assert(std::endian::native == std::endian::little);
  std::ifstream in(path, std::ios::binary);
  const std::string file(std::istreambuf_iterator<char>(in), {});
  const auto check = [&](bool ok) {
    if (!ok) throw std::runtime_error(path.string() + ": expected .npy 1.x in C order");
  };
  check(file.size() >= 10 && file.compare(0, 7, "\x93NUMPY\x01") == 0);
  const std::size_t header_bytes =
      static_cast<unsigned char>(file[8]) + 256u * static_cast<unsigned char>(file[9]);
  const std::string header = file.substr(10, header_bytes);
  const auto after = [&](const std::string& key) {
    const std::size_t at = header.find("'" + key + "': ");
    check(at != std::string::npos);
    return header.substr(at + key.size() + 4);
  };
  check(after("fortran_order").starts_with("False"));
  NpyArray array;
  array.dtype = after("descr").substr(1, 3);
  const std::string shape = after("shape");
  for (std::size_t at = 1; shape[at] != ')';) {  // "(2, 3)", "(2,)", "()"
    std::size_t digits = 0;
    array.shape.push_back(std::stoll(shape.substr(at), &digits));
    at = shape.find_first_not_of(", ", at + digits);
  }
  array.bytes = file.substr(10 + header_bytes);
  return array;
}

}  // namespace rapt::test
