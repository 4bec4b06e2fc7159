// tokenizer.json: read or refused, and what is read streams valid UTF-8 that is the text of decode.

#include "rapt/tokenizer.h"

#include <string>

#include "model/utf8.h"
#include "target.h"

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kText =
    " I'm  the 12 caf\u00e9 e\u0301 \U0001F44D\u200D\r\n\t\0<|endoftext|>x </s>\u4eca\u3000"sv;

void expect_utf8(const std::string& text) {
  rapt::fuzz::expect(rapt::utf8_valid_bytes(text) == text.size(), "UTF-8");
}

void read(const std::string& json) {
  const rapt::Tokenizer tokenizer = rapt::Tokenizer::parse(json, "FILE");
  const std::vector<std::int32_t> tokens = tokenizer.encode(kText);
  rapt::TextStream stream(tokenizer);
  std::string text;
  for (const std::int32_t token : tokens) {
    const std::string piece = stream.push(token);
    expect_utf8(piece);
    text += piece;
  }
  const std::string rest = stream.finish();
  expect_utf8(rest);
  rapt::fuzz::expect(text + rest == tokenizer.decode(tokens), "the text of decode");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  rapt::fuzz::read_or_refuse([&] { read(std::string(reinterpret_cast<const char*>(data), size)); });
  return 0;
}
