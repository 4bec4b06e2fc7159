#include "model/tokenizer/oniguruma.h"

#include <algorithm>
#include <utility>

#include "model/utf8.h"
#include "rapt/error.h"

namespace rapt {
namespace {

// Oniguruma's word characters; PCRE2's own \w has no marks. Of other numbers than digits they have
// those of Latin-1.
constexpr std::string_view kWord =
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";

// What mean the same to both after a backslash, beside characters that are no letters or digits.
constexpr std::string_view kSameEscapes = "aefnrtdDAzZ";
constexpr std::string_view kSameInClass = "aefnrtdD";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : rest_(pattern), where_(where) {}

  std::string run() {
    while (!rest_.empty()) {
      switch (rest_.front()) {
        case '\\':
          escape(false);
          break;
        case '[':
          character_class();
          break;
        case '(':
          group();
          break;
        case '{':
          interval();
          break;
        default:
          keep(1);
      }
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] void refuse(const std::string& expected) const {
    const std::size_t shown = utf8_valid_bytes(rest_.substr(0, 20));  // whole characters
    throw Error(ErrorCode::kUnsupported,
                where_ + ": expected " + expected + ", got " + std::string(rest_.substr(0, shown)));
  }

  void keep(std::size_t size) {
    result_ += rest_.substr(0, size);
    rest_.remove_prefix(std::min(size, rest_.size()));
  }

  void replace(std::size_t size, std::string_view by) {
    result_ += by;
    rest_.remove_prefix(size);
  }

  void escape(bool in_class) {
    if (rest_.size() < 2) refuse("a character after \\");
    const char letter = rest_[1];
    if (!is_letter(letter) && !is_digit(letter)) return keep(2);
    if ((in_class ? kSameInClass : kSameEscapes).find(letter) != std::string_view::npos)
      return keep(2);
    switch (letter) {
      case 's':  // PCRE2's own \s has U+180E
        return replace(2, "\\p{White_Space}");
      case 'S':
        return replace(2, "\\P{White_Space}");
      case 'w':
        return replace(2, in_class ? std::string(kWord) : "[" + std::string(kWord) + "]");
      case 'W':
        if (!in_class) return replace(2, "[^" + std::string(kWord) + "]");
        break;
      case 'v':  // a vertical tab here, any vertical space there
        return replace(2, "\\x{B}");
      case 'h':  // a hexadecimal digit here, a horizontal space there
        return replace(2, in_class ? "0-9A-Fa-f" : "[0-9A-Fa-f]");
      case 'p':
      case 'P':
        return property();
      case 'x':
        return hexadecimal();
      case 'u':
        return four_digits();
      default:
        break;
    }
    refuse("no escape that PCRE2 may read otherwise");
  }

  // A general category, or a script: by its name alone, PCRE2 has the script's extensions, too.
  void property() {
    const std::size_t end = rest_.find('}');
    if (rest_.size() < 3 || rest_[2] != '{' || end == std::string_view::npos) refuse("\\p{name}");
    const std::string name(rest_.substr(3, end - 3));
    if (!std::all_of(name.begin(), name.end(), is_letter)) refuse("a category or script");
    const std::string start(rest_.substr(0, 3));
    replace(end + 1, start + (name.size() > 2 ? "sc:" : "") + name + "}");
  }

  std::size_t hex_digits(std::size_t from, std::size_t most) const {
    std::size_t count = 0;
    while (count < most && from + count < rest_.size() && is_hex(rest_[from + count])) ++count;
    return count;
  }

  void hexadecimal() {
    if (rest_.size() > 2 && rest_[2] == '{') {
      const std::size_t digits = hex_digits(3, 8);
      if (digits == 0 || rest_.size() <= 3 + digits || rest_[3 + digits] != '}')
        refuse("\\x{hexadecimal}");
      return keep(digits + 4);
    }
    // Beyond ASCII, \xHH is a byte there and a character here.
    if (hex_digits(2, 2) != 2 || rest_[2] > '7') refuse("\\x00 to \\x7F");
    keep(4);
  }

  void four_digits() {
    if (hex_digits(2, 4) != 4) refuse("\\u with four hexadecimal digits");
    replace(6, "\\x{" + std::string(rest_.substr(2, 4)) + "}");
  }

  // A set within a set adds its characters to it. Complements within sets, classes like [:alpha:]
  // and intersections are Oniguruma's alone.
  void character_class() {
    keep(rest_.starts_with("[^") ? 2 : 1);
    if (rest_.starts_with("]")) refuse("a set that is not empty");
    for (int depth = 1; depth > 0;) {
      if (rest_.empty()) refuse("the end of a set");
      if (rest_.starts_with("[^") || rest_.starts_with("[:") || rest_.starts_with("[]") ||
          rest_.starts_with("&&"))
        refuse("no complement or class within a set and no intersection");
      const bool beside_inner = rest_.front() == '[' || (rest_.front() == ']' && depth > 1);
      if (beside_inner &&
          (result_.ends_with('-') || rest_.starts_with("[-") || rest_.starts_with("]-")))
        refuse("no - beside a set within a set");
      if (rest_.front() == '[' || rest_.front() == ']') {
        depth += rest_.front() == '[' ? 1 : -1;
        replace(1, depth == 0 ? "]" : "");
      } else if (rest_.front() == '\\') {
        escape(true);
      } else {
        keep(1);
      }
    }
  }

  // Groups, lookaround and (?i): the letters m and s differ, and what else begins with (? or (*.
  void group() {
    if (rest_.starts_with("(*")) refuse("a group");
    if (!rest_.starts_with("(?")) return keep(1);
    for (const std::string_view kind :
         {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:"})
      if (rest_.starts_with(kind)) return keep(kind.size());
    // Further on, it ends at the next | to PCRE2 and does not to Oniguruma.
    if (rest_.starts_with("(?i)") && result_.empty()) return keep(4);
    refuse("(?: (?= (?! (?> (?<= (?<! (?i: (?-i: or a first (?i)");
  }

  // The digits from `from` on, without leading zeros; `from` is then after them.
  std::string_view count(std::size_t& from) const {
    std::size_t begin = from;
    while (from < rest_.size() && is_digit(rest_[from])) ++from;
    while (begin + 1 < from && rest_[begin] == '0') ++begin;
    return rest_.substr(begin, from - begin);
  }

  // {n}, {n,} and {n,m} repeat. After them + is possessive there and one more repeat here; after a
  // fixed count ? is lazy there and makes the whole optional here. Another brace is itself; newer
  // PCRE2 repeats by { 1} and {,1}, too.
  void interval() {
    std::size_t end = 1;
    const std::string_view least = count(end);
    std::string_view most = least;
    if (rest_.substr(end).starts_with(',')) most = count(++end);
    if (!rest_.substr(end).starts_with('}') || (least.empty() && most.empty()))
      return replace(1, "\\{");
    if (least.empty()) refuse("a repeat with its least count");
    const std::string_view after = rest_.substr(end + 1);
    if (after.starts_with('+')) refuse("no + after a repeat");
    if (least == most && after.starts_with('?')) refuse("no ? after a fixed count");
    keep(end + 1);
  }

  std::string_view rest_;
  const std::string& where_;
  std::string result_;
};

}  // namespace

std::string pcre2_pattern(std::string_view oniguruma, const std::string& where) {
  return Translator(oniguruma, where).run();
}

}  // namespace rapt
