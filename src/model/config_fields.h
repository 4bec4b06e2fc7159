#pragma once

#include <functional>
#include <initializer_list>
#include <set>
#include <string>
#include <vector>

#include "model/json.h"
#include "rapt/model.h"

namespace rapt {

constexpr std::int64_t kLargestExtent = std::int64_t{1} << 31;  ///< token ids are 32 bits
constexpr std::int64_t kMostLayers = 4096;  ///< of a model: each has a description in memory

/// The fields of a config.json, or of an object in it. Remembers which were read, so that what no
/// code looks at is refused: it may change the model. A null field is as one that is absent.
///
/// All readers throw as JsonField does, naming the field.
class ConfigFields {
 public:
  explicit ConfigFields(const JsonField& object) : object_(object) {}

  const JsonField& object() const { return object_; }
  bool has(const char* key) const { return object_.has(key); }
  bool given(const char* key) const;  ///< also as null
  JsonField operator[](const char* key);

  std::int64_t extent(const char* key);  ///< 1 to 2^31; must be given
  std::int64_t extent(const char* key, std::int64_t otherwise);
  std::int64_t layers(const char* key);  ///< 1 to kMostLayers; must be given
  double number(const char* key, double otherwise);
  bool flag(const char* key, bool otherwise);

  /// A field whose other values this version does not serve.
  void serve_only(const char* key, bool served);
  void serve_only(const char* key, double served);

  /// Fields that change no result.
  void ignore(std::initializer_list<const char*> keys);

  /// @throws Error{kUnsupported} naming a field that is not null and was not read, "expected
  ///         <expected>".
  void check_all_read(const std::string& expected) const;

 private:
  std::int64_t count(const char* key, std::int64_t most);

  JsonField object_;
  std::set<std::string> read_;
};

/// Token ids of a field that has one or a list of them; none where it is absent.
std::vector<std::int32_t> read_token_ids(ConfigFields& fields, const char* key);

/// hidden_size, num_attention_heads, ... by the names that most families give them. A head_dim that
/// is absent is the one given here, or hidden_size / num_attention_heads.
void read_extents(ConfigFields& fields, ModelConfig& config, std::int64_t head_dim = 0);

/// The activation that config.json calls `name`; what is wrong names `field`.
Activation activation_of(const JsonField& field, const std::string& name);

/// hidden_act of a field that has its name.
void read_activation(ConfigFields& fields, const char* key, ModelConfig& config);

/// For each layer, whether it has a sliding window: as layer_types says or, where it is absent, as
/// `by_default` does.
std::vector<bool> read_layer_types(ConfigFields& fields, const ModelConfig& config,
                                   const std::function<bool(std::int64_t layer)>& by_default);

/// sliding_window in tokens, 0 where it is null; `otherwise` where it is absent.
std::int64_t read_window(ConfigFields& fields, std::int64_t otherwise);

/// Makes `config.layers`, with the rotary positions of `config.rotary()`, and a window where
/// `sliding` says so; a window of 0 is none.
void set_windows(ModelConfig& config, const std::vector<bool>& sliding, std::int64_t window);

}  // namespace rapt
