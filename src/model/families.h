#pragma once

#include <memory>
#include <string>

#include "model/decoder.h"
#include "model/weights.h"

namespace rapt {

/// A model family: how the weights of a checkpoint become a decoder.
struct Family {
  const char* architecture;  ///< as config.json names it
  const char* model_type;    ///< the same, of its field model_type
  std::unique_ptr<const Decoder> (*make)(const ModelConfig& config, const Weights& weights,
                                         const ModelOptions& options);
};

/// The family of an architecture, or null.
const Family* find_family(const std::string& architecture);

/// The architectures that are served, for messages.
std::string family_names();

/// Llama 1 and 2, and models of their shape. @source arXiv:2302.13971
std::unique_ptr<const Decoder> make_llama(const ModelConfig& config, const Weights& weights,
                                          const ModelOptions& options);

}  // namespace rapt
