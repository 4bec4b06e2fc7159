#include "model/rotary_fields.h"

#include <utility>

namespace rapt {
namespace {

constexpr const char* kOriginal = "original_max_position_embeddings";

/// The object rope_scaling or rope_parameters, and the fields beside it.
class Parameters {
 public:
  Parameters(const JsonField& object, const JsonField& root, const ModelConfig& config,
             const RotaryForm& form)
      : fields_(object), root_(root), config_(config), form_(form) {}

  ConfigFields& fields() { return fields_; }
  bool has(const char* key) const { return fields_.has(key); }
  JsonField operator[](const char* key) { return fields_[key]; }
  double number(const char* key, double otherwise) { return fields_.number(key, otherwise); }
  std::vector<double> numbers(const char* key) {
    const JsonField list = fields_[key];
    std::vector<double> values;
    for (std::size_t n = 0; n < list.array_size(); ++n) values.push_back(list.at(n).number());
    return values;
  }
  std::optional<double> attention_factor() {
    if (!has("attention_factor")) return std::nullopt;
    return fields_["attention_factor"].number();
  }
  /// Tokens of training: a field beside the object goes first, as in transformers.
  std::int64_t original_context() {
    const std::int64_t inside = fields_.extent(kOriginal, context());
    return ConfigFields(root_).extent(kOriginal, inside);
  }
  /// The same of LongRoPE.
  std::int64_t longrope_context() {
    const std::int64_t context = original_context();
    return form_.original_beside ? ConfigFields(root_).extent(kOriginal) : context;
  }
  std::int64_t context() const { return config_.max_position_embeddings; }

 private:
  ConfigFields fields_;
  JsonField root_;
  const ModelConfig& config_;
  const RotaryForm& form_;
};

RotaryScaling read_default(Parameters&) { return {}; }

RotaryScaling read_linear(Parameters& p) { return LinearScaling{p["factor"].number()}; }

RotaryScaling read_dynamic(Parameters& p) {
  return DynamicNtkScaling{p["factor"].number(), p.context()};
}

RotaryScaling read_yarn(Parameters& p) {
  YarnScaling s;
  s.factor = p["factor"].number();
  s.original_context = p.original_context();
  s.beta_fast = p.number("beta_fast", s.beta_fast);
  s.beta_slow = p.number("beta_slow", s.beta_slow);
  if (p.has("truncate")) s.truncate = p["truncate"].boolean();
  s.mscale = p.number("mscale", 0);
  s.mscale_all_dim = p.number("mscale_all_dim", 0);
  s.attention_factor = p.attention_factor();
  p.fields().ignore({"finetuned"});  // a note of YaRN's authors
  return s;
}

RotaryScaling read_llama3(Parameters& p) {
  return Llama3Scaling{p["factor"].number(), p["low_freq_factor"].number(),
                       p["high_freq_factor"].number(), p.original_context()};
}

RotaryScaling read_longrope(Parameters& p) {
  LongRopeScaling s;
  s.short_factor = p.numbers("short_factor");
  s.long_factor = p.numbers("long_factor");
  s.original_context = p.longrope_context();
  const auto context = static_cast<double>(p.context());
  s.factor = p.number("factor", context / static_cast<double>(s.original_context));
  s.attention_factor = p.attention_factor();
  return s;
}

using Read = RotaryScaling (*)(Parameters&);
constexpr std::pair<const char*, Read> kTypes[] = {
    {"default", read_default}, {"linear", read_linear}, {"dynamic", read_dynamic},
    {"yarn", read_yarn},       {"llama3", read_llama3}, {"longrope", read_longrope},
    {"su", read_longrope}};  // LongRoPE's first name

RotaryScaling read_type(const JsonField& type, Parameters& parameters) {
  std::string names;
  for (const auto& [name, read] : kTypes) {
    if (type.string() == name) return read(parameters);
    names += (names.empty() ? "\"" : ", \"") + std::string(name) + "\"";
  }
  type.fail("one of " + names, ErrorCode::kUnsupported);
}

/// rope_type, which was called type; some files have both.
JsonField type_of(Parameters& parameters) {
  const char* key = parameters.has("rope_type") ? "rope_type" : "type";
  const JsonField type = parameters[key];
  if (parameters.has("type") && parameters["type"].string() != type.string())
    parameters["type"].fail("rope_type's value");
  return type;
}

void read_part(ConfigFields& fields, ModelConfig& config, const RotaryForm& form) {
  constexpr const char* kPart = "partial_rotary_factor";
  if (form.partial)
    config.partial_rotary_factor = fields.number(kPart, config.partial_rotary_factor);
  else
    fields.serve_only(kPart, 1.0);
}

}  // namespace

void read_rotary_object(const JsonField& object, const JsonField& root, ModelConfig& config,
                        const RotaryForm& form) {
  Parameters parameters(object, root, config, form);
  config.rope_theta = parameters.number("rope_theta", config.rope_theta);
  read_part(parameters.fields(), config, form);
  std::string type = "default";
  if (parameters.has("rope_type") || parameters.has("type")) {
    const JsonField field = type_of(parameters);
    config.rope_scaling = read_type(field, parameters);
    type = field.string();
  }
  parameters.fields().check_all_read("no field that type \"" + type + "\" does not have");
}

void read_rotary(ConfigFields& fields, ModelConfig& config, const RotaryForm& form) {
  config.rope_theta = fields.number("rope_theta", config.rope_theta);
  read_part(fields, config, form);
  fields.extent(kOriginal, 1);  // is read with the scaling
  const bool newer = fields.has("rope_parameters");
  if (!newer && !fields.has("rope_scaling")) return;
  if (newer && fields.has("rope_scaling"))
    fields["rope_scaling"].fail("none beside rope_parameters");
  read_rotary_object(fields[newer ? "rope_parameters" : "rope_scaling"], fields.object(), config,
                     form);
}

}  // namespace rapt
