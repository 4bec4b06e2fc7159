#include "model/tokenizer/rules.h"

#include <set>
#include <utility>

#include "base/check.h"
#include "model/mapped_file.h"
#include "model/tokenizer/parts.h"

namespace rapt {
namespace {

constexpr std::int64_t kTokens = std::int64_t{1} << 20;  // more than any vocabulary: ids are below
constexpr std::size_t kTokensAround = 1024;  // a text; ids by name could be many times the file

std::int32_t read_token(const JsonField& field, std::int64_t end = kTokens) {
  return static_cast<std::int32_t>(field.integer(0, end - 1));
}

void serve_only_null(const JsonField& parent, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (parent.has(key)) parent[key].serve_only(false, "null");
}

/// Member `key`, or null where it is absent.
JsonField part(const JsonField& root, const char* key) {
  static const nlohmann::json null;
  return root.has(key) ? root[key] : JsonField(null, root.where() + " " + key);
}

void set_text(TokenDecoder& decoder, const JsonField& id, std::int32_t token,
              const std::string& text) {
  if (std::ssize(decoder.texts) <= token) decoder.texts.resize(token + 1);
  if (decoder.texts[token].kind != TokenText::kNothing) id.fail("an id that no other token has");
  decoder.texts[token] = {TokenText::kText, text};
}

void read_vocabulary(const JsonField& field, TokenizerRules& rules) {
  field.for_each_member([&](const std::string& text, const JsonField& id) {
    const std::int32_t token = read_token(id);
    set_text(rules.decoder, id, token, text);
    rules.bpe.add_token(text, token);
  });
}

void find_byte_tokens(BytePairEncoding& bpe) {
  constexpr const char* kHex = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte)
    bpe.byte_tokens[byte] =
        bpe.token_of(std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">");
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
      const std::int32_t found = bpe.token_of(text);
      if (found == BytePairEncoding::kNone)
        merge.fail("both sides and their union in the vocabulary");
      return found;
    };
    const auto [left, right] = read_pair(merge);
    if (!bpe.add_merge(token(left), token(right),
                       {static_cast<std::int32_t>(n), token(left + right)}))
      merge.fail("each pair once");
  }
}

void read_model(const JsonField& field, TokenizerRules& rules) {
  // Files from before there were types have none; those of BPE have merges.
  if (field.has("type")) field["type"].serve_only(type_of(field) == "BPE", "\"BPE\"");
  serve_only_off(field, {"dropout", "continuing_subword_prefix", "end_of_word_suffix"});
  BytePairEncoding& bpe = rules.bpe;
  read_vocabulary(field["vocab"], rules);
  if (flag(field, "byte_fallback", false)) find_byte_tokens(bpe);
  bpe.fuse_unknown = flag(field, "fuse_unk", false);
  bpe.whole_words = flag(field, "ignore_merges", false);
  if (field.has("unk_token")) {
    bpe.unknown = bpe.token_of(field["unk_token"].string());
    if (bpe.unknown == BytePairEncoding::kNone)
      field["unk_token"].fail("a token in the vocabulary");
  }
  read_merges(field["merges"], bpe);
}

void read_added_token(const JsonField& field, TokenizerRules& rules) {
  std::string content = field["content"].string();
  const std::int32_t token = read_token(field["id"]);
  if (content.empty()) field.fail("content that is not empty");
  const std::int32_t known = rules.bpe.token_of(content);
  if (known == BytePairEncoding::kNone)
    set_text(rules.decoder, field["id"], token, content);
  else if (known != token)
    field["id"].fail(std::to_string(known) + ", the id in the vocabulary");
  const bool normalized = flag(field, "normalized", false);
  if (normalized) content = rules.normalizer(content);
  rules.decoder.texts[token] =
      flag(field, "special", false) ? TokenText{} : TokenText{TokenText::kText, content};
  (normalized ? rules.normalized : rules.raw)
      .add({std::move(content), token, flag(field, "single_word", false),
            flag(field, "lstrip", false), flag(field, "rstrip", false)});
}

// Special tokens are found before others of the same content.
void read_added_tokens(const JsonField& field, TokenizerRules& rules) {
  std::set<std::string> contents;
  std::set<std::int32_t> ids;  // set_text cannot tell a special token's from one that is free
  for (std::size_t n = 0; n < field.array_size(); ++n) {
    const JsonField content = field.at(n)["content"], id = field.at(n)["id"];
    if (!contents.insert(content.string()).second) content.fail("each token once");
    if (!ids.insert(read_token(id)).second) id.fail("an id that no other token has");
  }
  for (const bool special : {true, false})
    for (std::size_t n = 0; n < field.array_size(); ++n)
      if (flag(field.at(n), "special", false) == special) read_added_token(field.at(n), rules);
}

void read_template(const JsonField& field, TokenizerRules& rules) {
  const JsonField pieces = field["single"];
  std::vector<std::int32_t> before, after;
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
      (text_seen ? after : before)
          .push_back(read_token(ids.at(i), std::ssize(rules.decoder.texts)));
    if (before.size() + after.size() > kTokensAround) pieces.fail("at most 1024 tokens");
  }
  if (!text_seen) pieces.fail("the text (Sequence) among the pieces");
  rules.first.insert(rules.first.begin(), before.begin(), before.end());
  rules.last.insert(rules.last.end(), after.begin(), after.end());
}

void read_post_processor(const JsonField& field, TokenizerRules& rules) {
  for (const JsonField& step : sequence(field, "processors")) {
    if (type_of(step) == "TemplateProcessing")
      read_template(step, rules);
    else  // ByteLevel only trims offsets, which nobody asks for here
      step["type"].serve_only(type_of(step) == "ByteLevel",
                              "TemplateProcessing, ByteLevel or a Sequence of them");
  }
}

}  // namespace

TokenizerRules TokenizerRules::parse(std::string_view json, const std::string& where) {
  require(json.size() <= kMostTextBytes, ErrorCode::kBadFile, where,
          "a text of at most " + std::to_string(kMostTextBytes) + " bytes", json.size());
  const nlohmann::json document = parse_json(json, where);
  const JsonField root(document, where);
  serve_only_null(root, {"truncation", "padding"});
  TokenizerRules rules;
  read_model(root["model"], rules);
  rules.normalizer = Normalizer::parse(part(root, "normalizer"));
  read_added_tokens(root["added_tokens"], rules);
  rules.pre_tokenizer = PreTokenizer::parse(part(root, "pre_tokenizer"));
  read_post_processor(part(root, "post_processor"), rules);
  rules.decoder.apply(part(root, "decoder"));
  return rules;
}

}  // namespace rapt
