#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rapt {

struct TokenizerRules;

/// Text to token ids and back: byte-pair encoding, byte-level or SentencePiece-style, or a unigram
/// model, as Hugging Face's tokenizer.json describes it. A cheap handle to immutable rules; share it
/// freely.
///
/// @source arXiv:1508.07909 (byte-pair encoding), arXiv:1808.06226 (SentencePiece), Radford et al.
///         2019 (byte-level), arXiv:1804.10959 (unigram)
class Tokenizer {
 public:
  /// Reads a tokenizer.json, or the one of a model's directory.
  ///
  /// @throws Error{kBadFile} naming the malformed field; Error{kUnsupported} naming what the file
  ///         asks for and this version does not do; Error{kIo}.
  static Tokenizer load(const std::filesystem::path& path);

  /// The same from the text of a tokenizer.json; `where` names it in errors.
  /// @throws Error{kBadFile, kUnsupported} as load.
  static Tokenizer parse(std::string_view json, const std::string& where = "tokenizer.json");

  /// One more than the largest token id.
  std::int64_t vocab_size() const;

  /// The tokens that encode() puts before every text; the tokenizer keeps them.
  std::span<const std::int32_t> beginning() const;

  /// Token ids of `text`, with the tokens that the file puts around every text (the first one of a
  /// sequence, say) unless `add_special_tokens` is false: a chat template writes them itself. Text of
  /// an added token, like "</s>", becomes that token.
  ///
  /// @throws Error{kBadArgument} if the text is not UTF-8; Error{kUnsupported} if one match of a
  ///         pattern of the file takes too many steps.
  /// @cost   O(n log n) in the length of the text, and the time the file's patterns take: O(n) for
  ///         those of well-known models, O(n^2) for hostile ones, as the limit is a match's.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special_tokens = true) const;

  /// Text of `tokens`: valid UTF-8 always. Special tokens give no text, nor do ids that no token
  /// has: models have more logits than tokens where their vocabulary is padded.
  /// @throws Error{kBadArgument} if an id is negative.
  std::string decode(std::span<const std::int32_t> tokens) const;

 private:
  friend class TextStream;
  std::shared_ptr<const TokenizerRules> rules_;
};

/// Decodes tokens as they come. The concatenated pieces are `Tokenizer::decode` of all of them, and
/// each piece is valid UTF-8: bytes of an unfinished character are held back. What is part of no
/// character becomes U+FFFD: each byte (byte fallback), or each longest prefix of a character
/// (byte-level).
class TextStream {
 public:
  explicit TextStream(const Tokenizer& tokenizer) : rules_(tokenizer.rules_) {}

  /// Text that is certain once `token` is known.
  /// @throws Error{kBadArgument} if the id is negative.
  std::string push(std::int32_t token);

  /// Text of the bytes still held back; the stream then starts anew.
  std::string finish();

 private:
  std::string drop_held();
  std::string strip(std::string text);

  std::shared_ptr<const TokenizerRules> rules_;
  std::string held_;           // a proper prefix of a UTF-8 character
  std::int64_t stripped_ = 0;  // leading characters taken away so far
  bool at_start_ = true;       // nothing but stripped characters came yet
  bool is_first_ = true;       // no token that gives text came yet
};

}  // namespace rapt
