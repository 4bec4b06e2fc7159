#pragma once

#include <string>
#include <string_view>

namespace rapt {

/// A printable character for every byte, so that any bytes are a text of visible characters: bytes
/// that are printable in Latin-1 stand for themselves, the others are U+0100, U+0101, ... in turn.
///
/// @source the GPT-2 report (Radford et al., 2019), 2.2, and the table that its vocabulary uses
std::string to_byte_characters(std::string_view bytes);

/// The bytes that the characters of `text` stand for; `text` itself if one stands for no byte.
std::string from_byte_characters(std::string_view text);

}  // namespace rapt
