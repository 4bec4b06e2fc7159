#pragma once

// Models of zeros: large ones that take no room on the disk; and the memory that a run takes.

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "program.h"

namespace rapt::test {

/// Writes model.safetensors: tensors of zeros of `dtype`, "F32" or "BF16".
inline void write_zeros(
    const TestDirectory& directory, const std::string& dtype,
    const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& tensors) {
  nlohmann::json header;
  std::size_t size = 0;
  for (const auto& [name, shape] : tensors) {
    std::size_t bytes = dtype == "F32" ? 4 : 2;
    for (const std::int64_t extent : shape) bytes *= static_cast<std::size_t>(extent);
    header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {size, size + bytes}}};
    size += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the tensors are aligned
  std::string length(8, '\0');
  for (int byte = 0; byte < 8; ++byte) length[byte] = static_cast<char>(text.size() >> (8 * byte));
  const std::string file = directory.write("model.safetensors", length + text);
  std::filesystem::resize_file(file, 8 + text.size() + size);
}

struct Measured {
  int status = -1;
  std::size_t peak_bytes = 0;  ///< resident at most, mapped files included
};

/// Runs `rapt` with these arguments; nobody reads what it says.
inline Measured measure(const std::vector<std::string>& arguments) {
  const pid_t child = fork();
  if (child == 0) {
    dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
    std::vector<char*> argv = {const_cast<char*>("rapt")};
    for (const std::string& argument : arguments)
      argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    execv(RAPT_PROGRAM, argv.data());
    _exit(127);
  }
  Measured run;
  int status = 0;
  rusage usage = {};
  if (wait4(child, &status, 0, &usage) == child && WIFEXITED(status))
    run = {WEXITSTATUS(status), std::size_t{1024} * usage.ru_maxrss};
  return run;
}

}  // namespace rapt::test
