#include "model/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "model/model_test_files.h"
#include "rapt/error.h"

namespace rapt::test {
namespace {

constexpr const char* kIndex = "model.safetensors.index.json";

/// Shards one.safetensors of a and b, two.safetensors of c; two bytes each.
void write_shards(const Directory& directory) {
  directory.write("one.safetensors", safetensors({{"a", "U8", {2}, "01"}, {"b", "U8", {2}, "23"}}));
  directory.write("two.safetensors", safetensors({{"c", "U8", {2}, "45"}}));
}

nlohmann::json small_index() {
  return {{"metadata", {{"total_size", 6}}},
          {"weight_map",
           {{"a", "one.safetensors"}, {"b", "one.safetensors"}, {"c", "two.safetensors"}}}};
}

char first_byte(const Checkpoint& checkpoint, const std::string& name) {
  return static_cast<char>(checkpoint.tensor(name).tensor->bytes[0]);
}

TEST(Checkpoint, APipeIsRefusedAndNotWaitedFor) {
  const Directory directory;
  ASSERT_EQ(mkfifo((directory.path() / "model.safetensors").c_str(), 0600), 0);
  EXPECT_THROW(Checkpoint(directory.path()), Error);
}

TEST(Checkpoint, TensorsOfAllShardsAreFound) {
  const Directory directory;
  write_shards(directory);
  for (const bool has_metadata : {true, false}) {
    nlohmann::json index = small_index();
    if (!has_metadata) index.erase("metadata");
    directory.write(kIndex, index.dump());
    const Checkpoint checkpoint(directory.path());
    EXPECT_EQ(first_byte(checkpoint, "a"), '0');
    EXPECT_EQ(first_byte(checkpoint, "b"), '2');
    EXPECT_EQ(first_byte(checkpoint, "c"), '4');
    EXPECT_EQ(checkpoint.tensor("a").file, checkpoint.tensor("b").file);
    EXPECT_TRUE(checkpoint.has("c"));
    EXPECT_FALSE(checkpoint.has("d"));
  }
}

TEST(Checkpoint, OneFileGoesBeforeAnIndex) {
  const Directory directory;
  directory.write(kIndex, "no index");
  directory.write("model.safetensors", safetensors({{"a", "U8", {1}, "x"}}));
  EXPECT_EQ(first_byte(Checkpoint(directory.path()), "a"), 'x');
}

struct BadIndex {
  const char* defect;
  const char* patch;  // RFC 7396: what the index differs in from a good one
  ErrorCode code;
  const char* message;  // how it begins, after the directory
};

void PrintTo(const BadIndex& bad, std::ostream* out) { *out << bad.defect; }

class BadCheckpoint : public testing::TestWithParam<BadIndex> {};

TEST_P(BadCheckpoint, IsAnErrorThatNamesWhatIsWrong) {
  const Directory directory;
  write_shards(directory);
  directory.write("broken.safetensors", "too few");
  nlohmann::json index = small_index();
  index.merge_patch(nlohmann::json::parse(GetParam().patch));
  directory.write(kIndex, index.dump());
  try {
    Checkpoint checkpoint(directory.path());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), GetParam().code);
    const std::string message = error.what(), place = directory.path().string() + "/";
    EXPECT_EQ(message.find(place + GetParam().message), 0u) << message;
  }
}

constexpr ErrorCode kBad = ErrorCode::kBadFile;

INSTANTIATE_TEST_SUITE_P(
    Defects, BadCheckpoint,
    testing::ValuesIn(std::vector<BadIndex>{
        BadIndex{"an array", "[]", kBad, "model.safetensors.index.json: expected an object"},
        BadIndex{"no map", R"({"weight_map":null})", kBad,
                 "model.safetensors.index.json weight_map: expected a value, got none"},
        BadIndex{"a map of another type", R"({"weight_map":[1]})", kBad,
                 "model.safetensors.index.json weight_map: expected an object"},
        BadIndex{"a file name of another type", R"({"weight_map":{"c":1}})", kBad,
                 "model.safetensors.index.json weight_map c: expected a string"},
        BadIndex{"no file name", R"({"weight_map":{"c":""}})", kBad,
                 "model.safetensors.index.json weight_map c: expected the name of a file"},
        BadIndex{"a path upwards", R"({"weight_map":{"c":"../two.safetensors"}})", kBad,
                 "model.safetensors.index.json weight_map c: expected the name of a file"},
        BadIndex{"the directory above", R"({"weight_map":{"c":".."}})", kBad,
                 "model.safetensors.index.json weight_map c: expected the name of a file"},
        BadIndex{"the directory itself", R"({"weight_map":{"c":"."}})", kBad,
                 "model.safetensors.index.json weight_map c: expected the name of a file"},
        BadIndex{"an absolute path", R"({"weight_map":{"c":"/etc/passwd"}})", kBad,
                 "model.safetensors.index.json weight_map c: expected the name of a file"},
        BadIndex{"another system's path", R"({"weight_map":{"c":"a\\two.safetensors"}})", kBad,
                 "model.safetensors.index.json weight_map c: expected the name of a file"},
        BadIndex{"a name with an end", R"({"weight_map":{"c":"two.safetensors\u0000x"}})", kBad,
                 "model.safetensors.index.json weight_map c: expected the name of a file"},
        BadIndex{"a missing shard", R"({"weight_map":{"c":"three.safetensors"}})", ErrorCode::kIo,
                 "three.safetensors: expected a readable file"},
        BadIndex{"a broken shard", R"({"weight_map":{"c":"broken.safetensors"}})", kBad,
                 "broken.safetensors: expected 8 bytes of header length"},
        BadIndex{"a tensor that its shard lacks", R"({"weight_map":{"d":"two.safetensors"}})", kBad,
                 "two.safetensors: expected a tensor d, got none"},
        BadIndex{"a tensor in another shard", R"({"weight_map":{"b":"two.safetensors"}})", kBad,
                 "one.safetensors b: expected the tensor in two.safetensors"},
        BadIndex{"a tensor that no map lists", R"({"weight_map":{"b":null}})", kBad,
                 "one.safetensors b: expected a tensor that"},
        BadIndex{"metadata of another type", R"({"metadata":6})", kBad,
                 "model.safetensors.index.json metadata: expected an object"},
        BadIndex{"a size of another type", R"({"metadata":{"total_size":"6"}})", kBad,
                 "model.safetensors.index.json metadata total_size: expected an integer"},
        BadIndex{"a negative size", R"({"metadata":{"total_size":-6}})", kBad,
                 "model.safetensors.index.json metadata total_size: expected an integer"},
        BadIndex{"another size", R"({"metadata":{"total_size":7}})", kBad,
                 "model.safetensors.index.json metadata total_size: expected 6, the bytes"}}));

TEST(Checkpoint, TensorInTwoShardsIsAnError) {
  const Directory directory;
  write_shards(directory);
  directory.write("two.safetensors", safetensors({{"b", "U8", {2}, "67"}, {"c", "U8", {2}, "45"}}));
  directory.write(kIndex, small_index().dump());
  try {
    Checkpoint checkpoint(directory.path());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("two.safetensors b: expected the tensor in one."),
              std::string::npos)
        << error.what();
  }
}

TEST(Checkpoint, TensorTwiceInTheMapIsAnError) {
  const Directory directory;
  write_shards(directory);
  directory.write(kIndex, R"({"weight_map":{"c":"two.safetensors","c":"two.safetensors"}})");
  EXPECT_THROW(Checkpoint(directory.path()), Error);
}

}  // namespace
}  // namespace rapt::test
