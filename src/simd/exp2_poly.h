#pragma once

namespace rapt {

// 2^f on [-1/2, 1/2] as 1 + f (C1 + f (C2 + f (C3 + f (C4 + f C5)))), every step one fma.
inline constexpr float kExp2C1 = 0x1.62e42ap-1f;
inline constexpr float kExp2C2 = 0x1.ebf9bcp-3f;
inline constexpr float kExp2C3 = 0x1.c6b754p-5f;
inline constexpr float kExp2C4 = 0x1.3cea84p-7f;
inline constexpr float kExp2C5 = 0x1.5bb9f4p-10f;

}  // namespace rapt
