#include "rapt/tokenizer.h"

#include <system_error>
#include <variant>

#include "base/check.h"
#include "model/mapped_file.h"
#include "model/tokenizer/rules.h"
#include "model/utf8.h"

namespace rapt {
namespace {

/// Appends the tokens of `text`.
template <class Model>
void add_tokens(const TokenizerRules& rules, const Model& model, std::string_view text,
                std::vector<std::int32_t>& tokens) {
  typename Model::Encoder encoder(model);
  const auto on_token = [&](std::int32_t token) { tokens.push_back(token); };
  const auto on_word = [&](std::string_view word) { encoder.encode(word, tokens); };
  rules.raw.split(
      text,
      [&](std::string_view stretch, bool at_start) {
        const auto on_text = [&](std::string_view part, bool first) {
          rules.pre_tokenizer.split(part, at_start && first, on_word);
        };
        rules.normalized.split(rules.normalizer(std::string(stretch)), on_text, on_token);
      },
      on_token);
}

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  std::error_code unreadable;  // which reading the file reports
  const bool is_model = std::filesystem::is_directory(path, unreadable);
  const auto file = is_model ? path / "tokenizer.json" : path;
  return parse(read_text(file), file.string());
}

Tokenizer Tokenizer::parse(std::string_view json, const std::string& where) {
  Tokenizer tokenizer;
  tokenizer.rules_ = std::make_shared<TokenizerRules>(TokenizerRules::parse(json, where));
  return tokenizer;
}

std::int64_t Tokenizer::vocab_size() const { return std::ssize(rules_->decoder.texts); }

std::span<const std::int32_t> Tokenizer::beginning() const { return rules_->first; }

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  require(utf8_valid_bytes(text) == text.size(), ErrorCode::kBadArgument, "Tokenizer.encode text",
          "UTF-8", "another byte at " + std::to_string(utf8_valid_bytes(text)));
  const TokenizerRules& rules = *rules_;
  std::vector<std::int32_t> tokens;
  if (add_special_tokens) tokens = rules.first;
  std::visit([&](const auto& model) { add_tokens(rules, model, text, tokens); }, rules.model);
  if (add_special_tokens) tokens.insert(tokens.end(), rules.last.begin(), rules.last.end());
  return tokens;
}

std::string Tokenizer::decode(std::span<const std::int32_t> tokens) const {
  TextStream stream(*this);
  std::string text;
  for (const std::int32_t token : tokens) text += stream.push(token);
  return text + stream.finish();
}

}  // namespace rapt
