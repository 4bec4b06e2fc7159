#include "model/tokenizer/decoder.h"

#include <charconv>
#include <string_view>

#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/normalizer.h"
#include "model/tokenizer/parts.h"
#include "model/utf8.h"

namespace rapt {
namespace {

constexpr std::int64_t kMostStripped = 1 << 20;

// The byte of a token "<0xHH>", or -1.
int named_byte(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || !text.ends_with('>')) return -1;
  int byte = -1;
  const auto [end, error] = std::from_chars(text.data() + 3, text.data() + 5, byte, 16);
  return error == std::errc() && end == text.data() + 5 ? byte : -1;
}

std::string replaced(const std::string& text, const std::string& from, const std::string& to) {
  std::string result;
  std::size_t done = 0;
  for (std::size_t found; (found = text.find(from, done)) != std::string::npos;) {
    result.append(text, done, found - done).append(to);
    done = found + from.size();
  }
  return result.append(text, done);
}

}  // namespace

template <class F>
void TokenDecoder::change_each(F&& f) {
  for (TokenText& token : texts)
    if (token.kind == TokenText::kText) f(token);
}

void TokenDecoder::apply(const JsonField& field) {
  const std::vector<JsonField> steps = sequence(field, "decoders");
  std::size_t n = 0;
  const auto next_is = [&](const char* type) {
    return n < steps.size() && type_of(steps[n]) == type;
  };
  std::vector<Replace> replaces;
  for (; next_is("Replace"); ++n) replaces.push_back(Replace::parse(steps[n]));
  change_each([&](TokenText& token) {
    const std::size_t bytes = token.text.size();
    for (const Replace& replace : replaces) {
      token.text = replace(token.text);
      require_growth(bytes, token.text.size(), replace.where);
    }
  });
  if (next_is("ByteLevel")) {
    ++n;
    change_each([](TokenText& token) {
      token = {TokenText::kBytes, from_byte_characters(token.text)};
    });
  } else {
    if (next_is("Metaspace")) apply_metaspace(steps[n++]);
    if (next_is("ByteFallback")) {
      ++n;
      bytes_by_name();
    }
    if (next_is("Fuse")) {
      ++n;
      if (next_is("Strip")) read_strip(steps[n++]);
    }
  }
  field.serve_only(n == steps.size() && n > 0,
                   "Replace, then ByteLevel, or any of Metaspace, ByteFallback, Fuse and Strip in "
                   "this order, Strip only after Fuse");
}

void TokenDecoder::apply_metaspace(const JsonField& field) {
  const std::string& space = field["replacement"].string();
  if (space.empty() || first_utf8(space).bytes != space.size())
    field["replacement"].fail("one character");
  const bool never = metaspace_is_never(field);
  for (std::size_t n = 0; n < texts.size(); ++n) {
    TokenText& token = texts[n];
    if (token.kind != TokenText::kText || token.text.find(space) == std::string::npos) continue;
    if (!never) first_texts[static_cast<std::int32_t>(n)] = replaced(token.text, space, "");
    token.text = replaced(token.text, space, " ");
  }
}

void TokenDecoder::bytes_by_name() {
  replace_each_byte = true;
  change_each([](TokenText& token) {
    const int byte = named_byte(token.text);
    if (byte >= 0) token = {TokenText::kBytes, std::string(1, static_cast<char>(byte))};
  });
}

void TokenDecoder::read_strip(const JsonField& field) {
  if (field["stop"].integer(0, kMostStripped) != 0) field["stop"].serve_only(false, "0");
  strip = field["start"].integer(0, kMostStripped);
  stripped = field["content"].string();
  if (stripped.empty() || first_utf8(stripped).bytes != stripped.size())
    field["content"].fail("one character");
}

}  // namespace rapt
