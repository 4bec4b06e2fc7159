#include "cli/texts.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "cli/model_files.h"
#include "model/mapped_file.h"
#include "model/utf8.h"

namespace rapt::cli {

Text read_tokens(const std::string& file, const Tokenizer& tokenizer) {
  const std::string content = read_text(file);
  const std::size_t valid = utf8_valid_bytes(content);
  require(!content.empty(), ErrorCode::kBadFile, file, "a text", "an empty file");
  require(valid == content.size(), ErrorCode::kBadFile, file, "UTF-8",
          "another byte at " + std::to_string(valid));
  Text text{file, content.size(), tokenizer.encode(content)};
  text.tokens.erase(text.tokens.begin(), text.tokens.begin() + std::ssize(tokenizer.beginning()));
  require(text.tokens.size() > 1, ErrorCode::kBadFile, file, "a text of at least two tokens",
          text.tokens.size());
  return text;
}

std::vector<Text> read_texts(const std::vector<std::string>& files, const Tokenizer& tokenizer) {
  std::vector<Text> texts;
  for (const std::string& file : files) {
    Text text = read_tokens(file, tokenizer);
    const auto same = std::ranges::find(texts, text.tokens, &Text::tokens);
    if (same != texts.end())
      require(false, ErrorCode::kBadArgument, "FILE", "different texts",
              "the same tokens in " + same->file + " and " + file);
    texts.push_back(std::move(text));
  }
  return texts;
}

void add_model_and_texts(CLI::App* command, std::string& model, std::vector<std::string>& files) {
  add_model(command, model);
  command->add_option("FILE", files, "Texts in UTF-8")->type_name("");
}

void sort_model_and_texts(std::string& model, std::vector<std::string>& files) {
  if (!model.empty() && !names_directory(model)) {
    files.insert(files.begin(), model);
    model.clear();
  }
  if (files.empty()) throw CLI::RequiredError("FILE");
}

}  // namespace rapt::cli
