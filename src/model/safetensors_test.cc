#include "model/safetensors.h"

#include <gtest/gtest.h>

#include <vector>

#include "model/model_test_files.h"
#include "rapt/error.h"
#include "util.h"

namespace rapt::test {
namespace {

TEST(Safetensors, TensorsAreFoundWhereTheHeaderSays) {
  const std::string file = safetensors(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]},)"
      R"("a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},)"
      R"("none":{"dtype":"F64","shape":[0,9],"data_offsets":[4,4]}})",
      "0123456789AB");
  const auto tensors = parse_safetensors(bytes_of(file), "f");
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors.at("b").dtype, FileDtype::kF32);
  EXPECT_EQ(tensors.at("b").shape, (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(static_cast<char>(tensors.at("b").bytes[0]), '4');
  EXPECT_EQ(tensors.at("b").bytes.size(), 8u);
  EXPECT_EQ(tensors.at("a").bytes.size(), 4u);
}

struct BadHeader {
  std::string header;
  const char* message;  // how it begins
};

void PrintTo(const BadHeader& bad, std::ostream* out) { *out << bad.header; }

class BadSafetensors : public testing::TestWithParam<BadHeader> {};

TEST_P(BadSafetensors, IsAnErrorThatNamesTheTensor) {
  try {
    parse_safetensors(bytes_of(safetensors(GetParam().header, "01234567")), "f");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadFile);
    EXPECT_EQ(std::string(error.what()).find(GetParam().message), 0u) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Headers, BadSafetensors,
    testing::ValuesIn(std::vector<BadHeader>{
        BadHeader{"", "f header: expected to begin with {"},
        BadHeader{R"([])", "f header: expected to begin with {"},
        BadHeader{R"( {})", "f header: expected to begin with {"},
        BadHeader{R"({"__metadata__":1})", "f __metadata__: expected an object"},
        BadHeader{R"({"__metadata__":{"format":1}})", "f __metadata__ format: expected a string"},
        BadHeader{R"({})", "f: expected tensors of 8 bytes in all"},
        BadHeader{R"({"a":)", "f header: expected JSON"},
        BadHeader{R"({"a":1})", "f a: expected an object"},
        BadHeader{R"({"a":{"shape":[2],"data_offsets":[0,8]}})", "f a dtype: expected a value"},
        BadHeader{R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", "f a shape: expected a value"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2]}})", "f a data_offsets: expected a value"},
        BadHeader{R"({"a":{"dtype":1,"shape":[2],"data_offsets":[0,8]}})",
                  "f a dtype: expected a string"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})",
                  "f a shape[0]: expected an integer"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})",
                  "f a data_offsets[0]: expected an integer"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})",
                  "f a data_offsets: expected two offsets"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}})",
                  "f header: expected JSON"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}})",
                  "f header: expected JSON"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} {})",
                  "f header: expected JSON"},
        BadHeader{R"({"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})",
                  "f a dtype: expected one of BOOL, U8"},
        BadHeader{R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})",
                  "f a shape: expected an array"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})",
                  "f a shape[0]: expected an integer"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})",
                  "f a data_offsets: expected a range of 12 bytes"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})",
                  "f a shape: expected less than 2^63 bytes"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})",
                  "f a data_offsets[0]: expected an integer from 0 to 0"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}})",
                  "f a data_offsets[1]: expected an integer from 0 to 8"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}})",
                  "f a data_offsets[1]: expected an integer from 0 to 8"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                  "f a data_offsets: expected to begin where the tensor before ends (0), got 4"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                  R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                  "f b data_offsets: expected to begin where the tensor before ends (8), got 4"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                  R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                  "f header: expected each key once"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})",
                  "f a: expected only dtype"},
        BadHeader{"{\"\xFF\":1}", "f header: expected JSON"},
        BadHeader{{"{}\0x", 4}, "f header: expected JSON, got the character U+0000 at byte 2"}}));

TEST(Safetensors, DeeplyNestedHeaderIsAnError) {
  for (const auto& [open, close] : {std::pair("[", "]"), std::pair(R"({"x":)", "}")}) {
    std::string header = R"({"a":)";
    for (int n = 0; n < 200'000; ++n) header += open;
    header += "1";
    for (int n = 0; n < 200'000; ++n) header += close;
    EXPECT_EQ(error_of([&] { parse_safetensors(bytes_of(safetensors(header + "}", "")), "f"); }),
              "f header: expected at most 64 values inside one another, got more");
  }
}

TEST(Safetensors, LengthOfTheHeaderIsChecked) {
  std::string file = safetensors("{}", "");
  EXPECT_TRUE(parse_safetensors(bytes_of(file), "f").empty());
  for (std::size_t size = 0; size < file.size(); ++size)
    EXPECT_THROW(parse_safetensors(bytes_of(file.substr(0, size)), "f"), Error) << size;
  for (int byte = 0; byte < 8; ++byte) {
    std::string huge = file;
    huge[byte] = '\x7F';
    EXPECT_THROW(parse_safetensors(bytes_of(huge), "f"), Error) << byte;
  }
}

TEST(Safetensors, MissingFileIsNamed) {
  try {
    SafetensorsFile("/nowhere/model.safetensors");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_NE(std::string(error.what()).find("/nowhere/model.safetensors"), std::string::npos);
  }
}

}  // namespace
}  // namespace rapt::test
