#include "model/tokenizer_rules.h"

#include <algorithm>

#include "base/check.h"
#include "model/json.h"
#include "model/utf8.h"

namespace rapt {
namespace {

constexpr std::int64_t kTokens = std::int64_t{1} << 20;  // more than any vocabulary: ids are below

std::int32_t read_token(const JsonField& field, std::int64_t end = kTokens) {
  return static_cast<std::int32_t>(field.integer(0, end - 1));
}

void serve_only_null(const JsonField& parent, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (parent.has(key)) parent[key].serve_only(false, "null");
}

// Absent, null, false, 0 or "": what has no effect.
void serve_only_off(const JsonField& parent, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (!parent.has(key)) continue;
    const nlohmann::json& value = parent[key].value();
    parent[key].serve_only(value == false || value == 0 || value == "", "nothing that has effect");
  }
}

const std::string& type_of(const JsonField& field) { return field["type"].string(); }

Replacement read_replace(const JsonField& field) {
  const JsonField pattern = field["pattern"];
  pattern.serve_only(pattern.has("String"), "a pattern of type String");
  if (pattern["String"].string().empty()) pattern.fail("a pattern that is not empty");
  return {pattern["String"].string(), field["content"].string()};
}

/// The elements of a Sequence, or the one that is no Sequence, or none for null.
std::vector<JsonField> elements(const JsonField& field, const char* list) {
  if (field.is_null()) return {};
  if (type_of(field) != "Sequence") return {field};
  std::vector<JsonField> all;
  const JsonField array = field[list];
  for (std::size_t n = 0; n < array.array_size(); ++n) all.push_back(array.at(n));
  return all;
}

std::vector<Replacement> read_normalizer(const JsonField& field) {
  std::vector<Replacement> steps;
  for (const JsonField& step : elements(field, "normalizers")) {
    step.serve_only(type_of(step) == "Prepend" || type_of(step) == "Replace",
                    "a normalizer of type Prepend or Replace, or a Sequence of them");
    steps.push_back(type_of(step) == "Prepend" ? Replacement{"", step["prepend"].string()}
                                               : read_replace(step));
  }
  return steps;
}

void set_text(TokenizerRules& rules, const JsonField& field, std::int32_t token, TokenText text) {
  if (std::ssize(rules.texts) <= token) rules.texts.resize(token + 1);
  if (rules.texts[token].kind != TokenText::kNothing) field.fail("an id that no other token has");
  rules.texts[token] = std::move(text);
}

void read_vocabulary(const JsonField& field, TokenizerRules& rules) {
  field.for_each_member([&](const std::string& text, const JsonField& id) {
    const std::int32_t token = read_token(id);
    set_text(rules, id, token, {TokenText::kText, text});
    rules.bpe.vocabulary.emplace(text, token);
  });
}

void find_byte_tokens(const JsonField& vocabulary, TokenizerRules& rules) {
  constexpr const char* kHex = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">";
    const std::int32_t token = read_token(vocabulary[text.c_str()]);
    rules.bpe.byte_tokens[byte] = token;
    rules.texts[token] = {TokenText::kByte, std::string(1, static_cast<char>(byte))};
  }
}

/// The two sides of "left right" or ["left", "right"].
std::pair<std::string, std::string> read_pair(const JsonField& field) {
  if (field.value().is_array()) {
    if (field.array_size() != 2) field.fail("two tokens");
    return {field.at(0).string(), field.at(1).string()};
  }
  const std::string& text = field.string();
  const std::size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
    field.fail("two tokens with one space between them");
  return {text.substr(0, space), text.substr(space + 1)};
}

void read_merges(const JsonField& field, BytePairEncoding& bpe) {
  for (std::size_t n = 0; n < field.array_size(); ++n) {
    const JsonField merge = field.at(n);
    const auto token = [&](const std::string& text) {
      const auto found = bpe.vocabulary.find(text);
      if (found == bpe.vocabulary.end()) merge.fail("both sides and their union in the vocabulary");
      return found->second;
    };
    const auto [left, right] = read_pair(merge);
    const std::uint64_t pair = BytePairEncoding::pair_key(token(left), token(right));
    const auto rank = static_cast<std::int32_t>(n);
    if (!bpe.merges.emplace(pair, BytePairEncoding::Merge{rank, token(left + right)}).second)
      merge.fail("each pair once");
  }
}

