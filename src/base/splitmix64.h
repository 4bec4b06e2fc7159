#pragma once

#include <cstdint>

namespace rapt {

/// A hash of 64 bits in which every input bit reaches every output bit; 0 gives 0.
/// @source the finaliser of SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number
///         generators", 2014.
constexpr std::uint64_t mix64(std::uint64_t z) {
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

/// Random number `n`, counted from 1, of the SplitMix64 generator seeded with `seed`: a function of
/// both and nothing else, so numbers can be drawn in any order.
constexpr std::uint64_t splitmix64(std::uint64_t seed, std::uint64_t n) {
  return mix64(seed + n * 0x9E3779B97F4A7C15u);
}

}  // namespace rapt
