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

/// Member `key`, or null where it is absent.
JsonField part(const JsonField& root, const char* key) {
  static const nlohmann::json kNull;
  return root.has(key) ? root[key] : JsonField(kNull, root.where() + " " + key);
}

void set_text(TokenDecoder& decoder, const JsonField& id, std::int32_t token,
              const std::string& text) {
  if (std::ssize(decoder.texts) <= token) decoder.texts.resize(token + 1);
  if (decoder.texts[token].kind != TokenText::kNothing) id.fail("an id that no other token has");
  decoder.texts[token] = {TokenText::kText, text};
}

std::int32_t token_of(const TokenizerRules& rules, std::string_view text) {
  return std::visit([&](const auto& model) { return model.token_of(text); }, rules.model);
}

template <class Model>
void find_byte_tokens(Model& model) {
  constexpr const char* kHex = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte)
    model.byte_tokens[byte] =
        model.token_of(std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">");
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

BytePairEncoding read_bpe(const JsonField& field, TokenDecoder& decoder) {
  serve_only_off(field, {"dropout", "continuing_subword_prefix", "end_of_word_suffix"});
  BytePairEncoding bpe;
  field["vocab"].for_each_member([&](const std::string& text, const JsonField& id) {
    const std::int32_t token = read_token(id);
    set_text(decoder, id, token, text);
    bpe.add_token(text, token);
  });
  if (flag(field, "byte_fallback", false)) find_byte_tokens(bpe);
  bpe.fuse_unknown = flag(field, "fuse_unk", false);
  bpe.whole_words = flag(field, "ignore_merges", false);
  if (field.has("unk_token")) {
    bpe.unknown = bpe.token_of(field["unk_token"].string());
    if (bpe.unknown == BytePairEncoding::kNone)
      field["unk_token"].fail("a token in the vocabulary");
  }
  read_merges(field["merges"], bpe);
  return bpe;
}

Unigram read_unigram(const JsonField& field, TokenDecoder& decoder) {
  serve_only_off(field, {"alpha", "nbest_size"});
  Unigram unigram;
  const JsonField vocabulary = field["vocab"];
  if (vocabulary.array_size() > kTokens) vocabulary.fail("at most 1048576 tokens");
  for (std::size_t n = 0; n < vocabulary.array_size(); ++n) {
    const JsonField entry = vocabulary.at(n);
    if (entry.array_size() != 2) entry.fail("a token and its score");
    const std::string& text = entry.at(0).string();
    set_text(decoder, entry, static_cast<std::int32_t>(n), text);
    unigram.add_token(text, entry.at(1).number());
  }
  if (flag(field, "byte_fallback", false)) find_byte_tokens(unigram);
  unigram.unknown = read_token(field["unk_id"], std::ssize(decoder.texts));
  return unigram;
}

void read_model(const JsonField& field, TokenizerRules& rules) {
  // Files from before there were types have none; those of BPE have merges.
  const bool typed = field.has("type");
  if (typed ? type_of(field) == "BPE" : field.has("merges"))
    rules.model = read_bpe(field, rules.decoder);
  else if (!typed || type_of(field) == "Unigram")
    rules.model = read_unigram(field, rules.decoder);
  else
    field["type"].serve_only(false, "\"BPE\" or \"Unigram\"");
}

void read_added_token(const JsonField& field, TokenizerRules& rules) {
  std::string content = field["content"].string();
  const std::int32_t token = read_token(field["id"]);
  if (content.empty()) field.fail("content that is not empty");
  const std::int32_t known = token_of(rules, content);
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

/// ["text of the token", id].
std::int32_t read_named_token(const JsonField& field, const TokenizerRules& rules) {
  if (field.array_size() != 2) field.fail("a token and its id");
  return read_token(field.at(1), std::ssize(rules.decoder.texts));
}

void read_post_processor(const JsonField& field, TokenizerRules& rules) {
  for (const JsonField& step : sequence(field, "processors")) {
    const std::string& type = type_of(step);
    if (type == "TemplateProcessing") {
      read_template(step, rules);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      rules.first.insert(rules.first.begin(), read_named_token(step["cls"], rules));
      rules.last.push_back(read_named_token(step["sep"], rules));
    } else {  // ByteLevel only trims offsets, which nobody asks for here
      step["type"].serve_only(
          type == "ByteLevel",
          "TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel or a Sequence of them");
    }
  }
}

/// Padding to the longest text of a batch changes none that is alone.
void serve_only_no_padding(const JsonField& field) {
  if (field.is_null()) return;
  const JsonField strategy = field["strategy"];
  strategy.serve_only(strategy.value() == "BatchLongest", "BatchLongest");
  serve_only_off(field, {"pad_to_multiple_of"});
}

}  // namespace

TokenizerRules TokenizerRules::parse(std::string_view json, const std::string& where) {
  require(json.size() <= kMostTextBytes, ErrorCode::kBadFile, where,
          "a text of at most " + std::to_string(kMostTextBytes) + " bytes", json.size());
  const nlohmann::json document = parse_json(json, where);
  const JsonField root(document, where);
  part(root, "truncation").serve_only(part(root, "truncation").is_null(), "null");
  serve_only_no_padding(part(root, "padding"));
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
