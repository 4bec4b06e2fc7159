// The reader of .npy files that the conformance tests stand on.
#include "npy.h"

#include <gtest/gtest.h>

namespace rapt::test {
namespace {

NpyArray read_back(const std::string& content) {
  // A file for each test: they run side by side.
  const std::filesystem::path path = testing::TempDir() + "/rapt_" +
                                     testing::UnitTest::GetInstance()->current_test_info()->name() +
                                     ".npy";
  std::ofstream(path, std::ios::binary) << content;
  return read_npy(path);
}

std::string npy(const std::string& header, const std::string& data) {
  std::string file("\x93NUMPY\x01\x00", 8);
  file += {static_cast<char>(header.size() % 256), static_cast<char>(header.size() / 256)};
  return file + header + data;
}

TEST(Npy, ShapesAndElementsAreRead) {
  const NpyArray half = read_back(npy("{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }",
                                      std::string("\x00\x3c\x00\xc0\xff\x7b"
                                                  "\x01\x00\x00\x80\x00\xfc",
                                                  12)));
  EXPECT_EQ(half.shape, (std::vector<std::int64_t>{2, 3}));
  const std::vector<float> want = {1, -2, 65504, 0x1p-24f, -0.0f, -INFINITY};
  EXPECT_EQ(half.values<float>(), want);
  EXPECT_TRUE(std::isnan(from_half(0x7E00)));
  const NpyArray flags =
      read_back(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", {"\x01\x00", 2}));
  EXPECT_EQ(flags.values<bool>(), (std::vector<bool>{true, false}));
  const NpyArray one = read_back(npy("{'descr': '<i8', 'fortran_order': False, 'shape': (), }",
                                     {"\xfe\xff\xff\xff\xff\xff\xff\xff", 8}));
  EXPECT_EQ(one.values<std::int64_t>(), std::vector<std::int64_t>{-2});
}

TEST(Npy, WhatIsNoneIsRefused) {
  EXPECT_THROW(read_back("PK"), std::runtime_error);
  EXPECT_THROW(read_back(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "1234")),
               std::runtime_error);
  EXPECT_THROW(read_back(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "1234"))
                   .values<float>(),
               std::runtime_error);
  EXPECT_THROW(
      read_back(npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", "12345678"))
          .values<float>(),
      std::runtime_error);
}

}  // namespace
}  // namespace rapt::test
