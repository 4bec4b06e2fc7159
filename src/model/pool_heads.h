#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

namespace rapt {

/// Turns multi-head attention into grouped-query or multi-query attention: writes the model of the
/// directory `from` with fewer kv heads to the new directory `to`. With r the heads that become one,
/// D the head dimension and W the rows of k_proj or v_proj, biases alike,
///
///     W'[g D + d] = (W[(g r) D + d] + .. + W[(g r + r - 1) D + d]) / r
///
/// in f64, then rounded once to the type of W. Query head h reads the pooled head that its own head
/// went into. All other tensors and the tokenizer are copied, config.json but for
/// num_key_value_heads; shards stay shards. `to` appears when all is written, or not at all.
///
/// @param  progress  called as bytes of tensors are done; what it throws ends the conversion
/// @throws Error{kBadArgument} if `kv_heads` does not divide num_key_value_heads; Error{kIo} if `to`
///         exists or cannot be written; Error{kIo, kBadFile, kUnsupported} naming the file that
///         cannot be read
/// @cost   reads and writes each tensor once; memory of one head, and pages of the tensor at hand
/// @source arXiv:2305.13245, 2.1
void pool_kv_heads(const std::filesystem::path& from, const std::filesystem::path& to,
                   std::int64_t kv_heads,
                   const std::function<void(std::int64_t done, std::int64_t total)>& progress);

}  // namespace rapt
