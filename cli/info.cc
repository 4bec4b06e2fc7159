#include <algorithm>
#include <cstdio>
#include <iomanip>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "cli/commands.h"
#include "cli/model_files.h"
#include "cli/output.h"
#include "rapt/model_info.h"

namespace rapt::cli {
namespace {

struct Options {
  std::string model;
  ModelTypes types;
  bool json = false;
};

/// Whether the embedding serves as head: a stored head goes before a tied one.
bool head_is_tied(const ModelInfo& info) {
  return info.config.tie_word_embeddings &&
         std::ranges::none_of(info.parts, [](const auto& part) { return part.name == "head"; });
}

/// Of a layer without rotary positions.
std::string positions_name(const ModelConfig& c, const LayerConfig& layer) {
  if (layer.alibi) return "ALiBi";
  if (layer.relative) return "relative";
  return c.encoder ? "absolute" : "learned";  // those of an encoder-decoder may be sinusoids
}

nlohmann::ordered_json positions_json(const ModelConfig& c, const LayerConfig& layer) {
  if (layer.relative)
    return {{"kind", "relative"},
            {"buckets", layer.relative->buckets},
            {"max_distance", layer.relative->max_distance}};
  if (!layer.rotary) return {{"kind", layer.alibi ? "alibi" : positions_name(c, layer)}};
  const RotaryConfig& rotary = *layer.rotary;
  nlohmann::ordered_json object = {{"kind", "rotary"},
                                   {"theta", rotary.theta},
                                   {"features", rotary.dims},
                                   {"scaling", name(rotary.scaling)}};
  std::visit(
      [&](const auto& scaling) {
        if constexpr (requires { scaling.factor; }) object["factor"] = scaling.factor;
        if constexpr (requires { scaling.original_context; })
          object["original_context"] = scaling.original_context;
      },
      rotary.scaling);
  return object;
}

nlohmann::ordered_json layers_json(const ModelConfig& c) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const LayerConfig& layer : c.layers) {
    nlohmann::ordered_json object = {{"mask", "causal"}, {"positions", positions_json(c, layer)}};
    if (layer.window > 0) object["window"] = layer.window;
    if (layer.scale) object["scale"] = *layer.scale;
    if (layer.softcap) object["softcap"] = *layer.softcap;
    layers.push_back(object);
  }
  return layers;
}

std::string to_json(const ModelInfo& info, const std::string& model) {
  using Json = nlohmann::ordered_json;
  const ModelConfig& c = info.config;
  Json by_part = Json::object();
  for (const ModelInfo::Part& part : info.parts) by_part[part.name] = part.parameters;
  Json object = {{"model", model},
                 {"architecture", c.architecture},
                 {"layers", c.num_hidden_layers},
                 {"hidden_size", c.hidden_size},
                 {"intermediate_size", c.intermediate_size},
                 {"attention_heads", c.num_attention_heads},
                 {"kv_heads", c.num_key_value_heads},
                 {"head_dim", c.head_dim},
                 {"context", c.context()},
                 {"positions", positions_json(c, c.layers.front())},
                 {"attention", layers_json(c)},
                 {"vocabulary", c.vocab_size},
                 {"tied_head", head_is_tied(info)},
                 {"parameters", info.parameters},
                 {"parameters_by_part", by_part},
                 {"parameters_by_dtype", info.dtypes},
                 {"weights_bytes", info.weights_bytes},
                 {"loaded_bytes", info.loaded_bytes},
                 {"cache_bytes_per_token", info.cache_bytes_per_token},
                 {"cache_bytes", info.cache_bytes}};
  if (c.encoder)
    object["encoder"] = {{"layers", c.encoder->num_hidden_layers},
                         {"intermediate_size", c.encoder->intermediate_size},
                         {"attention_heads", c.encoder->num_attention_heads},
                         {"head_dim", c.encoder->head_dim},
                         {"context", c.encoder->max_position_embeddings == 0
                                         ? Json()
                                         : Json(c.encoder->max_position_embeddings)},
                         {"mask", "none"},
                         {"memory_bytes_per_token", info.memory_bytes_per_token}};
  return json_text(object, 2);
}

/// 1234567 as "1,234,567".
std::string grouped(std::int64_t value) {
  std::string digits = std::to_string(value);
  for (std::ptrdiff_t n = std::ssize(digits) - 3; n > 0; n -= 3) digits.insert(n, ",");
  return digits;
}

/// "rotary, theta 500000, 64 of 128 features, llama3 by 8 from 8,192 tokens".
std::string positions_text(const ModelConfig& c, const LayerConfig& layer) {
  if (layer.relative)
    return "relative, " + grouped(layer.relative->buckets) + " buckets up to distance " +
           grouped(layer.relative->max_distance);
  if (!layer.rotary) return positions_name(c, layer);
  const RotaryConfig& rotary = *layer.rotary;
  std::ostringstream text;
  text << std::setprecision(12) << "rotary, theta " << rotary.theta;
  if (rotary.dims < c.head_dim) text << ", " << rotary.dims << " of " << c.head_dim << " features";
  std::visit(
      [&](const auto& scaling) {
        if constexpr (requires { scaling.factor; })
          text << ", " << name(rotary.scaling) << " by " << scaling.factor;
        if constexpr (requires { scaling.original_context; })
          text << " from " << grouped(scaling.original_context) << " tokens";
      },
      rotary.scaling);
  return text.str();
}

