// Runs a fuzz target on the files of a folder: its seeds, and what has once broken it.

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "target.h"

int main(int argc, char** argv) {
  rapt::fuzz::expect(argc == 2, "one folder of inputs");
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    std::cout << entry.path().filename() << std::endl;  // before it runs: it may end the program
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    ++count;
  }
  rapt::fuzz::expect(count > 0, "inputs");
}
