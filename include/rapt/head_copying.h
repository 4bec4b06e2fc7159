#pragma once

#include <filesystem>
#include <vector>

namespace rapt {

/// The copying score of every query head of a model, from the weights alone: see copying.h, with
/// W_E the embedding and W_U the output head. In the field's terms a head's OV circuit copies near
/// 1.
///
/// Its bits may differ between machines.
/// @return [L, Hq]
/// @throws Error as Model::load; Error{kUnsupported} if the embedding has another width than the
///         residual stream; Error{kBadArgument} if a weight is not finite.
/// @cost   2 vocab d^2 flops of f64, and those of copying_score for each head; memory 20 d^2 bytes.
/// @source as copying.h
std::vector<double> copying_scores(const std::filesystem::path& directory);

}  // namespace rapt
