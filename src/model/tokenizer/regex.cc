#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/tokenizer/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "model/tokenizer/oniguruma.h"
#include "model/utf8.h"

namespace rapt {
namespace {

constexpr std::size_t kPatternBytes = std::size_t{1} << 16;
// Sane patterns pass over a long run of spaces a few times before they decide.
constexpr std::size_t kMatchSteps = 1'000'000, kMatchStepsPerByte = 64;
constexpr std::uint32_t kHeapKib = 64 * 1024;

struct Free {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

template <class T>
Owned<T> owned(T* pointer) {
  require(pointer != nullptr, ErrorCode::kOutOfMemory, "PCRE2", "memory", "none");
  return Owned<T>(pointer);
}

std::string message_of(int code) {
  PCRE2_UCHAR text[128] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct Regex::Compiled {
  Owned<pcre2_code> code;
  std::string where;
};

Regex Regex::pattern(std::string_view pattern, const std::string& where) {
  return compile(pcre2_pattern(pattern, where),
                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, where);
}

Regex Regex::literal(std::string_view text, const std::string& where) {
  return compile(std::string(text), PCRE2_UTF | PCRE2_LITERAL, where);
}

Regex Regex::compile(const std::string& pattern, unsigned options, const std::string& where) {
  auto compiled = std::make_shared<Compiled>();
  compiled->where = where;
  const auto context = owned(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_max_pattern_length(context.get(), kPatternBytes);
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled->code.reset(pcre2_compile(units(pattern), pattern.size(), options | PCRE2_NO_UTF_CHECK,
                                     &error, &offset, context.get()));
  require(compiled->code != nullptr, ErrorCode::kUnsupported, where, "a pattern that PCRE2 takes",
          message_of(error) + " at byte " + std::to_string(offset));
  // Without it, where the machine or the pattern has none, matching is slower and no different.
  pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE);
  Regex regex;
  regex.compiled_ = std::move(compiled);
  return regex;
}

std::vector<TextSpan> Regex::matches(std::string_view text) const {
  const pcre2_code* code = compiled_->code.get();
  const auto data = owned(pcre2_match_data_create(1, nullptr));
  const auto limits = owned(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(limits.get(),
                        static_cast<std::uint32_t>(std::min<std::size_t>(
                            kMatchSteps + kMatchStepsPerByte * text.size(), UINT32_MAX)));
  pcre2_set_heap_limit(limits.get(), kHeapKib);
  const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data.get());
  const auto match = [&](std::size_t from, std::uint32_t options) {
    return pcre2_match(code, units(text), text.size(), from, options | PCRE2_NO_UTF_CHECK,
                       data.get(), limits.get());
  };
  std::vector<TextSpan> found;
  for (std::size_t from = 0; from <= text.size();) {
    int result = match(from, 0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(from, PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) break;
    require(result >= 0, ErrorCode::kUnsupported, compiled_->where,
            "a pattern that finds its matches in few steps", message_of(result));
    const bool repeats = span[0] == span[1] && !found.empty() && found.back().end == span[1];
    if (!repeats) found.push_back({span[0], span[1]});
    from = span[1];
    if (repeats) from += from < text.size() ? first_utf8(text.substr(from)).bytes : 1;
  }
  return found;
}

}  // namespace rapt