void read_model(const JsonField& field, TokenizerRules& rules) {
  field["type"].serve_only(type_of(field) == "BPE", "\"BPE\"");
  field.serve_only(field.has("byte_fallback") && field["byte_fallback"].boolean(),
                   "BPE with byte_fallback true");
  serve_only_off(field,
                 {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"});
  read_vocabulary(field["vocab"], rules);
  find_byte_tokens(field["vocab"], rules);
  read_merges(field["merges"], rules.bpe);
}

void read_added_token(const JsonField& field, TokenizerRules& rules) {
  serve_only_off(field, {"single_word", "lstrip", "rstrip", "normalized"});
  const std::string& content = field["content"].string();
  const std::int32_t token = read_token(field["id"]);
  if (content.empty()) field.fail("content that is not empty");
  const auto known = rules.bpe.vocabulary.find(content);
  if (known == rules.bpe.vocabulary.end())
    set_text(rules, field["id"], token, {TokenText::kText, content});
  else if (known->second != token)
    field["id"].fail(std::to_string(known->second) + ", the id in the vocabulary");
  if (field.has("special") && field["special"].boolean()) rules.texts[token] = {};
  rules.added.push_back({content, token});
}

void read_added_tokens(const JsonField& field, TokenizerRules& rules) {
  for (std::size_t n = 0; n < field.array_size(); ++n) read_added_token(field.at(n), rules);
  std::stable_sort(rules.added.begin(), rules.added.end(), [](const auto& a, const auto& b) {
    return a.content.size() > b.content.size();
  });
}

void read_post_processor(const JsonField& field, TokenizerRules& rules) {
  if (field.is_null()) return;
  field["type"].serve_only(type_of(field) == "TemplateProcessing", "\"TemplateProcessing\"");
  const JsonField pieces = field["single"];
  bool text_seen = false;
  for (std::size_t n = 0; n < pieces.array_size(); ++n) {
    const JsonField piece = pieces.at(n);
    if (piece.has("Sequence")) {
      if (text_seen) piece.fail("the text once");
      text_seen = true;
      continue;
    }
    const std::string& name = piece["SpecialToken"]["id"].string();
    const JsonField ids = field["special_tokens"][name.c_str()]["ids"];
    for (std::size_t i = 0; i < ids.array_size(); ++i)
      (text_seen ? rules.last : rules.first)
          .push_back(read_token(ids.at(i), std::ssize(rules.texts)));
  }
  if (!text_seen) pieces.fail("the text (Sequence) among the pieces");
}

void read_strip(const JsonField& field, TokenizerRules& rules) {
  if (field["stop"].integer(0, kTokens) != 0) field["stop"].serve_only(false, "0");
  rules.strip = field["start"].integer(0, kTokens);
  rules.stripped = field["content"].string();
  if (rules.stripped.empty() || first_utf8(rules.stripped).bytes != rules.stripped.size())
    field["content"].fail("one character");
}

// Replace ..., ByteFallback, Fuse, at most one Strip.
void read_decoder(const JsonField& field, TokenizerRules& rules) {
  const std::string served = "a Sequence of Replace, ByteFallback, Fuse and Strip, in this order";
  const std::vector<JsonField> steps = elements(field, "decoders");
  std::size_t n = 0;
  const auto next_is = [&](const char* type) {
    return n < steps.size() && type_of(steps[n]) == type;
  };
  for (; next_is("Replace"); ++n) {
    const Replacement replacement = read_replace(steps[n]);
    for (TokenText& token : rules.texts)
      if (token.kind == TokenText::kText) token.text = replace_all(token.text, replacement);
  }
  for (const char* type : {"ByteFallback", "Fuse"}) {
    field.serve_only(next_is(type), served);
    ++n;
  }
  if (next_is("Strip")) read_strip(steps[n++], rules);
  field.serve_only(n == steps.size(), served);
}

}  // namespace

TokenizerRules TokenizerRules::parse(std::string_view json, const std::string& where) {
  const nlohmann::json document = parse_json(json, where);
  const JsonField root(document, where);
  serve_only_null(root, {"truncation", "padding", "pre_tokenizer"});
  TokenizerRules rules;
  read_model(root["model"], rules);
  read_added_tokens(root["added_tokens"], rules);
  rules.normalizer = read_normalizer(root["normalizer"]);
  read_post_processor(root["post_processor"], rules);
  read_decoder(root["decoder"], rules);
  return rules;
}

std::string replace_all(const std::string& text, const Replacement& replacement) {
  const auto& [from, to] = replacement;
  if (from.empty()) return text.empty() ? text : to + text;
  std::string result;
  std::size_t done = 0;
  for (std::size_t found; (found = text.find(from, done)) != std::string::npos;) {
    result.append(text, done, found - done).append(to);
    done = found + from.size();
  }
  return result.append(text, done);
}

}  // namespace rapt