/// "causal over 4,096 tokens, scores up to 50".
std::string attention_text(const LayerConfig& layer) {
  std::ostringstream text;
  text << "causal";
  if (layer.window > 0) text << " over " << grouped(layer.window) << " tokens";
  if (layer.softcap) text << ", scores capped at " << *layer.softcap;
  return text.str();
}

std::string bytes_text(std::size_t bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto size = static_cast<double>(bytes);
  int unit = 0;
  for (; size >= 1024 && unit < 4; ++unit) size /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
  return text;
}

std::string line(const std::string& name, const std::string& value) {
  return name + std::string(name.size() < 20 ? 20 - name.size() : 1, ' ') + value + "\n";
}

/// Mask and positions of the layers: a line for each run of layers that are alike, numbered where
/// there is more than one.
std::string layer_lines(const ModelConfig& c) {
  const auto text = [&](std::size_t n) {
    return attention_text(c.layers[n]) + "; positions " + positions_text(c, c.layers[n]);
  };
  const std::size_t count = c.layers.size();
  std::string lines;
  for (std::size_t first = 0, end = 0; first < count; first = end) {
    while (end < count && text(end) == text(first)) ++end;
    if (first == 0 && end < count) lines = line("attention", "by layer");
    const std::string numbers = end == first + 1
                                    ? std::to_string(first)
                                    : std::to_string(first) + "-" + std::to_string(end - 1);
    lines +=
        end - first == count ? line("attention", text(0)) : line("  layer " + numbers, text(first));
  }
  return lines;
}

/// The encoder, and what the decoder sees of it.
std::string encoder_lines(const ModelInfo& info) {
  const EncoderConfig& encoder = *info.config.encoder;
  return line("encoder", grouped(encoder.num_hidden_layers) + " layers, MLP size " +
                             grouped(encoder.intermediate_size)) +
         line("  heads",
              grouped(encoder.num_attention_heads) + " of dimension " + grouped(encoder.head_dim)) +
         line("  input", encoder.max_position_embeddings == 0
                             ? "any length"
                             : "up to " + grouped(encoder.max_position_embeddings) + " tokens") +
         line("  attention",
              "all tokens; positions " + positions_text(info.config, info.config.layers.front())) +
         line("cross-attention", "all tokens of the encoder's output, in every layer");
}

std::string to_table(const ModelInfo& info, const std::string& model) {
  const ModelConfig& c = info.config;
  std::string dtypes;
  for (const auto& [dtype, parameters] : info.dtypes) dtypes += " " + dtype;
  std::string table =
      line("model", model) + line("architecture", c.architecture) +
      line("layers", grouped(c.num_hidden_layers)) + line("hidden size", grouped(c.hidden_size)) +
      line("MLP size", grouped(c.intermediate_size)) +
      line("heads", grouped(c.num_attention_heads) + " of dimension " + grouped(c.head_dim) +
                        " over " + grouped(c.num_key_value_heads) + " key/value heads") +
      line("context", grouped(c.context()) + " tokens") + layer_lines(c) +
      (c.encoder ? encoder_lines(info) : "") +
      line("vocabulary", grouped(c.vocab_size) + " tokens") +
      line("parameters", grouped(info.parameters));
  for (const ModelInfo::Part& part : info.parts)
    table += line("  " + part.name, grouped(part.parameters));
  if (head_is_tied(info)) table += line("  head", "the embedding");
  return table + line("weights", bytes_text(info.weights_bytes) + " in the file, as" + dtypes) +
         line("  once loaded", bytes_text(info.loaded_bytes)) +
         line("KV cache", bytes_text(info.cache_bytes_per_token) + " a token, " +
                              bytes_text(info.cache_bytes) + " at full context") +
         (c.encoder ? line("  of the encoder",
                           bytes_text(info.memory_bytes_per_token) + " a token of its input")
                    : "");
}

void run_info(const Options& options) {
  const auto directory = find_model(options.model);
  const ModelInfo info = ModelInfo::read(directory, options.types.options());
  print(options.json ? to_json(info, directory.string()) : to_table(info, directory.string()));
}

}  // namespace

void add_info(CLI::App& program) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand("info", "Show a model's shape, size and memory");
  add_model(command, options->model);
  add_types(command, options->types);
  add_json(command, options->json,
           "the same in bytes and tokens, with\n"
           "parameters_by_part and parameters_by_dtype");
  command->footer(
      "Reads config.json and the list of tensors, no weight.\n"
      "\n"
      "Examples:\n"
      "  rapt info\n"
      "  rapt info --dtype bf16 --weights int8\n"
      "  rapt info models/llama --json");
  on_run(command, [options] { run_info(*options); });
}

}  // namespace rapt::cli
