// A safetensors file: read or refused, and the tensors that are read tile the file's data.

#include "model/safetensors.h"

#include <algorithm>
#include <span>
#include <string>

#include "target.h"

namespace {

void read(std::span<const std::byte> file) {
  rapt::fuzz::read_or_refuse([&] {
    std::size_t size_bytes = 0;
    unsigned sum = 0;
    for (const auto& [name, tensor] : rapt::parse_safetensors(file, "FILE")) {
      size_bytes += tensor.bytes.size();
      for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
    }
    rapt::fuzz::expect(size_bytes <= file.size() && sum <= 255 * file.size(),
                       "tensors within the file");
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  read(bytes);
  // The same with the right length before a header that ends with its line: a random change seldom
  // keeps the length right, and would reach little else.
  const auto header = std::min<std::size_t>(std::find(data, data + size, '\n') - data, size);
  std::string file(8, '\0');
  for (int byte = 0; byte < 8; ++byte) file[byte] = static_cast<char>(header >> (8 * byte) & 0xFF);
  file.append(reinterpret_cast<const char*>(data), header);
  if (header < size)
    file.append(reinterpret_cast<const char*>(data) + header + 1, size - header - 1);
  read(std::as_bytes(std::span(file)));
  return 0;
}
